//! Orphans on purpose: documents that stay on the shard a range was moved
//! away from. The server removes them 15 minutes later
//! (`orphanCleanupDelaySecs`), long after a test has seen them.

use bson::{Document, doc};

use crate::cluster::sharded::ShardedCluster;
use crate::error::{Error, Result};
use crate::wire::link::number;

/// Moves the range that begins at `min` to another shard and returns how many
/// orphans it left. `min` must be a chunk's lower bound unless `max` is given.
///
/// # Errors
/// Of the move; or if it left none, because the range was empty or was there
/// already.
pub async fn make(
    cluster: &ShardedCluster,
    ns: &str,
    min: Document,
    max: Option<Document>,
    to_shard: &str,
) -> Result<u64> {
    let before = count(cluster, ns).await?;
    let mut command = doc! { "moveRange": ns, "toShard": to_shard, "min": min };
    if let Some(max) = max {
        command.insert("max", max);
    }
    cluster.admin(command).await?;
    match count(cluster, ns).await?.checked_sub(before) {
        Some(made) if 0 < made => Ok(made),
        _ => Err(Error::new(format!(
            "moving a range of {ns} to {to_shard} left no orphans"
        ))
        .remedy("the range must hold documents and belong to another shard")),
    }
}

/// Orphans of a collection on all shards: what the shards hold beyond what the
/// cluster shows. Exact only while nobody writes.
pub async fn count(cluster: &ShardedCluster, ns: &str) -> Result<u64> {
    let (db, coll) = ns
        .split_once('.')
        .ok_or_else(|| Error::new(format!("{ns:?} is no namespace")))?;
    let mut held = 0;
    for shard in cluster.shards() {
        held += documents(&mut shard.primary_link().await?, db, coll).await?;
    }
    let shown = documents(&mut cluster.router_link().await?, db, coll).await?;
    Ok(held.saturating_sub(shown))
}

/// Counts by reading: `count` without a query trusts metadata.
async fn documents(link: &mut crate::wire::link::Link, db: &str, coll: &str) -> Result<u64> {
    let pipeline = [
        doc! { "$match": {} },
        doc! { "$group": { "_id": null, "n": { "$sum": 1 } } },
    ];
    let command = doc! { "aggregate": coll, "pipeline": pipeline.to_vec(), "cursor": {} };
    let reply = link.command(db, command).await?;
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let batch = batch.map_err(|e| Error::new(e.to_string()))?;
    let group = batch.first().and_then(|first| first.as_document());
    Ok(group.and_then(|group| group.get("n")).map_or(0.0, number) as u64)
}
