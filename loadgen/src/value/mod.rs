//! Values as the server orders and hashes them: what a chunk map is read by.
//!
//! Knows nothing about chunks, documents' keys and servers.

pub mod hash;
pub mod order;
