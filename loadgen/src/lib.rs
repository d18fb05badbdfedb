//! What shardlift is tried with: local MongoDB clusters, workloads, a
//! differential check and the demo. Only real servers, no mocks.
//!
//! A test starts its own cluster in about a second and drops it when done:
//!
//! ```no_run
//! # async fn example() -> loadgen::error::Result<()> {
//! use loadgen::cluster::{ShardedCluster, ShardedOptions};
//!
//! let cluster = ShardedCluster::start(ShardedOptions::default()).await?;
//! let client = cluster.client().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Knows nothing about the engine, but for `sim`, which drives its code.

// Reading order: from bytes on a socket to whole clusters.
pub mod error;
pub mod value;
pub mod wire;

pub mod server;

pub mod proxy;

pub mod mongos;

pub mod cluster;

// What runs on them, from the content to the load and its judge. These speak
// only through a URI, and share no code with the engine.

pub mod abilities;

pub mod entry;

pub mod owner;

pub mod layout;

pub mod populate;

pub mod load;

pub mod check;

pub mod cli;

pub mod engine;

pub mod faults;

pub mod operator;

// All of it together, with the engine as a program.
pub mod demo;

pub mod soak;
// An operator's procedure, from a terminal.
pub mod walk;

pub mod matrix;

pub mod fuzz;

pub mod bench;

// And the engine's own code, without a server.
pub mod sim;
