//! Straight to a known server, without the driver: for what moves data, where every
//! copy of a byte counts.
//!
//! ```text
//! Way (TLS, login, compression) ─▶ Link (one connection) ─▶ Pool ─▶ Cursor
//!                                     └ Request ─▶ Stream ─▶ Reply
//! ```
//!
//! The driver stays for metadata and for what it knows of the topology. Knows nothing
//! about primaries, retries, and what a command means.

pub mod compress;
pub mod cursor;
pub mod link;
mod login;
pub mod message;
pub mod pool;
#[cfg(test)]
mod raw_bytes;
pub mod scram;
mod stream;
pub mod tls;
pub mod way;
