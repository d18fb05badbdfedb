//! The data plane of one pair: one source replica set to its target.
//!
//! ```text
//! plan ─▶ scan ══════════════════▶ bulk ─▶ target
//!             └ gate (finish) ═▶ lane ─▶ compile ─▶ bulk ─▶ target
//! oplog ─▶ entry ─▶ tail ─▶ gate ═▶ inbox ┘
//!                     └ ddl ─▶ chores ─▶ index, control
//! ```
//!
//! Knows nothing about other pairs; what concerns several goes to control as a
//! `ddl::Request`.

pub mod budget;
pub mod bulk;
pub mod chores;
pub mod collection;
pub mod command;
pub mod compile;
pub mod ddl;
pub mod entry;
pub mod gate;
pub mod inbox;
pub mod index;
pub mod lane;
pub mod op;
pub mod oplog;
pub mod plan;
pub mod position;
pub mod run;
pub mod scan;
pub mod tail;
pub mod transactions;
