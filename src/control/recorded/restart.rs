//! Copies a source shard, or one of its collections (`anew`), or collections of all shards
//! (`whole`) again within a recorded run that no process works on.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::{Deployment, Shard};
use crate::control::layout::databases;
use crate::control::recorded;
use crate::control::recorded::anew::Anew;
use crate::control::recorded::made::{OfRun, Place};
use crate::control::recorded::names;
use crate::control::recorded::whole::Whole;
use crate::error::{Error, Kind, Result};
use crate::pair::copy::units::Cut;
use crate::pair::incarnation::{self, Begun};
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

/// What is to be copied again: a source shard, a collection of it, or a collection of all shards
/// (or, as `db.*`, all collections of a database).
pub type Asked<'a> = (Option<&'a str>, Option<&'a Namespace>);

/// Makes the recorded run copy what is asked for again. Returns a sentence that says what was
/// done. `cut`: it is planned anew.
///
/// # Errors
/// `Refused` while a process works on the target, if no run of these two
/// deployments is recorded or it does not move data, if there is no such shard or
/// collection in it, or if what became of the shard's collections is not known.
pub async fn restart(
    source: &Deployment,
    target: &Deployment,
    asked: Asked<'_>,
    cut: Cut,
) -> Result<String> {
    let run = recorded::load(source, target).await?;
    recorded::is_no_way_back(&run)?;
    // What the run is about, whatever is given now.
    let source = &source.scoped(run.scope.clone());
    let target = &target.scoped(run.scope.clone());
    let lease = Lease::take(recorded::first(target), &run.id).await?;
    let done = tokio::select! {
        done = alone(source, target, asked, cut, &|| {}) => done,
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
    (source_shard, ns): Asked<'_>,
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
    let of = OfRun {
        source,
        target,
        run: &run,
        cut,
    };
    match (source_shard, ns) {
        (Some(source_shard), only) => one(of, (source_shard, only), accepted).await,
        (None, Some(ns)) => all(of, ns, accepted).await,
        (None, None) => Err(Error::new(Kind::Config, "nothing is to be copied again")
            .remedy("give --shard, --ns, or both")),
    }
}

/// One pair, or one collection of it.
async fn one(
    of: OfRun<'_>,
    (source_shard, only): (&str, Option<&Namespace>),
    accepted: &(dyn Fn() + Sync),
) -> Result<String> {
    let OfRun {
        source,
        target,
        run,
        cut,
    } = of;
    let pair = pair_of(run, source_shard)?;
    let shard = recorded::pair_shards(run, target)?[pair];
    // IMPORTANT: a write of the former process that came after the deletes
    // would leave documents in a unit that waits.
    let store = PairStore::new(shard, &run.id, pair);
    let begun = incarnation::begin(shard, &store, &run.id, pair, SILENCE_WAIT).await?;
    // Nor may a drop by name, which the former attempt did not wait for, meet what is made here.
    databases::none_is_being_dropped(target).await?;
    // And one of this command after its end would meet the next process: that
    // one waits until these connections are gone.
    let shard = &own_connections(shard, &begun)?;
    let store = &store.over(shard);
    let done = async {
        names::record(shard, store).await?;
        let shards = recorded::pair_shards(run, target)?;
        let stores = shards.into_iter().enumerate().map(|(index, shard)| {
            if index == pair {
                store.clone()
            } else {
                PairStore::new(shard, &run.id, index)
            }
        });
        let states = states(run, stores).await?;
        let anew = Anew {
            source,
            target,
            run,
            pair,
            shard,
            store,
            cut,
            only,
            accepted,
        };
        anew.begin(&states).await
    };
    let done = done.await;
    shard.client.clone().shutdown().await;
    done
}

/// What `ns` says, on all shards.
async fn all(of: OfRun<'_>, ns: &Namespace, accepted: &(dyn Fn() + Sync)) -> Result<String> {
    let OfRun { target, run, .. } = of;
    let shards = recorded::pair_shards(run, target)?;
    let begin = shards.iter().enumerate().map(|(pair, shard)| async move {
        let store = PairStore::new(shard, &run.id, pair);
        let begun = incarnation::begin(shard, &store, &run.id, pair, SILENCE_WAIT).await?;
        Ok::<_, Error>((store, begun))
    });
    // IMPORTANT: as for one pair.
    let begun = try_join_all(begin).await?;
    databases::none_is_being_dropped(target).await?;
    let own = shards.into_iter().zip(&begun);
    let own = own.map(|(shard, (_, begun))| own_connections(shard, begun));
    let own = own.collect::<Result<Vec<Shard>>>()?;
    let stores = begun.iter().zip(&own);
    let stores: Vec<PairStore> = stores
        .map(|((store, _), shard)| store.over(shard))
        .collect();
    let done = async {
        for (shard, store) in own.iter().zip(&stores) {
            names::record(shard, store).await?;
        }
        let states = states(run, stores.iter().cloned()).await?;
        let places = own.iter().zip(&stores).enumerate();
        let places = places.map(|(pair, (shard, store))| Place { pair, shard, store });
        let whole = Whole {
            of,
            places: places.collect(),
            ns,
            accepted,
        };
        whole.begin(&states).await
    };
    let done = done.await;
    let ended = own.into_iter();
    join_all(ended.map(|shard| async move { shard.client.shutdown().await })).await;
    done
}

/// The shard over connections that the next incarnation waits for.
fn own_connections(shard: &Shard, begun: &Begun) -> Result<Shard> {
    Ok(Shard {
        client: shard.data_client(&begun.app_name, CONNECTIONS)?,
        ..shard.clone()
    })
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

/// Loads the states of all pairs.
async fn states(run: &RunState, stores: impl Iterator<Item = PairStore>) -> Result<Vec<PairState>> {
    let load = |store: PairStore| async move { store.load().await };
    let states = try_join_all(stores.map(load)).await?;
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
