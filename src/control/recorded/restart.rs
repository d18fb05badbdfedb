//! Copies a source shard, or one of its collections, again within a recorded run that no
//! process works on (`anew`).

use std::time::Duration;

use futures_util::future::try_join_all;

use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::{Deployment, Shard};
use crate::control::layout::databases;
use crate::control::recorded;
use crate::control::recorded::anew::Anew;
use crate::control::recorded::names;
use crate::error::{Error, Kind, Result};
use crate::pair::copy::units::Cut;
use crate::pair::incarnation;
use crate::state::lease::Lease;
use crate::state::pair_store::PairStore;
use crate::state::{PairState, RunState, Stage};

/// How long an older process's connections may take to go.
const SILENCE_WAIT: Duration = Duration::from_secs(60);
/// One for the deletes, one for the state.
const CONNECTIONS: u32 = 2;

/// `db.collection`, as given by an operator.
pub fn namespace(text: &str) -> Result<Namespace> {
    match text.split_once('.') {
        Some((db, coll)) if !db.is_empty() && !coll.is_empty() => Ok(Namespace {
            db: db.to_owned(),
            coll: coll.to_owned(),
        }),
        _ => Err(
            Error::new(Kind::Config, format!("`{text}` is not a collection name"))
                .remedy("give --ns as db.coll"),
        ),
    }
}

/// Makes the recorded run copy `source_shard`, or only `ns` of it, again. Returns a
/// sentence that says what was done. `cut`: they are planned anew.
///
/// # Errors
/// `Refused` while a process works on the target, if no run of these two
/// deployments is recorded or it does not move data, if there is no such shard or
/// collection in it, or if what became of the shard's collections is not known.
pub async fn restart(
    source: &Deployment,
    target: &Deployment,
    source_shard: &str,
    ns: Option<&Namespace>,
    cut: Cut,
) -> Result<String> {
    let run = recorded::load(source, target).await?;
    recorded::is_no_way_back(&run)?;
    // What the run is about, whatever is given now.
    let source = &source.scoped(run.scope.clone());
    let target = &target.scoped(run.scope.clone());
    let lease = Lease::take(recorded::first(target), &run.id).await?;
    let done = tokio::select! {
        done = alone(source, target, (source_shard, ns), cut, &|| {}) => done,
        lost = lease.keep() => Err(lost),
    };
    let released = lease.release().await;
    let told = done?;
    released?;
    Ok(format!(
        "{told}; run the same `shardlift migrate` as before to copy them again"
    ))
}

/// The same for the process that has the lease, between two attempts. `accepted`: called once
/// nothing speaks against it.
///
/// # Errors
/// As `restart`.
pub async fn alone(
    source: &Deployment,
    target: &Deployment,
    (source_shard, ns): (&str, Option<&Namespace>),
    cut: Cut,
    accepted: &(dyn Fn() + Sync),
) -> Result<String> {
    // Again, now that nobody else changes it.
    let run = recorded::load(source, target).await?;
    if run.stage != Stage::Moving {
        return Err(Error::new(
            Kind::Refused,
            format!("run {} does not move documents: it is {:?}", run.id, run.stage),
        )
        .remedy("a cancelled run can only be wiped: `shardlift migrate --restart`; any other resumes with `migrate`"));
    }
    let pair = pair_of(&run, source_shard)?;
    let shard = recorded::pair_shards(&run, target)?[pair];
    // IMPORTANT: a write of the former process that came after the deletes
    // would leave documents in a unit that waits.
    let store = PairStore::new(shard, &run.id, pair);
    let begun = incarnation::begin(shard, &store, &run.id, pair, SILENCE_WAIT).await?;
    // Nor may a drop by name, which the former attempt did not wait for, meet what is made here.
    databases::none_is_being_dropped(target).await?;
    // And one of this command after its end would meet the next process: that
    // one waits until these connections are gone.
    let client = shard.data_client(&begun.app_name, CONNECTIONS)?;
    let shard = &Shard {
        client: client.clone(),
        ..shard.clone()
    };
    let store = &store.over(shard);
    let done = async {
        names::record(shard, store).await?;
        let states = states(&run, target, store, pair).await?;
        let anew = Anew {
            source,
            target,
            run: &run,
            pair,
            shard,
            store,
            cut,
            only: ns,
            accepted,
        };
        anew.begin(&states).await
    };
    let done = done.await;
    client.shutdown().await;
    done
}

fn pair_of(run: &RunState, source_shard: &str) -> Result<usize> {
    let unknown = || {
        Error::new(
            Kind::Refused,
            format!("the recorded run has no source shard {source_shard}"),
        )
        .remedy(format!(
            "its source shards are: {}",
            run.source_shards.join(", ")
        ))
    };
    run.source_shards
        .iter()
        .position(|id| id == source_shard)
        .ok_or_else(unknown)
}

/// Loads the states of all pairs. That of `pair` uses this command's own connections.
async fn states(
    run: &RunState,
    target: &Deployment,
    own: &PairStore,
    pair: usize,
) -> Result<Vec<PairState>> {
    let shards = recorded::pair_shards(run, target)?;
    let load = |(index, shard): (usize, &Shard)| {
        let store = if index == pair {
            own.clone()
        } else {
            PairStore::new(shard, &run.id, index)
        };
        async move { store.load().await }
    };
    let states = try_join_all(shards.into_iter().enumerate().map(load)).await?;
    let torn = |index: usize| {
        Error::new(
            Kind::Refused,
            format!(
                "the plan recorded for source shard {} is incomplete",
                run.source_shards[index]
            ),
        )
        .remedy("wipe and start over: `shardlift migrate --restart`")
    };
    states
        .into_iter()
        .enumerate()
        .map(|(index, state)| state.ok_or_else(|| torn(index)))
        .collect()
}
