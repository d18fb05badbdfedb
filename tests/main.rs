//! The integration tests, one binary: every module starts the real servers it
//! needs and drops them when done.

mod balancer;
mod bson_hash;
mod bson_literal;
mod bson_order;
mod bson_values;
mod connect;
mod engine;
mod fixture;
mod layout;
mod migrate;
mod validate;
