//! A source shard's oplog on its way to the tail: read by a cursor, kept in the spool, and
//! taken apart entry by entry.
//!
//! Decides nothing about what is read, except which entries belong to one transaction.

pub mod entry;
pub mod delta;
pub mod meaning;
pub mod walk;
pub mod transactions;
pub mod parts;
pub mod namings;
pub mod spanning;
pub mod cursor;
pub mod block;
pub mod fetch;
pub mod feed;
pub mod proven;
