//! Makes room for capped collections that hold more than their size. On the source
//! updates made their documents larger, and only the next insert removes the oldest.
//! Copied into a collection of the same size, the oldest would be removed at once. So the
//! target's collection gets a larger size for the copy. It gets the source's size back in
//! an exact state: from then on both sides remove the same documents.
//!
//! The same where ops come again: a document that was removed since comes back, and more fit
//! in then. Whatever else would have to go is named by the ops (6.0 logs what it removes).
//!
//! Before 6.0 updates of capped collections keep a document's length (else code 10003), so
//! none holds more than its size, and `collMod` takes no other one.

use bson::raw::cstr;
use bson::{Bson, rawdoc};
use mongodb::Client;

use crate::cluster::catalog;
use crate::cluster::deployment::Shard;
use crate::error::{Error, Result};
use crate::pair::collection::Tracked;
use crate::pair::ddl::options;
use crate::pair::mend::doubtful::Doubtful;

/// Size during the copy, in bytes. Far more than any collection holds, and a thousandth
/// of what a server accepts. The server reserves nothing for it.
const ROOM_BYTES: i64 = 1 << 40;

/// `max` of a collection with any number of documents, as 6.0.5 lists it.
const UNLIMITED: i64 = i32::MAX as i64;

/// What a capped collection may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    bytes: i64,
    /// None: none was ever set.
    documents: Option<i64>,
}

/// Before the copy: lets the target's collection hold more, if the source's is at least half
/// full or limited in documents.
pub async fn make_room(source: &Client, target: &Shard, tracked: &Tracked) -> Result<()> {
    if !target.writes.capped_changes {
        return Ok(());
    }
    let db = &tracked.source_db;
    // By the name that the source has for it now.
    let Some(coll) = catalog::name_of(source, db, tracked.uuid).await? else {
        return Ok(());
    };
    let command = bson::doc! {"dataSize": format!("{db}.{coll}"), "estimate": true};
    let held = source
        .database(db)
        .run_command(command)
        .await
        .map_err(Error::from)?;
    let held = held.get("size").and_then(number).unwrap_or(0);
    let Some(limits) = of_source(source, tracked).await? else {
        return Ok(());
    };
    if held * 2 < limits.bytes && limits.documents.is_none() {
        return Ok(());
    }
    lift(target, tracked, limits).await
}

/// Before ops come again on a collection that is copied: the same, however full it is.
pub async fn make_room_again(source: &Shard, target: &Shard, tracked: &Tracked) -> Result<()> {
    // Others change nothing that would not be as it was, and do not log what they remove.
    if !source.writes.capped_changes || !target.writes.capped_changes {
        return Ok(());
    }
    match of_source(&source.client, tracked).await? {
        Some(limits) => lift(target, tracked, limits).await,
        None => Ok(()),
    }
}

async fn lift(target: &Shard, tracked: &Tracked, limits: Limits) -> Result<()> {
    let room = Limits {
        bytes: ROOM_BYTES,
        documents: limits.documents.map(|_| UNLIMITED),
    };
    set(target, tracked, room).await
}

/// After the copy: gives the target's collection the source's limits. To be called only by
/// chores on the collection's name.
pub async fn fit(doubtful: &Doubtful, tracked: &Tracked) -> Result<()> {
    let target = &doubtful.target_shard;
    if !target.writes.capped_changes {
        return Ok(());
    }
    let wanted = of_source(&doubtful.lister.shard.client, tracked).await?;
    let Some(made) = tracked.bound_to() else {
        return Ok(());
    };
    let there = limits(&target.client, &tracked.ns().db, made).await?;
    let Some(wanted) = wanted.filter(|wanted| there.is_some_and(|there| there != *wanted)) else {
        return Ok(());
    };
    let Some(hold) = doubtful.exact(tracked).await? else {
        return Ok(());
    };
    let fitted = set(target, tracked, wanted).await;
    hold.release().await?;
    fitted
}

async fn of_source(source: &Client, tracked: &Tracked) -> Result<Option<Limits>> {
    limits(source, &tracked.source_db, tracked.uuid).await
}

/// Limits of the collection with this UUID; None if it is not listed.
async fn limits(client: &Client, db: &str, uuid: bson::Uuid) -> Result<Option<Limits>> {
    let options = catalog::options_of(client, db, uuid).await?;
    Ok(options.and_then(|options| {
        let listed = |name: &str| number(&Bson::try_from(options.get(name).ok()??).ok()?);
        Some(Limits {
            bytes: listed("size")?,
            documents: listed("max"),
        })
    }))
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// Smaller ones let nothing go before the next insert.
async fn set(target: &Shard, tracked: &Tracked, limits: Limits) -> Result<()> {
    let mut change = rawdoc! { "cappedSize": limits.bytes };
    match limits.documents {
        // As it is listed, and not taken.
        Some(UNLIMITED) => change.append(cstr!("cappedMax"), -1_i64),
        Some(documents) => change.append(cstr!("cappedMax"), documents),
        None => {}
    }
    options::modify(target, tracked, &change).await
}
