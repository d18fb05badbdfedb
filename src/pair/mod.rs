//! The data plane of one pair: one source replica set to its target.
//!
//! ```text
//! plan ─▶ scan ════▶ copy ══════════▶ bulk ─▶ target
//!             └ replay ─▶ gate (finish) ═▶ lane ─▶ compile ─▶ flush ─▶ bulk ─▶ target
//!                                  └ refused ─▶ doubts ─▶ doubtful ─▶ reread
//! oplog ─▶ entry ─▶ tail (plain) ─▶ gate ═▶ inbox ┘
//!                     │               └ touched
//!                     └ ddl ─▶ chores ─▶ index, control
//! ```
//!
//! Knows nothing about other pairs; what concerns several goes to control as a
//! `request::Request`.

// What all rooms speak of.
pub mod budget;
pub mod throttle;
pub mod op;
pub mod origin;
pub mod collection;

// The way of an op, and of a document that is copied.
pub mod oplog;
pub mod tail;
pub mod gate;
pub mod lanes;
pub mod write;
pub mod copy;
pub mod mend;
pub mod ddl;

// The life of one attempt.
pub mod chores;
pub mod incarnation;
pub mod checkpoint;
pub mod restore;
pub mod tasks;
pub mod start;
pub mod run;
pub mod to_copy;
