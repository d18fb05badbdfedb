//! One incarnation of a pair's writers (R7). A batch whose connection was lost
//! may still run, after its retry and after later ops; so nothing is written
//! until the target lists no connection of an older incarnation.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::connect::Shard;
use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(50);
/// After which the wait is told, again and again.
const TELL: Duration = Duration::from_secs(5);
/// Application names of the data plane begin with it.
const PREFIX: &str = "shardlift/";

/// Name of the data plane's connections.
pub fn app_name(run: &str, pair: usize, number: i64) -> String {
    format!("{PREFIX}{run}/{pair}/{number}")
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
