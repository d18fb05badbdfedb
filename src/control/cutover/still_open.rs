//! What a cutover has to wait for: what is not applied yet, and what is open on the source
//! and could still take effect.
//!
//! Asks and says so; how long it is waited for is the cutover's to decide.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::retry::within;
use crate::control::open_ops;
use crate::error::Result;
use crate::pair::run::Pair;
use crate::position::Position;

/// How long a shard may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often source shards are asked.
const QUESTION_POLL: Duration = Duration::from_millis(50);

/// What keeps one pair from having passed `marker` for good.
pub fn on_pair(pair: &Pair, marker: Position) -> Option<String> {
    let name = &pair.name;
    if pair.watermark() < marker {
        return Some(format!("{name} has not applied everything yet"));
    }
    if !pair.is_complete() {
        return Some(format!(
            "{name} still has collections to copy, indexes to build or DDL to apply"
        ));
    }
    let (transactions, builds) = pair.with_view(|view| (view.open_transactions, view.open_builds));
    match (transactions, builds) {
        (0, 0) => None,
        (0, _) => Some(format!(
            "an index build is under way on the source shard of {name}"
        )),
        _ => Some(format!(
            "a transaction is open on the source shard of {name}"
        )),
    }
}

/// Open transactions of users leave no trace in the oplog until they commit or prepare,
/// and an index build may have begun before the tail: the shards are asked.
pub async fn on_source(source: &Deployment) -> Result<Option<String>> {
    for shard in &source.shards {
        let open = (open_transactions(shard).await?, index_builds(shard).await?);
        let waiting = match open {
            (0, 0) => continue,
            (0, builds) => format!(
                "{builds} index builds are under way on source shard {}",
                shard.id
            ),
            (open, _) => format!("{open} transactions are open on source shard {}", shard.id),
        };
        tokio::time::sleep(QUESTION_POLL).await;
        return Ok(Some(waiting));
    }
    Ok(None)
}

/// Since when, and by whom, as far as the servers tell: " (…)", or nothing.
pub async fn who(source: &Deployment) -> String {
    let mut told = Vec::new();
    for shard in &source.shards {
        // What waits is known without it.
        let asked = within(PATIENCE, "a source shard", open_ops::on(shard, 0)).await;
        told.extend(asked.unwrap_or_default().iter().map(open_ops::Open::text));
    }
    if told.is_empty() {
        return String::new();
    }
    format!(" ({})", told.join("; "))
}

async fn open_transactions(shard: &Shard) -> Result<i64> {
    let command = doc! { "serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0, "wiredTiger": 0, "tcmalloc": 0 };
    let admin = shard.client.database("admin");
    let status: Document = admin.run_command(command).await?;
    let transactions = status.get_document("transactions").ok();
    Ok(transactions
        .and_then(|transactions| transactions.get_i64("currentOpen").ok())
        .unwrap_or(0))
}

async fn index_builds(shard: &Shard) -> Result<usize> {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true } },
        doc! { "$match": { "command.createIndexes": { "$exists": true }, "active": true } },
        // A name in the command may be no UTF-8.
        doc! { "$project": { "active": 1 } },
    ];
    let admin = shard.client.database("admin");
    let mut operations = admin.aggregate(pipeline).await?;
    let mut count = 0;
    while operations.try_next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
