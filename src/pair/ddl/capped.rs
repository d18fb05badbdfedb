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
//! none holds more than its size, and `collMod` takes no other one. Sources up to 4.4 do not
//! log what is removed: the target makes no room then, and removes by itself
//! (`write::in_order`).

use bson::raw::cstr;
use bson::{Bson, rawdoc};
use mongodb::Client;

use crate::cluster::catalog;
use crate::cluster::deployment::Shard;
use crate::error::Result;
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

/// Before the copy, and before ops come again on what is copied: lets the target's collection
/// hold more.
pub async fn make_room(source: &Client, target: &Shard, tracked: &Tracked) -> Result<()> {
    // Else nobody would say what has to go.
    if !target.writes.trims_come {
        return Ok(());
    }
    let Some(limits) = of_source(source, tracked).await? else {
        return Ok(());
    };
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
    if !target.writes.capped_sizes {
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
