//! Source and target of a soak, each server behind a proxy.
//!
//! Knows nothing about faults.

use std::path::Path;

use crate::cluster::{Deployment, ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use crate::error::Result;
use crate::populate::{self, PopulateArgs};
use crate::server::version::Release;
use crate::soak::Args;

/// Per server. Many share the machine.
const CACHE_GB: f64 = 0.25;
/// Per member: holds all that is populated and written.
const OPLOG_MB: u32 = 768;
/// An abandoned transaction must not hold up the cutover for the default, 60 s.
const TRANSACTION_LIFETIME_S: &str = "20";

/// What a moved chunk leaves is deleted within the run, and so is what was written there.
const ORPHAN_CLEANUP_DELAY_S: &str = "2";

pub(super) struct Clusters {
    pub(super) source: Deployment,
    pub(super) target: Deployment,
}

impl Clusters {
    pub(super) async fn start(args: &Args) -> Result<Clusters> {
        let source = start(args, "source", args.releases.source()).await?;
        let target = start(args, "target", args.releases.target()).await?;
        Ok(Clusters { source, target })
    }

    /// Fills the source.
    pub(super) async fn populate(&self, args: &Args) -> Result<()> {
        let uri = self.source.uri();
        let args = PopulateArgs {
            docs: args.documents,
            seed: args.seed,
            capped: true,
            types: true,
            ..PopulateArgs::new(uri)
        };
        populate::populate(&args).await?;
        Ok(())
    }

    /// As `Deployment::keep_logs`, by side.
    pub(super) fn keep_logs(&self, dir: &Path) {
        self.source.keep_logs(dir, "source");
        self.target.keep_logs(dir, "target");
    }
}

async fn start(args: &Args, name: &str, release: Release) -> Result<Deployment> {
    let mut set_parameters = vec![(
        "transactionLifetimeLimitSeconds".to_owned(),
        TRANSACTION_LIFETIME_S.to_owned(),
    )];
    if args.operators {
        set_parameters.push((
            "orphanCleanupDelaySecs".to_owned(),
            ORPHAN_CLEANUP_DELAY_S.to_owned(),
        ));
    }
    if args.replica_set {
        let options = ReplicaSetOptions {
            release,
            name: name.to_owned(),
            members: args.members.into(),
            cache_gb: CACHE_GB,
            oplog_mb: Some(OPLOG_MB),
            set_parameters,
            proxied: true,
            ..ReplicaSetOptions::default()
        };
        return ReplicaSet::start(options).await.map(Deployment::ReplicaSet);
    }
    let options = ShardedOptions {
        release,
        shards: args.shards.into(),
        members_per_shard: args.members.into(),
        config_members: args.config_members.into(),
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        set_parameters,
        proxied: true,
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options)
        .await
        .map(Box::new)
        .map(Deployment::Sharded)
}
