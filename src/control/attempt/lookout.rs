//! Asks the servers every few seconds about anything that would keep a cutover from
//! finishing: locked servers, and what is open on the source.
//!
//! If it cannot ask, it says so, and that is an obstacle too.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::retry::within;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Error, Result};

const POLL: Duration = Duration::from_secs(3);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Transactions and index builds of the source that are open for longer are told: a cutover
/// waits for their end.
const OPEN_MAX_S: i64 = 30;

/// Looks again and again, for as long as this future is polled.
pub async fn run(sides: Sides, run: Arc<Run>) {
    loop {
        let (source, target) = tokio::join!(locked(&sides.source), locked(&sides.target));
        let open = join_all(sides.source.shards.iter().map(open)).await;
        let mut blind = Vec::new();
        let mut told = |found: Vec<Result<Option<String>>>| {
            let mut texts = Vec::new();
            for found in found {
                match found {
                    Ok(text) => texts.extend(text),
                    Err(e) => blind.push(e.message),
                }
            }
            (!texts.is_empty()).then(|| texts.join("; "))
        };
        run.obstacles.put("locked", told([source, target].concat()));
        run.obstacles.put("open", told(open));
        run.obstacles
            .put("look", (!blind.is_empty()).then(|| blind.join("; ")));
        tokio::time::sleep(POLL).await;
    }
}

fn unasked(name: &str) -> String {
    format!("cannot tell whether {name} is fit for a cutover")
}

/// Whether `fsyncLock` keeps each shard from writing.
async fn locked(deployment: &Deployment) -> Vec<Result<Option<String>>> {
    let look = |shard: &'_ Shard| {
        let (side, id, client) = (deployment.side, shard.id.clone(), shard.client.clone());
        async move {
            let ask = doc! {"currentOp": 1, "$ownOps": true};
            let admin = client.database("admin");
            let asked = async { admin.run_command(ask).await.map_err(Error::from) };
            let name = format!("{side} shard {id}");
            let reply = within(PATIENCE, &name, asked)
                .await
                .map_err(|e| e.context(unasked(&name)))?;
            let locked = reply.get_bool("fsyncLock").unwrap_or(false);
            Ok(locked
                .then(|| format!("{side} shard {id} is locked against writes: run `db.fsyncUnlock()` on its primary")))
        }
    };
    join_all(deployment.shards.iter().map(look)).await
}

/// A text about what has been open on a source shard for long.
async fn open(shard: &Shard) -> Result<Option<String>> {
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true, "idleSessions": true}},
        doc! {"$match": {"$or": [
            {"transaction.timeOpenMicros": {"$gt": OPEN_MAX_S * 1_000_000}},
            {"command.createIndexes": {"$exists": true}, "active": true, "secs_running": {"$gt": OPEN_MAX_S}},
        ]}},
        doc! {"$group": {
            "_id": {"$gt": ["$transaction.timeOpenMicros", null]}, "count": {"$sum": 1}, "command": {"$first": "$command.createIndexes"},
        }},
    ];
    let asked = async {
        let found = shard
            .client
            .database("admin")
            .aggregate(pipeline)
            .await
            .map_err(Error::from)?;
        found
            .try_collect::<Vec<Document>>()
            .await
            .map_err(Error::from)
    };
    let name = format!("source shard {}", shard.id);
    let found = within(PATIENCE, &name, asked)
        .await
        .map_err(|e| e.context(unasked(&name)))?;
    let of = |row: &Document| {
        let count = row.get_i32("count").unwrap_or(0);
        if row.get_bool("_id").unwrap_or(false) {
            format!(
                "{count} transactions have been open on source shard {} for more than {OPEN_MAX_S} s: commit or abort them (`$currentOp` with idleSessions lists them)",
                shard.id
            )
        } else {
            let coll = row.get_str("command").unwrap_or("a collection");
            format!(
                "an index of {coll} is being built on source shard {}: wait for it to end",
                shard.id
            )
        }
    };
    let texts: Vec<String> = found.iter().map(of).collect();
    Ok((!texts.is_empty()).then(|| texts.join("; ")))
}
