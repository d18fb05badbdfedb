//! shardlift moves a live MongoDB deployment to another one, shard by shard,
//! while the source keeps taking heavy writes.

// Reading order: from the rules MongoDB fixes, through both clusters and the
// data plane, to what decides and what shows.
pub mod bson;
pub mod cluster;
pub mod config;
pub mod control;
pub mod error;
pub mod limits;
pub mod observe;
pub mod pair;
pub mod verify;
