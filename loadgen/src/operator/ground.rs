//! What the second operator works on: collections of its own, and a writer that
//! keeps them changing.
//!
//! Knows nothing about the deeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::layout::dice::Dice;
use crate::operator::ends::Ends;
use crate::operator::{Deed, databases};
use crate::wire::link::Link;

pub const DATABASE: &str = "ops";
/// Sharded by a range, where there are shards: its chunks are moved.
pub(super) const RANGED: &str = "ranged";
/// Unsharded: jobs run on it, on the first shard.
pub(super) const JOBS: &str = "jobs";
/// On every shard: indexes are built on it member by member.
pub const ROLLED: &str = "rolled";

/// Shard key values of `RANGED`; split at every quarter.
pub(super) const KEYS: i64 = 400;
const QUARTER: i64 = KEYS / 4;
const PAUSE: Duration = Duration::from_millis(60);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Before anything fails: what those deeds work on.
pub(super) async fn make(source: &Ends, deeds: &[Deed]) -> Result<()> {
    let mut link = source.front().await?;
    if source.router.is_some() {
        let first = &source.shards[0];
        link.command(
            "admin",
            doc! {"enableSharding": DATABASE, "primaryShard": first},
        )
        .await?;
        shard(source, &mut link).await?;
    }
    for name in [RANGED, ROLLED, JOBS] {
        let documents: Vec<Document> = (0..KEYS)
            .map(|k| doc! {"_id": k, "k": k, "a": k % 7})
            .collect();
        link.command(DATABASE, doc! {"insert": name, "documents": documents})
            .await?;
    }
    if deeds
        .iter()
        .any(|deed| matches!(deed, Deed::Database | Deed::DatabaseWithViews))
    {
        databases::make(source, &mut link, databases::VIEWED, 0, true).await?;
    }
    if deeds.contains(&Deed::Respell) {
        databases::make(source, &mut link, databases::SPELLINGS[0], 0, false).await?;
    }
    Ok(())
}

async fn shard(source: &Ends, link: &mut Link) -> Result<()> {
    let ns = format!("{DATABASE}.{RANGED}");
    link.command("admin", doc! {"shardCollection": &ns, "key": {"k": 1}})
        .await?;
    for i in 1..4 {
        link.command("admin", doc! {"split": &ns, "middle": {"k": i * QUARTER}})
            .await?;
    }
    for (i, shard) in (0..4).zip(source.shards.iter().cycle()) {
        link.command(
            "admin",
            doc! {"moveChunk": &ns, "find": {"k": i * QUARTER}, "to": shard},
        )
        .await?;
    }
    let rolled = format!("{DATABASE}.{ROLLED}");
    link.command(
        "admin",
        doc! {"shardCollection": rolled, "key": {"_id": "hashed"}},
    )
    .await
    .map(drop)
}

/// Changes documents of what is moved, through the front, until told to stop.
pub(super) async fn write(
    source: Ends,
    seed: u64,
    writes: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
) {
    let mut dice = Dice::new(&[seed, 0x0B5]);
    let mut link: Option<Link> = None;
    while !*stop.borrow() {
        tokio::time::sleep(PAUSE).await;
        let written =
            tokio::time::timeout(WRITE_TIMEOUT, one_write(&source, &mut link, &mut dice)).await;
        match written.unwrap_or_else(|_| Err(Error::new("no answer"))) {
            Ok(()) => _ = writes.fetch_add(1, Ordering::Relaxed),
            // An election, a killed op: what it was about is not known, and the reply is lost.
            Err(_) => link = None,
        }
    }
}

async fn one_write(source: &Ends, link: &mut Option<Link>, dice: &mut Dice) -> Result<()> {
    let link = match link {
        Some(link) => link,
        None => link.insert(source.front().await?),
    };
    // With the shard key, so that no write has to ask every shard.
    let k = dice.below(KEYS as u64) as i64;
    let (name, n) = (RANGED, dice.roll() as i32);
    let query = doc! {"_id": k, "k": k};
    let command = match dice.below(4) {
        0 => doc! {"delete": name, "deletes": [{"q": query, "limit": 1}]},
        1 => {
            let whole = doc! {"_id": k, "k": k, "n": n};
            doc! {"update": name, "updates": [{"q": query, "u": whole, "upsert": true}]}
        }
        _ => {
            let change = doc! {"$set": {"n": n}, "$inc": {"count": 1}};
            doc! {"update": name, "updates": [{"q": query, "u": change, "upsert": true}]}
        }
    };
    link.command(DATABASE, command).await.map(drop)
}
