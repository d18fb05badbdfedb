//! Waiting until no connection of an older incarnation is left on a target
//! shard (R7): a write whose answer was lost may still be on its way there.
//!
//! Knows incarnations by the names of their connections only.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::connect::Shard;
use crate::error::{Error, Kind, Result};

const POLL: Duration = Duration::from_millis(50);

/// Name of the connections of one incarnation of a pair.
pub fn app_name(run: &str, pair: usize, incarnation: i64) -> String {
    format!("shardlift/{run}/{pair}/{incarnation}")
}

/// Waits until the server lists no connection of this pair that is older than
/// `incarnation`.
///
/// # Errors
/// `Transient` after `wait`, naming who is still connected.
pub async fn of_older(shard: &Shard, run: &str, pair: usize, incarnation: i64, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    loop {
        let left = connected(shard, &app_name(run, pair, incarnation)).await?;
        if left.is_empty() {
            return Ok(());
        }
        if deadline <= Instant::now() {
            let found = format!(
                "target shard {} still has connections of a process that worked on pair {pair} before: {}",
                shard.id,
                left.join(", ")
            );
            return Err(Error::new(Kind::Transient, found)
                .remedy("end that process, or cut its connections on that server, and try again"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Addresses of the clients connected as an older incarnation than `newest`.
async fn connected(shard: &Shard, newest: &str) -> Result<Vec<String>> {
    let everything = doc! {"$currentOp": {"allUsers": true, "idleConnections": true}};
    let listed: Vec<Document> =
        shard.client.database("admin").aggregate([everything]).await?.try_collect().await.map_err(Error::from)?;
    let older = listed.iter().filter(|op| is_older(op.get_str("appName").unwrap_or_default(), newest));
    let mut clients: Vec<String> = older.map(|op| op.get_str("client").unwrap_or("unknown").to_owned()).collect();
    clients.sort();
    clients.dedup();
    Ok(clients)
}

fn is_older(name: &str, newest: &str) -> bool {
    let split = |name: &str| {
        let (pair, number) = name.rsplit_once('/')?;
        Some((pair.to_owned(), number.parse::<i64>().ok()?))
    };
    match (split(name), split(newest)) {
        (Some((pair, number)), Some((same, newest))) => pair == same && number < newest,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_incarnations_of_the_same_pair_count() {
        let newest = app_name("r", 1, 10);
        for (name, expect) in [
            ("shardlift/r/1/9", true),
            ("shardlift/r/1/10", false),
            ("shardlift/r/1/11", false),
            ("shardlift/r/11/9", false),
            ("shardlift/q/1/9", false),
            ("shardlift", false),
            ("", false),
        ] {
            assert_eq!(is_older(name, &newest), expect, "{name}");
        }
    }
}
