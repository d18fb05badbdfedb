//! What the driver's BSON lacks: comparison in index order, the shard-key
//! hash, identity of `_id`s, locating fields in raw bytes.
//!
//! Pure functions over bytes. Knows nothing about servers.

// Reading order: bytes, one shape for every value, then what is defined on it.
pub mod decimal;
pub mod element;
pub mod hash;
pub mod identity;
pub mod locate;
pub mod number;
pub mod order;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod raw_bytes;
pub mod shard_key;
pub mod value;
pub mod view;
