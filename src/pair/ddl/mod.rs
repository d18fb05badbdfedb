//! DDL from the oplog: what the tail does at once, what becomes a chore, and what concerns
//! several pairs and goes to control.

pub mod request;
pub mod entry;
pub mod sink;
pub mod renames;
pub mod vanished;
pub mod refused;
pub mod options;
pub mod capped;
pub mod index;
