//! What the driver's BSON lacks: comparison in index order, the shard-key
//! hash, identity of `_id`s, locating fields in raw bytes.
//!
//! Pure functions over bytes. Knows nothing about servers.

pub mod hash;
pub mod identity;
pub mod locate;
pub mod order;
pub mod shard_key;
