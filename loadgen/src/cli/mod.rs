//! What each command takes and does, one file a command.

pub mod cluster;
pub mod releases;
pub mod signals;
