//! The balancer of both sides: stopped for the run, put back as found.
//!
//! Also knows what else moves chunks (migrations by hand, resharding), and
//! waits for it: all ownership is sound only while no chunk moves (R8).

use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, options::ReadConcern};

use crate::cluster::admin;
use crate::cluster::connect::{Deployment, Topology};
use crate::error::{Error, Kind, Result};

/// How long the balancer's round may take to end; after that it is off anyway.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// How long running migrations are waited for. One chunk (128 MB by default)
/// takes seconds to a few minutes.
const QUIET_WAIT: Duration = Duration::from_secs(600);
const QUIET_POLL: Duration = Duration::from_millis(500);
/// MaxTimeMSExpired: the balancer is off, its last migration still runs.
const TIME_EXPIRED: i32 = 50;

/// Whether the balancer was on when the run began; None for replica sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub enabled: Option<bool>,
}

/// Stops the balancer and waits until no migration runs on any shard.
///
/// # Errors
/// `Refused` if something still moves chunks after ten minutes; it is named.
pub async fn stop(deployment: &Deployment) -> Result<Found> {
    if deployment.topology == Topology::ReplicaSet {
        return Ok(Found { enabled: None });
    }
    let enabled = admin::balancer_enabled(&deployment.entry).await?;
    match admin::balancer_stop(&deployment.entry, STOP_WAIT).await {
        Err(e) if e.code != Some(TIME_EXPIRED) => {
            return Err(e.context(format_args!("stopping the balancer of the {}", deployment.side)));
        }
        _ => {}
    }
    quiet(deployment, QUIET_WAIT).await?;
    Ok(Found { enabled: Some(enabled) })
}

/// Puts the balancer back as found. A failure is for a loud warning only.
pub async fn restore(deployment: &Deployment, found: Found) -> Result<()> {
    match found.enabled {
        Some(true) => admin::balancer_start(&deployment.entry).await.map_err(|e| {
            e.context(format_args!("starting the balancer of the {} again", deployment.side))
                .remedy("run `sh.startBalancer()` on it by hand")
        }),
        Some(false) | None => Ok(()),
    }
}

/// Whatever moves chunks or data between shards right now, in words; empty for
/// replica sets.
pub async fn running(deployment: &Deployment) -> Result<Vec<String>> {
    if deployment.topology == Topology::ReplicaSet {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for row in rows(&deployment.entry, "migrations").await? {
        found.push(migration(&row, "ns", "fromShard", "toShard"));
    }
    for row in rows(&deployment.entry, "reshardingOperations").await? {
        found.push(format!("resharding of {}", row.get_str("ns").unwrap_or("a collection")));
    }
    for shard in &deployment.shards {
        for row in rows(&shard.client, "migrationCoordinators").await? {
            found.push(migration(&row, "nss", "donorShardId", "recipientShardId"));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

async fn quiet(deployment: &Deployment, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    loop {
        let running = running(deployment).await?;
        if running.is_empty() {
            return Ok(());
        }
        if deadline <= Instant::now() {
            return Err(still_running(deployment, &running));
        }
        tracing::info!(side = %deployment.side, waiting_for = running.join(", "), "chunks still move");
        tokio::time::sleep(QUIET_POLL).await;
    }
}

fn still_running(deployment: &Deployment, running: &[String]) -> Error {
    let found = format!("the balancer of the {} is stopped, but still runs: {}", deployment.side, running.join(", "));
    Error::new(Kind::Refused, found)
        .remedy("let it end, or see the log of that shard's primary for why it does not; then start again")
}

async fn rows(client: &Client, collection: &str) -> Result<Vec<Document>> {
    let rows = client.database("config").collection::<Document>(collection);
    let cursor = rows.find(doc! {}).read_concern(ReadConcern::majority()).await?;
    Ok(cursor.try_collect().await?)
}

fn migration(row: &Document, ns: &str, donor: &str, recipient: &str) -> String {
    let text = |field| row.get_str(field).unwrap_or("?");
    format!("migration of a chunk of {} from {} to {}", text(ns), text(donor), text(recipient))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_named_alike_by_config_server_and_shard() {
        let config = doc! {"ns": "d.c", "fromShard": "a", "toShard": "b"};
        let shard = doc! {"nss": "d.c", "donorShardId": "a", "recipientShardId": "b"};
        assert_eq!(
            migration(&config, "ns", "fromShard", "toShard"),
            migration(&shard, "nss", "donorShardId", "recipientShardId")
        );
    }
}
