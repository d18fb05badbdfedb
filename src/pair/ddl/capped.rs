//! Makes room for capped collections that hold more than their size. On the source
//! updates made their documents larger, and only the next insert removes the oldest.
//! Copied into a collection of the same size, the oldest would be removed at once. So the
//! target's collection gets a larger size for the copy. It gets the source's size back in
//! an exact state: from then on both sides remove the same documents.
//!
//! Before 6.0 updates of capped collections keep a document's length (else code 10003), so
//! none holds more than its size, and `collMod` takes no other one.

use bson::raw::cstr;
use bson::{Binary, Bson, RawDocumentBuf, rawdoc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::cluster::admin;
use crate::cluster::deployment::Shard;
use crate::error::{Error, Result};
use crate::pair::collection::Tracked;
use crate::pair::mend::doubtful::Doubtful;

/// Size during the copy, in bytes. Far more than any collection holds, and a thousandth
/// of what a server accepts. The server reserves nothing for it.
const ROOM_BYTES: i64 = 1 << 40;

/// Before the copy: enlarges the target's collection if the source's is at least half
/// full.
pub async fn make_room(source: &Client, target: &Shard, tracked: &Tracked) -> Result<()> {
    if !target.writes.capped_changes {
        return Ok(());
    }
    let command = bson::doc! {"dataSize": tracked.ns.to_string(), "estimate": true};
    let held = source
        .database(&tracked.ns.db)
        .run_command(command)
        .await
        .map_err(Error::from)?;
    let held = held.get("size").and_then(number).unwrap_or(0);
    if held * 2 < size(source, tracked, tracked.uuid).await?.unwrap_or(0) {
        return Ok(());
    }
    resize(target, tracked, ROOM_BYTES).await
}

/// After the copy: gives the target's collection the source's size. To be called only by
/// chores on the collection's name.
pub async fn fit(doubtful: &Doubtful, tracked: &Tracked) -> Result<()> {
    let target = &doubtful.target_shard;
    if !target.writes.capped_changes {
        return Ok(());
    }
    let wanted = size(&doubtful.lister.shard.client, tracked, tracked.uuid).await?;
    let Some(made) = tracked.bound_to() else {
        return Ok(());
    };
    let there = size(&target.client, tracked, made).await?;
    let Some(wanted) = wanted.filter(|wanted| there.is_some_and(|there| there != *wanted)) else {
        return Ok(());
    };
    let Some(hold) = doubtful.exact(tracked).await? else {
        return Ok(());
    };
    let fitted = resize(target, tracked, wanted).await;
    hold.release().await?;
    fitted
}

/// Size in bytes of the collection with this UUID; None if it is not listed.
async fn size(client: &Client, tracked: &Tracked, uuid: bson::Uuid) -> Result<Option<i64>> {
    let command = bson::doc! {
        "listCollections": 1, "filter": {"name": &tracked.ns.coll, "info.uuid": Binary::from(uuid)},
    };
    let cursor = client
        .database(&tracked.ns.db)
        .run_cursor_command(command)
        .await?;
    let listed: Vec<RawDocumentBuf> = cursor.with_type().try_collect().await?;
    let options = listed
        .first()
        .and_then(|listed| listed.get_document("options").ok());
    let size = options.and_then(|options| options.get("size").ok().flatten());
    Ok(size.and_then(|size| number(&Bson::try_from(size).ok()?)))
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// A smaller size lets nothing go before the next insert.
async fn resize(target: &Shard, tracked: &Tracked, bytes: i64) -> Result<()> {
    let Some(_under_way) = tracked.begin_write() else {
        return Ok(());
    };
    let mut command = rawdoc! { "collMod": tracked.ns.coll.as_str(), "cappedSize": bytes };
    if target.writes.binds_uuid {
        command.append(cstr!("collectionUUID"), Binary::from(tracked.target_uuid()));
    }
    match admin::run_once_majority(&target.client, &tracked.ns.db, &command).await {
        Err(_) if tracked.is_dead() => Ok(()),
        resized => resized.map(drop).map_err(|e| {
            e.context(format_args!(
                "resizing the capped collection {} on the target",
                tracked.ns
            ))
        }),
    }
}
