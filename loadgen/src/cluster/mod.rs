//! Whole deployments on this machine: a replica set, or a sharded cluster with
//! its router. Everything stops, and all data goes, when the value is dropped.
//!
//! Knows nothing about workloads.

pub mod deployment;
pub mod orphans;
pub mod replica_set;
pub mod sharded;
pub mod shared;
pub mod transactions;
pub mod users;

pub use deployment::Deployment;
pub use replica_set::{ReplicaSet, ReplicaSetOptions};
pub use sharded::{ShardedCluster, ShardedOptions};
pub use users::{ClusterUsers, User};
