//! Real server processes: finding the program, giving it a directory and a
//! port, starting it, and making sure it never outlives us.
//!
//! Knows nothing about replica sets or sharding.

pub mod brought;
mod cache;
pub mod certificates;
pub mod data_dir;
pub mod find;
pub mod keyfile;
pub mod mongod;
pub mod open_files;
mod openssl;
mod pip;
pub mod port;
pub mod process;
pub mod program;
pub mod spawn;
pub mod version;
pub mod wheel;
