//! The flags of `loadgen fuzz`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::releases::Releases;

/// Prove the engine on seeded ops of every kind: one replica set or cluster to another,
/// under writes, kills and elections, and then byte for byte.
///
/// Each seed has databases of its own, and a batch of seeds goes through one run of the
/// engine, on servers that are started once. What a seed does is a pure function of it.
/// A seed that fails is tried again by itself and made smaller, as long as it still fails;
/// what is left of it is told on stderr.
///
/// The last line on stdout is one JSON object. Exit code: 0 all equal, 1 a seed failed,
/// 130 Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    pub(super) from: u64,
    /// Only this one
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    pub(super) seed: Option<u64>,
    /// Seeds of one run of the engine
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(super) batch: u64,
    /// Clusters of two shards: some collections are sharded, transactions go across shards
    #[arg(long)]
    pub(super) sharded: bool,
    /// Members of each replica set: 1, or 3 for real elections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(super) members: u8,
    /// Begin no new batch after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) stop_after_s: Option<u64>,
    /// Seconds to make a failing seed smaller for; 0 does not try
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    pub(super) shrink_s: u64,
    /// Other names on the target: of databases, and of some collections
    #[arg(long)]
    pub(super) renamed: bool,
    #[command(flatten)]
    pub(super) releases: Releases,
    /// Run this shardlift program instead of building one
    #[arg(long, value_name = "PATH")]
    pub(super) engine: Option<PathBuf>,
    /// Further arguments of `shardlift migrate`, such as `-- --range-mb 1`
    #[arg(last = true)]
    pub(super) engine_args: Vec<String>,
}

impl Args {
    pub(super) fn all_seeds(&self) -> Vec<u64> {
        match self.seed {
            Some(seed) => vec![seed],
            None => (self.from..self.from + self.seeds).collect(),
        }
    }

    pub(super) fn shrink_time(&self) -> Duration {
        Duration::from_secs(self.shrink_s)
    }
}
