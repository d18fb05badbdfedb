//! The data plane of one pair: one source replica set to its target.
//!
//! ```text
//! plan ─▶ scan ══════════════════▶ bulk ─▶ target
//!             └ replay ─▶ gate (finish) ═▶ lane ─▶ compile ─▶ bulk ─▶ target
//!                                  └ refused ─▶ doubts ─▶ doubtful ─▶ reread
//! oplog ─▶ entry ─▶ tail (plain) ─▶ gate ═▶ inbox ┘
//!                     │               └ touched
//!                     └ ddl ─▶ chores ─▶ index, control
//! ```
//!
//! Knows nothing about other pairs; what concerns several goes to control as a
//! `request::Request`.

pub mod position;
pub mod budget;
pub mod doubts;
pub mod duplicate_names;
pub mod held_back;
pub mod life;
pub mod collection;
pub mod op;
pub mod origin;
pub mod touched;
pub mod oplog;
pub mod proven;
pub mod entry;
pub mod meaning;
pub mod transactions;
pub mod parts;
pub mod block;
pub mod fetch;
pub mod feed;
pub mod walk;
pub mod view;
pub mod plain;
pub mod tail;
pub mod gate;
pub mod held;
pub mod queue;
pub mod quiet;
pub mod inbox;
pub mod ledger;
pub mod replay;
pub mod majority;
pub mod lane;
pub mod overlay;
pub mod compile;
pub mod command;
pub mod render;
pub mod delicate;
mod reply;
pub mod transaction;
pub mod at_once;
pub mod bulk;
pub mod missed;
pub mod capped;
pub mod copy;
pub mod plan;
pub mod vanished;
pub mod reached;
pub mod scan_unit;
pub mod scan;
pub mod chores;
pub mod request;
pub mod ddl_entry;
pub mod ddl;
pub mod reread;
pub mod source_indexes;
pub mod target_indexes;
pub mod stale_indexes;
pub mod doubtful;
pub mod index;
pub mod incarnation;
pub mod checkpoint;
pub mod restore;
mod to_copy;
pub mod tasks;
pub mod start;
pub mod run;
