//! One incarnation of a pair's writers (R7). A batch whose connection was lost
//! may still run, after its retry and after later ops; so nothing is written
//! until the target lists no connection of an older incarnation.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::connect::Shard;
use crate::cluster::retry::within;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::state::Incarnation;
use crate::state::pair_store::PairStore;

const POLL: Duration = Duration::from_millis(50);
/// After which the wait is told, again and again.
const TELL: Duration = Duration::from_secs(5);
/// Application names of the data plane begin with it.
const PREFIX: &str = "shardlift/";

/// Name of the data plane's connections.
pub fn app_name(run: &str, pair: usize, number: i64) -> String {
    format!("{PREFIX}{run}/{pair}/{number}")
}

/// Begins the next incarnation of a pair; returns when nothing of an older one
/// can reach the target any more.
///
/// IMPORTANT: the state is loaded after it. A checkpoint of an older incarnation
/// that took effect after the load would stand over what this one replays from.
pub async fn begin(
    store: &PairStore,
    run: &str,
    pair: usize,
    target: &Shard,
    away_max: Duration,
) -> Result<Incarnation> {
    let incarnation = store.begin_incarnation().await?;
    failpoint::hit("incarnation-begun");
    let own = app_name(run, pair, incarnation.number);
    within(away_max, "older connections to the target", alone(target, &own)).await?;
    Ok(incarnation)
}

/// Waits until `own` is the only data plane connected to the target shard. Idle
/// connections count: what a client sent before it was lost may not be read yet.
pub async fn alone(target: &Shard, own: &str) -> Result<()> {
    let mut told = std::time::Instant::now();
    loop {
        let others = others(target, own).await?;
        let Some(other) = others.first() else { return Ok(()) };
        if TELL < told.elapsed() {
            told = std::time::Instant::now();
            tracing::warn!(
                "target shard {} still lists {} connections of an older data plane ({other}): nothing is written until they are gone; stop the process or cut the connections if they stay",
                target.id,
                others.len()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn others(target: &Shard, own: &str) -> Result<Vec<String>> {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
        doc! { "$match": { "appName": { "$regex": format!("^{PREFIX}"), "$ne": own } } },
        doc! { "$project": { "appName": 1, "command.hello": 1, "command.isMaster": 1, "command.ismaster": 1 } },
    ];
    let failed = |e| Error::from(e).context(format_args!("listing the connections of target shard {}", target.id));
    let listed = target.client.database("admin").aggregate(pipeline).await.map_err(failed)?;
    let listed: Vec<Document> = listed.try_collect().await.map_err(failed)?;
    Ok(listed.iter().filter(|op| !watches(op)).filter_map(|op| op.get_str("appName").ok().map(str::to_owned)).collect())
}

/// A driver's monitor: it never writes, and may outlive its client by seconds.
fn watches(op: &Document) -> bool {
    op.get_document("command").is_ok_and(|command| !command.is_empty())
}
