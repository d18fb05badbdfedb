//! Deleting on a target shard what is to be copied again: whole collections, or
//! the ranges of single units.
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | mark `wiping` | `finish_wipes` deletes, at the next start |
//! | units wait again (collections) | the same |
//! | documents are deleted | the same |
//! | units wait again (ranges), mark removed | nothing is left to do |
//!
//! IMPORTANT: in this order. A settled unit without its documents would never
//! be copied, and a waiting one must have none on the target (R6). A unit keeps
//! its fence until its range is empty.

use std::collections::HashMap;
use std::time::Duration;

use bson::raw::cstr;
use bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, Uuid, rawdoc};
use futures_util::StreamExt;

use crate::bson::locate;
use crate::cluster::admin;
use crate::cluster::catalog::index::{self, IndexName};
use crate::cluster::catalog::{self, Namespace};
use crate::cluster::deployment::Shard;
use crate::cluster::ranges::{between, key};
use crate::cluster::retry::{answered, while_stale, within};
use crate::codes;
use crate::control::layout::options::to_create;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::collection::Traits;
use crate::pair::write::remake;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, UnitState};

/// How long a majority may take to delete one collection's documents.
const DELETE_WAIT: Duration = Duration::from_secs(3_600);
const STALE_WAIT: Duration = Duration::from_secs(60);

/// Documents of a range deleted by one command; their `_id`s come in one reply.
const DELETED_AT_ONCE: u32 = 5_000;

/// Completes what an interrupted process left, and returns how many collections were
/// emptied whole.
///
/// Call it at the start of an incarnation, once no older one is connected and before any
/// state is loaded. The client of shard and store must carry this incarnation's app name.
pub async fn finish_wipes(shard: &Shard, store: &PairStore) -> Result<usize> {
    store.forget_unnamed().await?;
    make_missing(shard, store).await?;
    let collections = store.collections().await?;
    finish_units(shard, store, &collections).await?;
    let wiping: Vec<&CollectionState> = collections.iter().filter(|c| c.wiping).collect();
    if wiping.is_empty() {
        return Ok(0);
    }
    let uuids: Vec<Uuid> = wiping.iter().map(|c| c.uuid).collect();
    store.clear_units(Some(&uuids)).await?;
    for collection in wiping {
        let Some(uuid) = collection.target_uuid.filter(|_| !collection.dead) else {
            continue;
        };
        drop_unique_indexes(shard, collection, uuid).await?;
        delete_all(shard, collection, uuid).await.map_err(|e| {
            e.context(format_args!(
                "emptying {} on target shard {}",
                collection.ns, shard.id
            ))
        })?;
        tracing::info!(
            "{} is emptied on target shard {}; it will be copied again",
            collection.ns,
            shard.id
        );
    }
    store.mark_wiping(&uuids, false).await?;
    Ok(uuids.len())
}

/// Lets these units wait again, their ranges emptied.
pub async fn wipe_units(shard: &Shard, store: &PairStore, units: &[(Uuid, usize)]) -> Result<()> {
    store.mark_units_wiping(units).await?;
    failpoint::hit("units-marked");
    finish_units(shard, store, &store.collections().await?).await
}

async fn finish_units(
    shard: &Shard,
    store: &PairStore,
    collections: &[CollectionState],
) -> Result<()> {
    let units = store.wiping_units().await?;
    let mut by_uuid: HashMap<Uuid, Vec<usize>> = HashMap::new();
    units
        .iter()
        .for_each(|(uuid, unit)| by_uuid.entry(*uuid).or_default().push(*unit));
    for collection in collections {
        let (Some(indexes), Some(target)) = (by_uuid.get(&collection.uuid), collection.target_uuid)
        else {
            continue;
        };
        drop_unique_indexes(shard, collection, target).await?;
        for index in indexes {
            delete_unit(shard, collection, target, *index)
                .await
                .map_err(|e| {
                    e.context(format_args!(
                        "emptying a range of {} on {}",
                        collection.ns, shard.id
                    ))
                })?;
            failpoint::hit("unit-emptied");
        }
        tracing::info!(
            "{} ranges of {} are emptied on target shard {}",
            indexes.len(),
            collection.ns,
            shard.id
        );
    }
    store.forget_units(&units).await
}

async fn delete_unit(
    shard: &Shard,
    collection: &CollectionState,
    uuid: Uuid,
    index: usize,
) -> Result<()> {
    let bounds = &collection.bounds;
    if bounds.is_empty() || Traits::of(&collection.options).one_unit() {
        return delete_all(shard, collection, uuid).await;
    }
    let lower = index.checked_sub(1).and_then(|before| bounds.get(before));
    for find in ids_between(uuid, lower, bounds.get(index)) {
        delete_found(shard, collection, uuid, find).await?;
    }
    Ok(())
}

async fn delete_found(
    shard: &Shard,
    collection: &CollectionState,
    uuid: Uuid,
    find: RawDocumentBuf,
) -> Result<()> {
    let ns = &collection.ns;
    let hinted = Traits::of(&collection.options).clustered && shard.writes.clustered_hint;
    let cursor = shard
        .client
        .database(&ns.db)
        .run_raw_cursor_command(find)
        .batch_size(DELETED_AT_ONCE)
        .batch()
        .await;
    let mut cursor = match cursor.map_err(Error::from) {
        Err(e) if e.code == Some(codes::NAMESPACE_NOT_FOUND) => return Ok(()),
        cursor => cursor?,
    };
    while let Some(batch) = cursor.next().await {
        let batch = batch?;
        let mut deletes = RawArrayBuf::new();
        for document in batch.doc_slices()? {
            // By its raw bytes, so that an `_id` that is not UTF-8 is deleted as well.
            let query = document?
                .as_document()
                .and_then(locate::id_query)
                .ok_or_else(|| nameless(ns))?;
            let mut delete = rawdoc! {"q": query, "limit": 1};
            if hinted {
                // Else it counts as a scan, which `notablescan` refuses (6.0.5).
                delete.append(cstr!("hint"), rawdoc! {"_id": 1});
            }
            deletes.push(delete);
        }
        if !deletes.is_empty() {
            delete(shard, ns, uuid, deletes).await?;
        }
    }
    Ok(())
}

fn nameless(ns: &Namespace) -> Error {
    Error::new(
        Kind::Server,
        format!("{ns} holds a document without `_id` on the target, which cannot be deleted"),
    )
}

/// In the order of the index: comparison operators would match one type bracket
/// only, and leave documents of all others.
fn ids_between(
    uuid: Uuid,
    lower: Option<&RawBson>,
    upper: Option<&RawBson>,
) -> Vec<RawDocumentBuf> {
    let head = rawdoc! {
    "find": bson::Binary::from(uuid), "hint": {"_id": 1}, "projection": {"_id": 1},
    "batchSize": DELETED_AT_ONCE as i32, "readConcern": {"level": "local"}};
    between(head, lower.map(key), upper.map(key))
}

async fn delete_all(shard: &Shard, collection: &CollectionState, uuid: Uuid) -> Result<()> {
    let ns = &collection.ns;
    if Traits::of(&collection.options).capped && !shard.writes.capped_deletes {
        return remake(shard, ns, uuid).await;
    }
    delete(
        shard,
        ns,
        uuid,
        RawArrayBuf::from_iter([rawdoc! {"q": {}, "limit": 0}]),
    )
    .await
}

/// Makes capped collections that an interrupted process dropped to empty them
/// (`pair::write::remake`). One that is copied whole was not: should it be missing, somebody
/// else dropped it.
async fn make_missing(shard: &Shard, store: &PairStore) -> Result<()> {
    if shard.writes.capped_deletes {
        return Ok(());
    }
    let Some(state) = store.load().await? else {
        return Ok(());
    };
    let is_emptied = |c: &&CollectionState| {
        let is_copied = c.units.iter().all(|unit| *unit == UnitState::Settled);
        !c.dead && Traits::of(&c.options).capped && (c.wiping || !is_copied)
    };
    for collection in state.collections.iter().filter(is_emptied) {
        let ns = &collection.ns;
        let Some(uuid) = collection.target_uuid else {
            continue;
        };
        let is_there = catalog::local_uuids(shard, [ns.db.as_str()])
            .await?
            .contains(&uuid);
        if is_there || catalog::local_uuid(shard, ns).await?.is_some() {
            continue;
        }
        let make = remake::making(ns, uuid, &to_create(&collection.options));
        match admin::run_once_majority(&shard.client, "admin", &make).await {
            Err(e) if e.code != Some(codes::NAMESPACE_EXISTS) => {
                return Err(e.context(format_args!("making {ns} on target shard {}", shard.id)));
            }
            _ => tracing::info!("{ns} is made again on target shard {}", shard.id),
        }
    }
    Ok(())
}

/// A capped collection that takes no delete. Acknowledged by a majority.
async fn remake(shard: &Shard, ns: &Namespace, uuid: Uuid) -> Result<()> {
    if catalog::local_uuid(shard, ns).await? != Some(uuid) {
        return Ok(());
    }
    let database = shard.client.database(&ns.db);
    let listed = async { Ok(database.run_raw_command(remake::listing(ns, uuid)).await?) };
    let listed = answered("the target", listed).await?;
    let listed = RawDocumentBuf::try_from(&listed)?;
    for step in remake::remaking(ns, uuid, &listed)? {
        admin::run_once_majority(&shard.client, "admin", &step).await?;
    }
    Ok(())
}

/// Acknowledged by a majority. A server that does not bind a command to a UUID is asked for
/// it before: nobody else is there who would drop the collection meanwhile.
async fn delete(shard: &Shard, ns: &Namespace, uuid: Uuid, deletes: RawArrayBuf) -> Result<()> {
    let binds_uuid = shard.writes.binds_uuid;
    if !binds_uuid && catalog::local_uuid(shard, ns).await? != Some(uuid) {
        return Ok(());
    }
    let wait_ms = i64::try_from(DELETE_WAIT.as_millis()).unwrap_or(i64::MAX);
    let mut command = rawdoc! {
    "delete": ns.coll.as_str(), "deletes": deletes, "ordered": true,
    "writeConcern": {"w": "majority", "wtimeout": wait_ms}};
    if binds_uuid {
        command.append(cstr!("collectionUUID"), bson::Binary::from(uuid));
    }
    // A shard recovers what it does not know of a collection, after a rename say, and is asked again.
    while_stale(STALE_WAIT, || deleted(shard, ns, &command)).await
}

async fn deleted(shard: &Shard, ns: &Namespace, command: &RawDocumentBuf) -> Result<()> {
    let database = shard.client.database(&ns.db);
    let sent = async { Ok(database.run_raw_command(command.clone()).await?) };
    let reply = within(DELETE_WAIT, "the target", sent).await?;
    let refusal = reply
        .get_array("writeErrors")
        .ok()
        .and_then(|errors| errors.first()?.as_document());
    if let Some(refusal) = refusal {
        return refused(refusal);
    }
    admin::acknowledged(&reply)
}

fn refused(refusal: &Document) -> Result<()> {
    let code = refusal.get_i32("code").unwrap_or(0);
    // Dropped on both sides before the run could record it.
    let is_gone = refusal.get_str("actualCollection").is_err();
    if code == codes::NAMESPACE_NOT_FOUND || (code == codes::COLLECTION_UUID_MISMATCH && is_gone) {
        return Ok(());
    }
    let text = refusal.get_str("errmsg").unwrap_or("no reason given");
    let error = Error {
        code: Some(code),
        ..Error::new(Kind::Server, format!("{text} (code {code})"))
    };
    Err(error.or_renamed())
}

/// Unique indexes would refuse what a scan and the ops it holds pass through on
/// their way (R10); they are built again after the copy. The one that carries
/// the shard key is not built by us and stays.
pub(super) async fn drop_unique_indexes(
    shard: &Shard,
    collection: &CollectionState,
    uuid: Uuid,
) -> Result<()> {
    let ns = &collection.ns;
    if catalog::local_uuid(shard, ns).await? != Some(uuid) {
        return Ok(());
    }
    let bound = shard.writes.binds_uuid.then_some(uuid);
    let carries_key = collection
        .key_index
        .as_ref()
        .map(|index| IndexName::of(index));
    for index in catalog::indexes(shard, ns).await? {
        let name = IndexName::of(&index);
        if !index::is_unique(&index)
            || index::is_implicit(&index)
            || Some(&name) == carries_key.as_ref()
        {
            continue;
        }
        let mut rest = rawdoc! {"writeConcern": {"w": "majority"}};
        if let Some(uuid) = bound {
            rest.append(cstr!("collectionUUID"), bson::Binary::from(uuid));
        }
        let command = index::dropping(&ns.coll, &[name], &rest);
        match admin::run_once(&shard.client, &ns.db, &command).await {
            Err(e)
                if !matches!(
                    e.code,
                    Some(
                        codes::INDEX_NOT_FOUND
                            | codes::NAMESPACE_NOT_FOUND
                            | codes::COLLECTION_UUID_MISMATCH
                    )
                ) =>
            {
                return Err(e.context(format_args!(
                    "dropping an index of {ns} on target shard {}",
                    shard.id
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_told_by_index_bounds() {
        let [find] = &ids_between(Uuid::new(), None, Some(&RawBson::Int32(7)))[..] else {
            panic!("one command")
        };
        assert!(find.get("min").unwrap().is_none());
        assert_eq!(find.get_document("max").unwrap(), &*rawdoc! {"_id": 7});
        assert_eq!(find.get_document("hint").unwrap(), &*rawdoc! {"_id": 1});
        let [_, last] = &ids_between(Uuid::new(), Some(&RawBson::Int32(7)), None)[..] else {
            panic!("two commands")
        };
        assert_eq!(
            last.get_document("filter").unwrap(),
            &*rawdoc! {"_id": RawBson::MaxKey}
        );
    }
}
