//! Source and target of a process: started once, emptied between two runs of the engine.
//!
//! Knows nothing about what runs on them.

use std::path::Path;

use bson::doc;
use futures_util::future::try_join_all;

use super::Settings;
use super::cluster::ZONES;
use super::op::Cluster;
use crate::cluster::{Deployment, ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use crate::entry::Entry;
use crate::error::{Doing, Result};
use crate::server::version::Release;
use crate::wire::link::Link;

/// Connections of all clients to a server.
const POOL_MAX: u32 = 8;
/// Per server.
const CACHE_GB: f64 = 0.5;
/// Per member: holds all that one run writes.
const OPLOG_MB: u32 = 256;
/// Nothing but ops may change either side: no expiry, and no transaction that a client
/// left at an election.
const SET_PARAMETERS: [(&str, &str); 2] = [
    ("ttlMonitorEnabled", "false"),
    ("transactionLifetimeLimitSeconds", "10"),
];
/// A server's own.
const KEPT: [&str; 3] = ["admin", "config", "local"];

pub(super) struct Ground {
    pub(super) source: Deployment,
    pub(super) target: Deployment,
}

impl Ground {
    pub(super) async fn start(settings: &Settings) -> Result<Ground> {
        let (source, target) = tokio::try_join!(
            start("source", settings, settings.source),
            start("target", settings, settings.target),
        )?;
        Ok(Ground { source, target })
    }

    /// Where clients of the source go: members of its set, or its router.
    pub(super) fn front(&self) -> Vec<String> {
        match &self.source {
            Deployment::Sharded(cluster) => vec![cluster.router_host()],
            Deployment::ReplicaSet(set) => set.server_hosts(),
        }
    }

    /// The source's shards; None of a replica set.
    pub(super) async fn entry(&self) -> Result<Option<Entry>> {
        match &self.source {
            Deployment::Sharded(cluster) => {
                Entry::connect(&cluster.uri(), POOL_MAX).await.map(Some)
            }
            Deployment::ReplicaSet(_) => Ok(None),
        }
    }

    /// Drops every database of users and of the engine.
    pub(super) async fn empty(&self) -> Result<()> {
        try_join_all([&self.source, &self.target].map(empty)).await?;
        Ok(())
    }

    /// As `Deployment::keep_logs`, by side.
    pub(super) fn keep_logs(&self, dir: &Path) {
        self.source.keep_logs(dir, "source");
        self.target.keep_logs(dir, "target");
    }
}

async fn start(name: &str, settings: &Settings, release: Release) -> Result<Deployment> {
    let set_parameters = SET_PARAMETERS
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    if settings.sharded {
        let options = ShardedOptions {
            release,
            members_per_shard: settings.members,
            cache_gb: CACHE_GB,
            oplog_mb: Some(OPLOG_MB),
            set_parameters,
            ..ShardedOptions::default()
        };
        let cluster = ShardedCluster::start(options).await?;
        settle(&cluster).await?;
        return Ok(Deployment::Sharded(Box::new(cluster)));
    }
    let options = ReplicaSetOptions {
        release,
        name: name.to_owned(),
        members: settings.members,
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        set_parameters,
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.map(Deployment::ReplicaSet)
}

/// Nothing moves by itself, and each shard has its zone.
async fn settle(cluster: &ShardedCluster) -> Result<()> {
    cluster
        .admin(doc! {"balancerStop": 1, "maxTimeMS": 60_000})
        .await?;
    for (shard, zone) in Cluster::SHARDS.into_iter().zip(ZONES) {
        cluster
            .admin(doc! {"addShardToZone": shard, "zone": zone})
            .await?;
    }
    Ok(())
}

async fn empty(deployment: &Deployment) -> Result<()> {
    if let Deployment::Sharded(cluster) = deployment {
        drop_all(&mut cluster.router_link().await?).await?;
        let mut config = cluster.config().primary_link().await?;
        let zones = doc! {"delete": "tags", "deletes": [{"q": {}, "limit": 0}]};
        config.command("config", zones).await?;
    }
    for set in deployment.sets() {
        let emptied = drop_all(&mut set.primary_link().await?).await;
        emptied.doing(|| format!("emptying {}", set.name()))?;
    }
    Ok(())
}

async fn drop_all(link: &mut Link) -> Result<()> {
    let listed = link
        .command("admin", doc! {"listDatabases": 1, "nameOnly": true})
        .await?;
    for row in listed.get_array("databases").into_iter().flatten() {
        let name = row
            .as_document()
            .and_then(|row| row.get_str("name").ok())
            .unwrap_or_default();
        if !KEPT.contains(&name) {
            link.command(name, doc! {"dropDatabase": 1}).await?;
        }
    }
    Ok(())
}
