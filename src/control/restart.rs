//! Copying a source shard anew, or one of its collections, within a recorded
//! run: its documents on the pair's target shard are deleted and its units wait
//! again.
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | mark `wiping` | `finish_wipes` deletes, at the next start |
//! | units wait again | the same |
//! | documents are deleted | the same |
//! | mark removed | nothing is left to do |
//!
//! IMPORTANT: in this order. A settled unit without its documents would never
//! be copied, and a waiting one must have none on the target (R6).

use std::time::Duration;

use bson::{Document, Uuid, doc};
use mongodb::Client;

use crate::cluster::catalog::{self, Namespace};
use crate::cluster::connect::{Deployment, Shard};
use crate::control::recorded;
use crate::error::{Error, Kind, Result};
use crate::pair::incarnation;
use crate::state::lease::Lease;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, RunState, Stage};

/// How long a majority may take to delete one collection's documents, and an
/// older process's connections to go.
const DELETE_WAIT: Duration = Duration::from_secs(3_600);
const SILENCE_WAIT: Duration = Duration::from_secs(60);
/// One for the deletes, one for the state.
const CONNECTIONS: u32 = 2;

const CODE_NAMESPACE_NOT_FOUND: i32 = 26;
const CODE_INDEX_NOT_FOUND: i32 = 27;
const CODE_UUID_MISMATCH: i32 = 361;

/// `db.collection`, as given by an operator.
pub fn namespace(text: &str) -> Result<Namespace> {
    match text.split_once('.') {
        Some((db, coll)) if !db.is_empty() && !coll.is_empty() => {
            Ok(Namespace { db: db.to_owned(), coll: coll.to_owned() })
        }
        _ => {
            Err(Error::new(Kind::Config, format!("`{text}` is no name of a collection")).remedy("give --ns as db.coll"))
        }
    }
}

/// Lets the recorded run copy `source_shard` anew, or only `ns` of it; returns
/// what was done, as a sentence.
///
/// # Errors
/// `Refused` while a process works on the target, if no run of these two
/// deployments is recorded or it does not move data, or if there is no such
/// shard or collection in it.
pub async fn restart(
    source: &Deployment,
    target: &Deployment,
    source_shard: &str,
    ns: Option<&Namespace>,
) -> Result<String> {
    let run = recorded::load(source, target).await?;
    let lease = Lease::take(recorded::first(target), &run.id).await?;
    let done = tokio::select! {
        done = restart_alone(source, target, source_shard, ns) => done,
        lost = lease.keep() => Err(lost),
    };
    let released = lease.release().await;
    let count = done?;
    released?;
    Ok(format!(
        "collections of source shard {source_shard} emptied on the target: {count}; the same `shardlift migrate` as \
         before goes on and copies them anew"
    ))
}

async fn restart_alone(
    source: &Deployment,
    target: &Deployment,
    source_shard: &str,
    ns: Option<&Namespace>,
) -> Result<usize> {
    // Again, now that nobody else changes it.
    let run = recorded::load(source, target).await?;
    if run.stage != Stage::Moving {
        return Err(Error::new(
            Kind::Refused,
            format!("run {} does not move documents: it is {:?}", run.id, run.stage),
        )
        .remedy("a cancelled run can only be wiped: `shardlift migrate --restart`; any other goes on by `migrate`"));
    }
    let pair = pair_of(&run, source_shard)?;
    let shard = recorded::pair_shards(&run, target)?[pair];
    // IMPORTANT: a write of the former process that came after the deletes
    // would leave documents in a unit that waits.
    let store = PairStore::new(shard, &run.id, pair);
    let begun = incarnation::begin(shard, &store, &run.id, pair, SILENCE_WAIT).await?;
    // And one of this command after its end would meet the next process: that
    // one waits until these connections are gone.
    let client = shard.data_client(&begun.app_name, CONNECTIONS)?;
    let own = Shard { client: client.clone(), ..shard.clone() };
    let done = mark_and_finish(&own, &PairStore::new(&own, &run.id, pair), source_shard, ns).await;
    client.shutdown().await;
    done
}

fn pair_of(run: &RunState, source_shard: &str) -> Result<usize> {
    let unknown = || {
        Error::new(Kind::Refused, format!("the recorded run has no source shard {source_shard}"))
            .remedy(format!("its source shards are: {}", run.source_shards.join(", ")))
    };
    run.source_shards.iter().position(|id| id == source_shard).ok_or_else(unknown)
}

async fn mark_and_finish(shard: &Shard, store: &PairStore, id: &str, ns: Option<&Namespace>) -> Result<usize> {
    let torn = || {
        Error::new(Kind::Refused, format!("no whole plan is recorded for source shard {id}"))
            .remedy("wipe and begin anew: `shardlift migrate --restart`")
    };
    let state = store.load().await?.ok_or_else(torn)?;
    let chosen = state.collections.iter().filter(|c| !c.dead && ns.is_none_or(|ns| c.ns == *ns));
    let chosen: Vec<Uuid> = chosen.map(|c| c.uuid).collect();
    if let (Some(ns), true) = (ns, chosen.is_empty()) {
        return Err(Error::new(Kind::Refused, format!("the recorded run has no {ns} on source shard {id}"))
            .remedy("check --ns; without it all collections of the shard are copied anew"));
    }
    store.mark_wiping(&chosen, true).await?;
    finish_wipes(shard, store).await
}

/// Completes what an interrupted restart left, and returns how many collections
/// that were. To be called at the start of an incarnation, once no older one is
/// connected and before anything is loaded to work with, on a shard and a store
/// whose client carries this incarnation's app name.
pub async fn finish_wipes(shard: &Shard, store: &PairStore) -> Result<usize> {
    let collections = store.collections().await?;
    let wiping: Vec<&CollectionState> = collections.iter().filter(|c| c.wiping).collect();
    if wiping.is_empty() {
        return Ok(0);
    }
    let uuids: Vec<Uuid> = wiping.iter().map(|c| c.uuid).collect();
    store.clear_units(Some(&uuids)).await?;
    for collection in wiping {
        let Some(uuid) = collection.target_uuid.filter(|_| !collection.dead) else { continue };
        drop_unique_indexes(shard, collection, uuid).await?;
        delete_documents(&shard.client, &collection.ns, uuid)
            .await
            .map_err(|e| e.context(format_args!("emptying {} on target shard {}", collection.ns, shard.id)))?;
        tracing::info!("{} is emptied on target shard {}; it will be copied anew", collection.ns, shard.id);
    }
    store.mark_wiping(&uuids, false).await?;
    Ok(uuids.len())
}

async fn delete_documents(client: &Client, ns: &Namespace, uuid: Uuid) -> Result<()> {
    let wait_ms = i64::try_from(DELETE_WAIT.as_millis()).unwrap_or(i64::MAX);
    let command = doc! {
        "delete": &ns.coll, "deletes": [{"q": {}, "limit": 0}], "collectionUUID": uuid,
        "writeConcern": {"w": "majority", "wtimeout": wait_ms},
    };
    let reply = client.database(&ns.db).run_command(command).await?;
    let refusal = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document());
    if let Some(refusal) = refusal {
        return refused(refusal);
    }
    match reply.get_document("writeConcernError") {
        Err(_) => Ok(()),
        Ok(e) => Err(Error::new(Kind::Transient, format!("not acknowledged by a majority: {e}"))),
    }
}

fn refused(refusal: &Document) -> Result<()> {
    let code = refusal.get_i32("code").unwrap_or(0);
    // Dropped on both sides before the run could record it.
    let is_gone = refusal.get_str("actualCollection").is_err();
    if code == CODE_NAMESPACE_NOT_FOUND || (code == CODE_UUID_MISMATCH && is_gone) {
        return Ok(());
    }
    let text = refusal.get_str("errmsg").unwrap_or("no reason given");
    Err(Error { code: Some(code), ..Error::new(Kind::Server, format!("{text} (code {code})")) })
}

/// Unique indexes would refuse what a scan and the ops it holds pass through on
/// their way (R10); they are built again after the copy. The one that carries
/// the shard key is not built by us and stays.
async fn drop_unique_indexes(shard: &Shard, collection: &CollectionState, uuid: Uuid) -> Result<()> {
    let ns = &collection.ns;
    if catalog::local_uuid(shard, ns).await? != Some(uuid) {
        return Ok(());
    }
    let carries_key = collection.key_index.as_ref().and_then(|index| index.get_str("name").ok());
    for index in catalog::indexes(shard, ns).await? {
        let name = index.get_str("name")?;
        let is_unique = index.get_bool("unique").unwrap_or(false);
        if !is_unique || name == "_id_" || Some(name) == carries_key {
            continue;
        }
        let command = doc! {"dropIndexes": &ns.coll, "index": name, "writeConcern": {"w": "majority"}};
        match shard.client.database(&ns.db).run_command(command).await.map_err(Error::from) {
            Err(e) if !matches!(e.code, Some(CODE_INDEX_NOT_FOUND | CODE_NAMESPACE_NOT_FOUND)) => {
                return Err(e.context(format_args!("dropping an index of {ns} on target shard {}", shard.id)));
            }
            _ => {}
        }
    }
    Ok(())
}
