//! The integration tests, one binary: every module starts the real servers it
//! needs and drops them when done.

mod ahead;
mod anew;
mod balancer;
mod bson_hash;
mod bson_literal;
mod bson_order;
mod bson_values;
mod connect;
mod doubtful;
mod duplicate_names;
mod engine;
mod fixture;
mod indexer;
mod layout;
mod overlay;
mod marked;
mod migrate;
mod migrate_content;
mod migrate_cutover;
mod migrate_ddl;
mod migrate_refused;
mod migrate_transactions;
mod poison;
mod recorded;
mod resume;
mod sharded_login;
mod sim;
mod spooled;
mod stale;
mod state;
mod tidy;
mod validate;
mod verify;
mod way_in;
mod wire;
