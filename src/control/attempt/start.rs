//! The start of an attempt: pairs from their recorded state.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bson::Uuid;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::mpsc;

use crate::cluster::catalog::{self, Namespace};
use crate::cluster::deployment::Shard;
use crate::cluster::probe;
use crate::config::Config;
use crate::control::across::ddl::Coordinator;
use crate::control::across::register;
use crate::control::across::views::Views;
use crate::control::attempt::resume;
use crate::control::layout;
use crate::control::layout::prepare;
use crate::control::layout::{laid_out, listing};
use crate::control::limits;
use crate::control::open::Opened;
use crate::control::recorded::{emptying, names, replan};
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::error::Result;
use crate::pair::copy::units::Cut;
use crate::pair::ddl::request::Request;
use crate::pair::incarnation::{self, Begun};
use crate::pair::oplog::proven::Lister;
use crate::pair::run::Pair;
use crate::pair::start::Parts;
use crate::pair::tasks::PairTasks;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, PairState};

/// Requests for DDL that may wait; pairs wait beyond.
const DDL_QUEUE: usize = 64;

/// How long connections of an older incarnation are waited for in one attempt.
const OLDER_WAIT: Duration = Duration::from_secs(60);

/// Of a pair's state: checkpoints, unit starts and the catalog, side by side.
const STATE_CONNECTIONS: u32 = 4;

/// A migration under way.
pub struct Running {
    pub pairs: Vec<Arc<Pair>>,
    pub tasks: Vec<PairTasks>,
    pub ddl: Ddl,
}

/// DDL across pairs, and what they ask of it.
pub struct Ddl {
    pub coordinator: Arc<Coordinator>,
    pub requests: mpsc::Receiver<Request>,
}

/// Begins a new incarnation of every pair and starts it from the recorded state.
pub async fn start(config: &Config, opened: &Opened, run: &Arc<Run>) -> Result<Running> {
    let Opened {
        sides,
        stores,
        feeds,
        ..
    } = opened;
    let limits = limits::of(config, sides)?;
    let (cut, away_max) = (prepare::cut(config), limits.away_max);
    let pairs = 0..sides.pairs.len();
    let begun = pairs.map(|pair| begin(sides, stores, pair, run, (cut, away_max)));
    let begun = try_join_all(begun).await?;
    // IMPORTANT: only now: an older incarnation may have recorded more until then.
    let mut states = stores.load_pairs().await?;
    layout::zones::forget_temporary(&sides.target).await?;
    let made = catalog::read(&sides.target).await?;
    let versions = laid_out::check(sides, &mut states, &made).await?;
    for (begun, versions) in begun
        .iter()
        .zip(&versions)
        .filter(|(_, versions)| !versions.is_empty())
    {
        begun.store.set_versions(versions).await?;
    }
    let there = made.collections.iter().filter_map(|c| c.uuid).collect();
    let mut dropped = register::dropped(&states, &there);
    names::expect_one_each(&states, &dropped)?;
    let called = called(sides, &states).await?;
    let mut gone = gone(&states, &called);
    register::check_dropped_by_us(&states, &gone, &dropped)?;
    // IMPORTANT: after the check, which tells what a `recopy` has left half done.
    register::take_out_made_anew(&mut states, &mut dropped, &there);
    gone.iter_mut().for_each(|gone| gone.extend(&dropped));
    let places = begun.iter().zip(feeds).zip(&mut states);
    try_join_all(places.map(|((begun, feed), state)| {
        resume::choose_start(&begun.target, &begun.store, feed, state, run)
    }))
    .await?;
    let newest = listing::newest(&sides.source).await?;
    // IMPORTANT: last: the tails stop at changes after that clock only.
    tokio::try_join!(
        probe::check_fcv(&sides.source),
        probe::check_fcv(&sides.target)
    )?;
    let listers = Lister::of_all(&sides.source, &run.id(), limits.away_max);
    let views = Views::new(
        sides.clone(),
        begun.iter().map(|begun| begun.target.clone()).collect(),
    );
    let coordinator = Coordinator::new(
        sides.clone(),
        views,
        listers.clone(),
        &states,
        dropped,
        limits.away_max,
    );
    let (requests, received) = mpsc::channel(DDL_QUEUE);
    let states = states.into_iter().zip(begun).zip(newest);
    let plans = states.enumerate().map(
        |(index, ((state, Writing { begun, store, .. }), newest))| Parts {
            index,
            begun,
            source: sides.source.shards[index].clone(),
            reads: sides.source.dialect.reads,
            lister: listers[index].clone(),
            target: sides.target.shards[sides.pairs[index]].clone(),
            state,
            store,
            feed: feeds[index].clone(),
            gone: gone[index].clone(),
            called: called[index].clone(),
            clock: newest.clock,
            run: run.id(),
            requests: requests.clone(),
            metrics: run.metrics_of(&sides.pair_name(index)),
            throttle: run.throttle.clone(),
            name: sides.pair_name(index),
            limits,
            is_way_back: run.is_way_back(),
        },
    );
    let started = join_all(plans.map(Pair::start))
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let (pairs, tasks): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    run.set_pairs(
        pairs
            .iter()
            .map(|pair| (pair.name.clone(), pair.metrics.clone()))
            .collect(),
    );
    let ddl = Ddl {
        coordinator,
        requests: received,
    };
    Ok(Running { pairs, tasks, ddl })
}

/// A pair's new incarnation, and what it reaches the target's shard by.
struct Writing {
    begun: Begun,
    target: Shard,
    store: PairStore,
}

/// Waits until this process is the only one that writes, and completes what an
/// interrupted process left half deleted.
async fn begin(
    sides: &Sides,
    stores: &Stores,
    pair: usize,
    run: &Run,
    (cut, away_max): (Cut, Duration),
) -> Result<Writing> {
    let (target, store) = (&sides.target.shards[sides.pairs[pair]], &stores.pairs[pair]);
    let begun = incarnation::begin(target, store, &run.id(), pair, OLDER_WAIT).await?;
    let client = target.data_client(&begun.app_name, STATE_CONNECTIONS)?;
    let target = Shard {
        client,
        ..target.clone()
    };
    let store = store.over(&target).waiting(away_max);
    // IMPORTANT: the first command of these connections. A younger incarnation
    // that began meanwhile makes it fail, or sees them and waits.
    store.checkpoint(None).await?;
    names::record(&target, &store).await?;
    let source = &sides.source.shards[pair];
    let given_up = replan::take_up_whole_reads(source, (&target, &store), cut).await?;
    given_up.into_iter().for_each(|warning| run.warn(warning));
    emptying::finish_wipes(&target, &store).await?;
    Ok(Writing {
        begun,
        target,
        store,
    })
}

/// Names by UUID that each source shard has now for what its pair tracks.
async fn called(sides: &Sides, states: &[PairState]) -> Result<Vec<HashMap<Uuid, Namespace>>> {
    let mut called = Vec::new();
    for (shard, state) in sides.source.shards.iter().zip(states) {
        let databases: BTreeSet<&str> = alive(state).map(|c| c.ns.db.as_str()).collect();
        called.push(catalog::local_names(shard, databases).await?);
    }
    Ok(called)
}

/// UUIDs each pair tracks that its source shard no longer has: their drops are
/// in the oplog after the resume position.
fn gone(states: &[PairState], called: &[HashMap<Uuid, Namespace>]) -> Vec<HashSet<Uuid>> {
    let gone = states.iter().zip(called).map(|(state, called)| {
        let uuids = alive(state).map(|c| c.uuid);
        uuids.filter(|uuid| !called.contains_key(uuid)).collect()
    });
    gone.collect()
}

fn alive(state: &PairState) -> impl Iterator<Item = &CollectionState> {
    state.collections.iter().filter(|c| !c.dead)
}
