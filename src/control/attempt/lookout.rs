//! Asks the servers every few seconds about anything that would keep a cutover from
//! finishing: locked servers, and what is open on the source.
//!
//! If it cannot ask, it says so, and that is an obstacle too.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;

use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::retry::within;
use crate::control::open_ops::{self, Open};
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
    let name = format!("source shard {}", shard.id);
    let found = within(PATIENCE, &name, open_ops::on(shard, OPEN_MAX_S))
        .await
        .map_err(|e| e.context(unasked(&name)))?;
    Ok(long_open(&name, &found))
}

/// The longest come first.
fn long_open(name: &str, found: &[Open]) -> Option<String> {
    let (builds, transactions): (Vec<&Open>, Vec<&Open>) =
        found.iter().partition(|open| open.index_of.is_some());
    let mut texts = Vec::new();
    if let [oldest, ..] = transactions[..] {
        texts.push(format!(
            "{} transactions have been open on {name} for more than {OPEN_MAX_S} s, the oldest {}: commit or abort them (`$currentOp` with idleSessions lists them)",
            transactions.len(),
            oldest.since()
        ));
    }
    for build in builds {
        let coll = build.index_of.as_deref().unwrap_or_default();
        texts.push(format!(
            "an index of {coll} is being built on {name}, {}: wait for it to end",
            build.since()
        ));
    }
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_open_for_long_is_told_with_the_oldest() {
        let open = |index_of: Option<&str>, for_s| Open {
            index_of: index_of.map(str::to_owned),
            for_s,
            by: "h:1".to_owned(),
        };
        assert_eq!(long_open("source shard a", &[]), None);
        let found = [open(None, 90), open(None, 40), open(Some("c"), 35)];
        let text = long_open("source shard a", &found).unwrap();
        assert!(text.starts_with("2 transactions have been open on source shard a"));
        assert!(
            text.contains("the oldest for 90 s, by h:1: commit"),
            "{text}"
        );
        assert!(text.contains("an index of c is being built on source shard a, for 35 s"));
    }
}
