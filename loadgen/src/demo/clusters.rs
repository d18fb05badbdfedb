//! The two clusters of the demo, and the content of the first.
//!
//! Knows nothing about the engine.

use std::fmt;

use crate::cli::releases::Releases;
use crate::cluster::{ShardedCluster, ShardedOptions};
use crate::demo::narrate::{Narrator, grouped, megabytes};
use crate::error::Result;
use crate::populate::{self, PopulateArgs};
use crate::server::version::Release;

/// Per server; the content of the default size fits.
const CACHE_GB: f64 = 0.5;
/// Per shard: holds all that is populated and written in one demo.
const OPLOG_MB: u32 = 1_024;

pub(super) struct Clusters {
    pub(super) source: ShardedCluster,
    pub(super) target: ShardedCluster,
}

impl Clusters {
    pub(super) async fn start(
        shards: u8,
        releases: &Releases,
        tell: &Narrator,
    ) -> Result<Clusters> {
        let text = |side, release| {
            format!(
                "starting {side} cluster: MongoDB {release}, {shards} shards, a config server, a router"
            )
        };
        tell.step(text("source", releases.source()));
        let source = start(shards, releases.source()).await?;
        tell.detail(format!("source is up: {}", source.uri()));
        tell.step(text("target", releases.target()));
        let target = start(shards, releases.target()).await?;
        tell.detail(format!("target is up: {}", target.uri()));
        Ok(Clusters { source, target })
    }

    /// Fills the source.
    pub(super) async fn populate(&self, docs: u64, seed: u64, tell: &Narrator) -> Result<()> {
        tell.step(format!("populating {} documents", grouped(docs)));
        let args = PopulateArgs {
            docs,
            seed,
            capped: true,
            types: true,
            ..PopulateArgs::new(self.source.uri())
        };
        let summary = populate::populate(&args).await?;
        tell.detail(format!(
            "{} documents, {} in {} collections after {:.1} s",
            grouped(summary.documents),
            megabytes(summary.bytes),
            summary.collections.len(),
            summary.seconds
        ));
        Ok(())
    }
}

async fn start(shards: u8, release: Release) -> Result<ShardedCluster> {
    let options = ShardedOptions {
        release,
        shards: shards.into(),
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options).await
}

impl fmt::Display for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, cluster) in [("source", &self.source), ("target", &self.target)] {
            writeln!(f, "  {side}   {}", cluster.uri())?;
            for shard in cluster.shards() {
                writeln!(f, "    {}   {}", shard.name(), shard.uri())?;
            }
        }
        Ok(())
    }
}
