//! Jobs that write other entries to the oplog than applications do.
//!
//! Knows nothing about what a release carries over.

use std::time::Duration;

use bson::{Document, doc};

use crate::error::Result;
use crate::layout::dice::Dice;
use crate::operator::ends::Ends;
use crate::operator::ground::{DATABASE, JOBS, KEYS};

/// A clone is dropped so many rounds of deeds later.
const CLONES_KEPT: u64 = 12;
const CAPPED_BYTES: i32 = 1 << 20;
/// How long `applyOps` may wait for the lock of the whole server. Prepared transactions
/// hold it, and their commits, which write too, wait behind `applyOps`.
const APPLY_OPS_TIME: Duration = Duration::from_secs(3);

pub(super) async fn db_check(ends: &Ends) -> Result<String> {
    ends.primary(0)
        .await?
        .command(DATABASE, doc! {"dbCheck": JOBS})
        .await?;
    Ok(JOBS.to_owned())
}

/// Everything that a job may hold, in one command; a replaced document may be missing.
pub(super) async fn apply_ops(ends: &Ends, dice: &mut Dice) -> Result<String> {
    let ns = format!("{DATABASE}.{JOBS}");
    let any = |dice: &mut Dice| dice.below(KEYS as u64) as i64;
    let (a, b, c, d) = (any(dice), any(dice), any(dice), any(dice));
    let n = dice.roll() as i32;
    let delta = if ends.abilities.deltas {
        doc! {"$v": 2, "diff": {"i": {"more": n}}}
    } else {
        doc! {"$v": 1, "$set": {"more": n}}
    };
    let ops = [
        doc! {"op": "i", "ns": &ns, "o": {"_id": a, "inserted": n}},
        doc! {"op": "u", "ns": &ns, "o2": {"_id": a}, "o": delta},
        doc! {"op": "u", "ns": &ns, "o2": {"_id": b}, "o": {"_id": b, "replaced": n}},
        doc! {"op": "d", "ns": &ns, "o": {"_id": c}},
        doc! {"op": "i", "ns": &ns, "o": {"_id": d, "inserted": n}},
    ];
    let count = 1 + dice.below(ops.len() as u64) as usize;
    let mut command = doc! {"applyOps": ops[..count].to_vec()};
    // Each op is then logged by itself.
    if dice.one_in(2) {
        command.insert("allowAtomic", false);
    }
    send_apply_ops(ends, command).await?;
    Ok(format!("{count} ops from _id {a}"))
}

/// The old form of an update.
pub(super) async fn apply_ops_set(ends: &Ends, dice: &mut Dice) -> Result<String> {
    let ns = format!("{DATABASE}.{JOBS}");
    let id = dice.below(KEYS as u64) as i64;
    let ops = [
        doc! {"op": "i", "ns": &ns, "o": {"_id": id}},
        doc! {"op": "u", "ns": &ns, "o2": {"_id": id}, "o": {"$set": {"set": dice.roll() as i32}}},
    ];
    send_apply_ops(ends, doc! {"applyOps": ops.to_vec()}).await?;
    Ok(format!("_id {id}"))
}

async fn send_apply_ops(ends: &Ends, mut command: Document) -> Result<()> {
    // A new primary learns of whom the collection is with the first read through a router.
    ends.front()
        .await?
        .command(DATABASE, doc! {"find": JOBS, "limit": 1})
        .await?;
    command.insert("maxTimeMS", APPLY_OPS_TIME.as_millis() as i64);
    ends.primary(0).await?.command("admin", command).await?;
    Ok(())
}

pub(super) async fn short_lived(ends: &Ends, round: u64) -> Result<String> {
    let mut link = ends.front().await?;
    let name = format!("short_{round}");
    // Filled or empty: its index is built in another way.
    if round.is_multiple_of(2) {
        link.command(
            DATABASE,
            doc! {"insert": &name, "documents": [{"_id": 1, "a": 1}]},
        )
        .await?;
    }
    link.command(
        DATABASE,
        doc! {"createIndexes": &name, "indexes": [{"key": {"a": 1}, "name": "a_1"}]},
    )
    .await?;
    link.command(DATABASE, doc! {"dropIndexes": &name, "index": "a_1"})
        .await?;
    link.command(DATABASE, doc! {"drop": &name}).await?;
    Ok(name)
}

pub(super) async fn capped_clone(ends: &Ends, round: u64) -> Result<String> {
    let name = format!("clone_{round}");
    let command =
        doc! {"cloneCollectionAsCapped": JOBS, "toCollection": &name, "size": CAPPED_BYTES};
    ends.primary(0).await?.command(DATABASE, command).await?;
    let mut front = ends.front().await?;
    for old in clones(&mut front)
        .await?
        .iter()
        .filter(|old| **old + CLONES_KEPT < round)
    {
        front
            .command(DATABASE, doc! {"drop": format!("clone_{old}")})
            .await?;
    }
    Ok(name)
}

async fn clones(front: &mut crate::wire::link::Link) -> Result<Vec<u64>> {
    let filter = doc! {"name": {"$regex": "^clone_"}};
    let reply = front
        .command(
            DATABASE,
            doc! {"listCollections": 1, "nameOnly": true, "filter": filter},
        )
        .await?;
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let names = batch
        .into_iter()
        .flatten()
        .filter_map(|row| row.as_document()?.get_str("name").ok());
    Ok(names
        .filter_map(|name| name.strip_prefix("clone_")?.parse().ok())
        .collect())
}

pub(super) async fn convert_to_capped(ends: &Ends, round: u64) -> Result<String> {
    let mut link = ends.front().await?;
    let name = format!("converted_{round}");
    let documents: Vec<Document> = (0..20).map(|i| doc! {"_id": i}).collect();
    link.command(DATABASE, doc! {"insert": &name, "documents": documents})
        .await?;
    link.command(
        DATABASE,
        doc! {"convertToCapped": &name, "size": CAPPED_BYTES},
    )
    .await?;
    Ok(name)
}
