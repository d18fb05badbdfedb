//! The parts of a start: checks, balancers, and pairs from their recorded state.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bson::Uuid;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::mpsc;

use crate::cluster::catalog::{self, Catalog, Namespace};
use crate::cluster::connect::Shard;
use crate::config::Config;
use crate::control::balancer::{self, Found};
use crate::control::ddl::Coordinator;
use crate::control::open::Opened;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::control::views::Views;
use crate::control::{emptying, laid_out, layout, listing, resume, validate};
use crate::error::{Error, Kind, Result};
use crate::pair::ddl::Request;
use crate::pair::incarnation::{self, Begun};
use crate::pair::proven::Lister;
use crate::pair::run::Pair;
use crate::pair::start::{Limits, Plan};
use crate::pair::statement::FlushLimits;
use crate::pair::tasks::PairTasks;
use crate::state::pair_store::PairStore;
use crate::state::{PairState, RunState};

/// Requests for DDL that may wait; pairs wait beyond.
const DDL_QUEUE: usize = 64;

/// How long connections of an older incarnation are waited for in one attempt.
const OLDER_WAIT: Duration = Duration::from_secs(60);

/// Of a pair's state: checkpoints, unit starts and the catalog, side by side.
const STATE_CONNECTIONS: u32 = 4;

/// What a pair cannot do without, bytes: two replies for its tail, two for its scans.
const MEMORY_PER_PAIR_MIN: usize = 64 << 20;

/// The balancers as found, to be put back at the end.
#[derive(Debug, Clone)]
pub struct Balancers {
    pub source: Found,
    pub target: Found,
}

impl Balancers {
    pub fn recorded(run: &RunState) -> Self {
        let found = |enabled, settings: &Option<_>| Found {
            enabled,
            settings: settings.clone(),
        };
        Balancers {
            source: found(run.source_balancer, &run.source_settings),
            target: found(run.target_balancer, &run.target_settings),
        }
    }

    pub fn any_was_on(&self) -> bool {
        [&self.source, &self.target]
            .iter()
            .any(|found| found.enabled == Some(true))
    }
}

/// A migration under way.
pub struct Running {
    pub pairs: Vec<Arc<Pair>>,
    pub tasks: Vec<PairTasks>,
    pub coordinator: Arc<Coordinator>,
    pub ddl: mpsc::Receiver<Request>,
}

/// Runs every check; the first thing a migration does. `to_wipe`: collections of
/// the target that go before it begins.
///
/// # Errors
/// `Refused`, naming every check that failed with its remedy.
pub async fn validate(sides: &Sides, to_wipe: &BTreeSet<Namespace>) -> Result<()> {
    let catalog = catalog::read(&sides.source).await?;
    let checks = validate::run(&sides.source, &sides.target, &catalog, to_wipe).await?;
    for check in checks.iter().filter(|check| check.ok) {
        tracing::info!("validated {}: {}", check.name, check.found);
    }
    let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = failed
        .iter()
        .map(|c| format!("{}: {}", c.name, c.found))
        .collect();
    let remedies: Vec<&str> = failed.iter().filter_map(|c| c.remedy.as_deref()).collect();
    Err(Error::new(Kind::Refused, found.join("; ")).remedy(remedies.join("; ")))
}

/// What is set of each balancer, before anything is stopped.
pub async fn balancers(sides: &Sides) -> Result<Balancers> {
    let (source, target) = tokio::try_join!(
        balancer::found(&sides.source),
        balancer::found(&sides.target)
    )?;
    Ok(Balancers { source, target })
}

/// Stops both balancers and waits for running migrations.
pub async fn stop_balancers(sides: &Sides) -> Result<()> {
    tokio::try_join!(balancer::stop(&sides.source), balancer::stop(&sides.target))?;
    Ok(())
}

/// Puts both balancers back; a failure is a loud warning (the migration itself
/// has its outcome already).
pub async fn restore_balancers(sides: &Sides, found: &Balancers, run: &Run) {
    for (side, found) in [
        (&sides.source, &found.source),
        (&sides.target, &found.target),
    ] {
        if let Err(e) = balancer::restore(side, found).await {
            run.warn(format!(
                "the balancer of the {} could not be put back: {e}",
                side.side
            ));
        }
    }
}

/// Begins a new incarnation of every pair and starts it from the recorded state.
pub async fn start(config: &Config, opened: &Opened, run: &Arc<Run>) -> Result<Running> {
    let Opened {
        sides,
        stores,
        feeds,
        ..
    } = opened;
    let limits = limits(config, sides.pairs.len())?;
    let begun = try_join_all(
        (0..sides.pairs.len()).map(|pair| begin(sides, stores, pair, run, limits.away_max)),
    )
    .await?;
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
    let dropped = dropped_on_target(&states, &made);
    let mut gone = gone(sides, &states).await?;
    check_dropped_by_us(&states, &gone, &dropped)?;
    gone.iter_mut().for_each(|gone| gone.extend(&dropped));
    let places = begun.iter().zip(feeds).zip(&mut states);
    try_join_all(places.map(|((begun, feed), state)| {
        resume::settle(&begun.target, &begun.store, feed, state, run)
    }))
    .await?;
    let newest = listing::newest(&sides.source).await?;
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
    let (requests, ddl) = mpsc::channel(DDL_QUEUE);
    let states = states.into_iter().zip(begun).zip(newest);
    let plans = states.enumerate().map(
        |(index, ((state, Writing { begun, store, .. }), newest))| Plan {
            index,
            begun,
            source: sides.source.shards[index].clone(),
            lister: listers[index].clone(),
            target: sides.target.shards[sides.pairs[index]].clone(),
            state,
            store,
            feed: feeds[index].clone(),
            gone: gone[index].clone(),
            clock: newest.clock,
            run: run.id(),
            requests: requests.clone(),
            metrics: run.metrics_of(&sides.pair_name(index)),
            name: sides.pair_name(index),
            limits,
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
    Ok(Running {
        pairs,
        tasks,
        coordinator,
        ddl,
    })
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
    away_max: Duration,
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
    emptying::finish_wipes(&target, &store).await?;
    Ok(Writing {
        begun,
        target,
        store,
    })
}

/// UUIDs each pair tracks that its source shard no longer has: their drops are
/// in the oplog after the resume position.
async fn gone(sides: &Sides, states: &[PairState]) -> Result<Vec<HashSet<Uuid>>> {
    let mut gone = Vec::new();
    for (shard, state) in sides.source.shards.iter().zip(states) {
        let alive: Vec<_> = state.collections.iter().filter(|c| !c.dead).collect();
        let databases: BTreeSet<&str> = alive.iter().map(|c| c.ns.db.as_str()).collect();
        let there = catalog::local_uuids(shard, databases).await?;
        gone.push(
            alive
                .iter()
                .map(|c| c.uuid)
                .filter(|uuid| !there.contains(uuid))
                .collect(),
        );
    }
    Ok(gone)
}

/// Collections that were made on the target and are no longer there: their drop
/// was made, and not every pair could record it. Nothing can be written to them,
/// and a namesake may be there already (R4).
fn dropped_on_target(states: &[PairState], made: &Catalog) -> HashSet<Uuid> {
    let there: HashSet<Uuid> = made.collections.iter().filter_map(|c| c.uuid).collect();
    let all = states.iter().flat_map(|state| &state.collections);
    all.filter(|c| c.target_uuid.is_some_and(|made| !there.contains(&made)))
        .map(|c| c.uuid)
        .collect()
}

/// A drop is made on the target when every pair has met it: then no source shard
/// lists the collection.
fn check_dropped_by_us(
    states: &[PairState],
    gone: &[HashSet<Uuid>],
    dropped: &HashSet<Uuid>,
) -> Result<()> {
    for (state, gone) in states.iter().zip(gone) {
        let alive = state
            .collections
            .iter()
            .filter(|c| !c.dead && !gone.contains(&c.uuid));
        if let Some(lost) = alive.into_iter().find(|c| dropped.contains(&c.uuid)) {
            let found = format!(
                "{} was dropped or recreated on the target by somebody else",
                lost.ns
            );
            return Err(Error::new(Kind::Unsupported, found)
                .remedy("leave the target alone while a run is on; begin anew with `shardlift migrate --restart`"));
        }
    }
    Ok(())
}

/// How long either side may be away.
pub fn away_max(config: &Config) -> Duration {
    Duration::from_secs(config.away_max_s)
}

/// # Errors
/// `Config` if the budget is too small for that many pairs.
pub fn limits(config: &Config, pairs: usize) -> Result<Limits> {
    let memory_bytes = config.memory_bytes() / pairs.max(1);
    if memory_bytes < MEMORY_PER_PAIR_MIN {
        let least_mb = (MEMORY_PER_PAIR_MIN * pairs) >> 20;
        let found = format!(
            "memory_mb is {}, too little for {pairs} pairs",
            config.memory_mb
        );
        return Err(
            Error::new(Kind::Config, found).remedy(format!("set memory_mb to {least_mb} or more"))
        );
    }
    Ok(Limits {
        memory_bytes,
        away_max: away_max(config),
        patience: Duration::from_secs(config.command_timeout_s),
        checkpoint: Duration::from_millis(config.checkpoint_ms),
        scans: config.scans,
        lanes: config.lanes,
        flush: FlushLimits {
            ops_max: config.bulk_ops_max,
            bytes_max: config.bulk_bytes_max(),
        },
    })
}
