//! Copying a source shard anew, or one of its collections, within a recorded
//! run: its documents on the pair's target shard are deleted and its units wait
//! again.

use std::time::Duration;

use bson::Uuid;

use crate::cluster::catalog::Namespace;
use crate::cluster::connect::{Deployment, Shard};
use crate::control::{emptying, recorded};
use crate::error::{Error, Kind, Result};
use crate::pair::incarnation;
use crate::state::lease::Lease;
use crate::state::pair_store::PairStore;
use crate::state::{RunState, Stage};

/// How long an older process's connections may take to go.
const SILENCE_WAIT: Duration = Duration::from_secs(60);
/// One for the deletes, one for the state.
const CONNECTIONS: u32 = 2;

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
    emptying::finish_wipes(shard, store).await
}
