//! The wire protocol, as much of it as a client or a small server needs:
//! `OP_MSG`, and `OP_QUERY` for the first `hello` of some drivers.
//!
//! Used where the driver does too much: it adds sessions on its own, and the
//! commands behind the mongos stand-in must carry none.
//!
//! Knows nothing about what a command means.

pub mod link;
pub mod login;
pub mod message;
