//! Source and target of a process: started once, emptied between two runs of the engine.
//!
//! Knows nothing about what runs on them.

use std::path::Path;

use bson::doc;
use futures_util::future::try_join_all;

use super::Settings;
use crate::cluster::{Deployment, ReplicaSet, ReplicaSetOptions};
use crate::error::{Doing, Result};
use crate::server::version::Release;

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
            start("source", settings.source, settings.members),
            start("target", settings.target, settings.members),
        )?;
        Ok(Ground { source, target })
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

async fn start(name: &str, release: Release, members: usize) -> Result<Deployment> {
    let options = ReplicaSetOptions {
        release,
        name: name.to_owned(),
        members,
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        set_parameters: SET_PARAMETERS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.map(Deployment::ReplicaSet)
}

async fn empty(deployment: &Deployment) -> Result<()> {
    for set in deployment.sets() {
        let mut link = set.primary_link().await?;
        let listed = link
            .command("admin", doc! {"listDatabases": 1, "nameOnly": true})
            .await?;
        for row in listed.get_array("databases").into_iter().flatten() {
            let name = row
                .as_document()
                .and_then(|row| row.get_str("name").ok())
                .unwrap_or_default();
            if !KEPT.contains(&name) {
                let dropped = link.command(name, doc! {"dropDatabase": 1}).await;
                dropped.doing(|| format!("emptying {}", set.name()))?;
            }
        }
    }
    Ok(())
}
