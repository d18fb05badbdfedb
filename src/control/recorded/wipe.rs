//! Undoes a recorded run: drops on the target what the run made, and nothing else, and
//! removes its record.
//!
//! The caller holds the lease.

use std::collections::{BTreeMap, BTreeSet};

use bson::{RawDocumentBuf, Uuid, doc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::Deployment;
use crate::codes;
use crate::control::layout::databases;
use crate::control::layout::dropping::drop_collection;
use crate::control::layout::zones;
use crate::control::recorded;
use crate::error::{Error, Kind, Policy, Result};
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, RunState, Stage};

/// Collections dropped side by side.
const DROPS: usize = 8;

/// What the run made on the target, by name, with the UUIDs it may have there: none if
/// the run was interrupted before it knew.
type Made = BTreeMap<Namespace, BTreeSet<[u8; 16]>>;

/// Drops what the recorded run copied and forgets it. Nothing to do if no run
/// is recorded. One that was interrupted is completed by the next.
///
/// # Errors
/// `Refused` once the cutover is past the point of no return; `Unsupported` if the
/// state cannot be read: what was copied is not known then.
pub async fn wipe(target: &Deployment) -> Result<()> {
    let runs = RunStore::new(recorded::first(target));
    let Some(run) = recorded_run(&runs).await? else {
        return Ok(());
    };
    // IMPORTANT: first. Nobody may go on with what is half dropped.
    runs.set_stage(Stage::Cancelled).await?;
    let mut made = made(&run, target).await?;
    let making = runs.load_making().await.map_err(unknown)?;
    made.extend(making.into_iter().map(|ns| (ns, BTreeSet::new())));
    drop_all(target, &ours(target, &run).await?).await?;
    for series in series_left(target, &made).await? {
        drop_collection(target, &series).await?;
    }
    let emptied: BTreeSet<&str> = made.keys().map(|ns| ns.db.as_str()).collect();
    for db in emptied {
        match databases::drop_if_empty(target, db).await {
            // It may still be dropped, when the next run has begun.
            Err(e) if e.kind.policy() == Policy::Retry => return Err(e),
            Err(e) => tracing::warn!("{e}"),
            Ok(_) => {}
        }
    }
    take_back_zones(target, &runs).await?;
    zones::forget_temporary(target).await?;
    // IMPORTANT: only now, and the run last: until then the next wipe knows all
    // there is to drop.
    for shard in &target.shards {
        PairStore::new(shard, &run.id, 0).remove().await?;
    }
    runs.remove().await?;
    tracing::info!(
        "run {} is wiped: what it made on the target is dropped",
        run.id
    );
    Ok(())
}

/// What `wipe` would drop now; nothing if no run is recorded.
///
/// # Errors
/// As `wipe`.
pub async fn to_wipe(target: &Deployment) -> Result<BTreeSet<Namespace>> {
    let Some(run) = recorded_run(&RunStore::new(recorded::first(target))).await? else {
        return Ok(BTreeSet::new());
    };
    let ours = ours(target, &run).await?;
    Ok(ours
        .into_iter()
        .flat_map(|collection| [collection.ns.public(), collection.ns])
        .collect())
}

async fn recorded_run(runs: &RunStore) -> Result<Option<RunState>> {
    let run = runs.load().await.map_err(unknown)?;
    run.as_ref().map_or(Ok(()), recorded::may_be_undone)?;
    run.as_ref().map_or(Ok(()), recorded::is_no_way_back)?;
    Ok(run)
}

async fn made(run: &RunState, target: &Deployment) -> Result<Made> {
    let mut made = Made::new();
    for (pair, shard) in recorded::pair_shards(run, target)?.into_iter().enumerate() {
        for collection in PairStore::new(shard, &run.id, pair)
            .collections()
            .await
            .map_err(unknown)?
        {
            let uuids = made.entry(collection.ns).or_default();
            uuids.extend(collection.target_uuid.map(Uuid::bytes));
        }
    }
    Ok(made)
}

/// The run's views, then its collections, as they are on the target now.
async fn ours(target: &Deployment, run: &RunState) -> Result<Vec<Collection>> {
    let mut made = made(run, target).await?;
    let making: BTreeSet<Namespace> = RunStore::new(recorded::first(target))
        .load_making()
        .await
        .map_err(unknown)?
        .into_iter()
        .collect();
    for ns in &making {
        made.entry(ns.clone()).or_default();
    }
    let now = catalog::read(target).await?.collections;
    let is_known = |ns: &Namespace| run.views.contains(ns) || making.contains(ns);
    let is_view = |c: &&Collection| c.kind == CollectionKind::View && is_known(&c.ns);
    let mut ours: Vec<Collection> = now.iter().filter(is_view).cloned().collect();
    // By UUID: the record of a rename may be missing.
    let known: BTreeSet<[u8; 16]> = made.values().flatten().copied().collect();
    for collection in now {
        if is_view(&&collection) {
            continue;
        }
        if collection
            .uuid
            .is_some_and(|uuid| known.contains(&uuid.bytes()))
        {
            ours.push(collection);
            continue;
        }
        let Some(uuids) = made.get(&collection.ns) else {
            continue;
        };
        if is_ours(target, &collection, uuids, making.contains(&collection.ns)).await? {
            ours.push(collection)
        } else {
            tracing::warn!(
                "{} is on the target, but not as the run made it: it stays",
                collection.ns
            );
        }
    }
    Ok(ours)
}

/// Time series whose buckets the run made, and that are gone: views of nothing.
async fn series_left(target: &Deployment, made: &Made) -> Result<Vec<Collection>> {
    let there = catalog::read(target).await?.collections;
    let is_left = |c: &&Collection| {
        let buckets = c.ns.buckets();
        let is_series = c.kind == CollectionKind::TimeSeries;
        is_series && made.contains_key(&buckets) && !there.iter().any(|c| c.ns == buckets)
    };
    Ok(there.iter().filter(is_left).cloned().collect())
}

async fn drop_all(target: &Deployment, ours: &[Collection]) -> Result<()> {
    let (views, collections): (Vec<_>, Vec<_>) =
        ours.iter().partition(|c| c.kind == CollectionKind::View);
    for view in views {
        drop_collection(target, view).await?;
    }
    let dropped = stream::iter(collections).map(|collection| drop_collection(target, collection));
    dropped.buffer_unordered(DROPS).try_collect().await
}

/// The zones that shards were put into for the run's collections: with another map
/// they would lead chunks to the wrong shard.
async fn take_back_zones(target: &Deployment, runs: &RunStore) -> Result<()> {
    for (shard, zone) in runs.load_zones().await? {
        match admin::remove_shard_from_zone(&target.entry, &shard, &zone).await {
            Err(e) if e.code == Some(codes::ZONE_STILL_IN_USE) => {
                tracing::warn!(
                    "zone {zone} of target shard {shard} stays: a collection that the run did not make uses it"
                );
            }
            // The shard is gone, and its zones with it.
            Err(e) if e.code == Some(codes::SHARD_NOT_FOUND) => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Whether the run made this collection, by UUID. If the run never learned the UUID (it
/// was `making` one of that name), it is the run's only if it is empty: the run records
/// UUIDs before the first document.
async fn is_ours(
    target: &Deployment,
    collection: &Collection,
    uuids: &BTreeSet<[u8; 16]>,
    making: bool,
) -> Result<bool> {
    if collection.kind != CollectionKind::Plain {
        return Ok(false);
    }
    match collection.uuid {
        Some(uuid) if uuids.contains(&uuid.bytes()) => Ok(true),
        Some(_) if uuids.is_empty() || making => {
            let documents = target
                .entry
                .database(&collection.ns.db)
                .collection::<RawDocumentBuf>(&collection.ns.coll);
            Ok(documents
                .find_one(doc! {})
                .projection(doc! {"_id": 1})
                .await?
                .is_none())
        }
        _ => Ok(false),
    }
}

fn unknown(e: Error) -> Error {
    match e.kind {
        Kind::Unsupported => e.context("what the run copied is not known").remedy(format!(
            "use `--restart` of the release of shardlift that wrote it, or drop by hand what was copied and the \
             database `{DATABASE}` on every shard of the target"
        )),
        _ => e,
    }
}
