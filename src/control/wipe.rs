//! Undoing a recorded run: drops on the target what it made, and nothing else,
//! then forgets it.
//!
//! The caller holds the lease.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::{Document, Uuid, doc, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, CollectionKind, Namespace};
use crate::cluster::connect::Deployment;
use crate::control::recorded;
use crate::error::{Error, Kind, Result};
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, RunState, Stage};

/// Collections dropped side by side.
const DROPS: usize = 8;

const CODE_NAMESPACE_NOT_FOUND: i32 = 26;
const CODE_UUID_MISMATCH: i32 = 361;

/// What the run made on the target, by name; the UUIDs it may have there, none
/// if the run was interrupted before it knew.
type Made = BTreeMap<Namespace, BTreeSet<[u8; 16]>>;

/// Drops what the recorded run copied and forgets it. Nothing to do if no run
/// is recorded. One that was interrupted is completed by the next.
///
/// # Errors
/// `Refused` once the cutover is past the point of return; `Unsupported` if the
/// state cannot be read: what was copied is not known then.
pub async fn wipe(target: &Deployment) -> Result<()> {
    let runs = RunStore::new(recorded::first(target));
    let Some(run) = runs.load().await.map_err(unknown)? else { return Ok(()) };
    if run.stage == Stage::Finishing {
        return Err(Error::new(Kind::Refused, format!("run {} is past the point of return of its cutover", run.id))
            .remedy("run `shardlift migrate` with the same arguments: only the finish is left"));
    }
    // IMPORTANT: first. Nobody may go on with what is half dropped.
    runs.set_stage(Stage::Cancelled).await?;
    let made = made(&run, target).await?;
    drop_all(target, &run, &made).await?;
    // IMPORTANT: only now, and the run last: until then the next wipe knows all
    // there is to drop.
    for shard in &target.shards {
        PairStore::new(shard, &run.id, 0).remove().await?;
    }
    runs.remove().await?;
    tracing::info!("run {} is wiped: what it made on the target is dropped", run.id);
    Ok(())
}

async fn made(run: &RunState, target: &Deployment) -> Result<Made> {
    let mut made = Made::new();
    for (pair, shard) in recorded::pair_shards(run, target)?.into_iter().enumerate() {
        for collection in PairStore::new(shard, &run.id, pair).collections().await.map_err(unknown)? {
            let uuids = made.entry(collection.ns).or_default();
            uuids.extend(collection.target_uuid.map(Uuid::bytes));
        }
    }
    Ok(made)
}

async fn drop_all(target: &Deployment, run: &RunState, made: &Made) -> Result<()> {
    let catalog = catalog::read(target).await?;
    let now: HashMap<&Namespace, &Collection> = catalog.collections.iter().map(|c| (&c.ns, c)).collect();
    for view in run.views.iter().filter_map(|ns| now.get(ns)).filter(|c| c.kind == CollectionKind::View) {
        drop_one(target, view).await?;
    }
    let found = made.iter().filter_map(|(ns, uuids)| Some((*now.get(ns)?, uuids)));
    stream::iter(found)
        .map(|(collection, uuids)| async move {
            match is_ours(target, collection, uuids).await? {
                true => drop_one(target, collection).await,
                false => {
                    tracing::warn!("{} is on the target, but not as the run made it: it stays", collection.ns);
                    Ok(())
                }
            }
        })
        .buffer_unordered(DROPS)
        .try_collect()
        .await
}

/// By UUID; a collection whose UUID the run never learned is its own only if
/// nothing is in it: it records them before the first document.
async fn is_ours(target: &Deployment, collection: &Collection, uuids: &BTreeSet<[u8; 16]>) -> Result<bool> {
    if collection.kind != CollectionKind::Plain {
        return Ok(false);
    }
    match collection.uuid {
        Some(uuid) if uuids.contains(&uuid.bytes()) => Ok(true),
        Some(_) if uuids.is_empty() => {
            let documents = target.entry.database(&collection.ns.db).collection::<Document>(&collection.ns.coll);
            Ok(documents.find_one(doc! {}).projection(doc! {"_id": 1}).await?.is_none())
        }
        _ => Ok(false),
    }
}

/// Bound to the UUID that was looked at.
pub(super) async fn drop_one(target: &Deployment, collection: &Collection) -> Result<()> {
    let ns = &collection.ns;
    let mut command = rawdoc! {"drop": ns.coll.as_str()};
    if let Some(uuid) = collection.uuid {
        command.append(bson::cstr!("collectionUUID"), bson::Binary::from(uuid));
    }
    match admin::run_majority(&target.entry, &ns.db, &command).await {
        Err(e) if !matches!(e.code, Some(CODE_NAMESPACE_NOT_FOUND | CODE_UUID_MISMATCH)) => {
            Err(e.context(format_args!("dropping {ns} on the target")))
        }
        _ => Ok(()),
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
