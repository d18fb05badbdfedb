//! What goes on beside the loop of an attempt, for as long as the attempt: gauges and
//! watchdogs of every pair, and what verifies and proves ahead of the cutover.
//!
//! Each tells what it finds as an obstacle, a warning or a gauge, and ends nothing: one
//! that ends itself has panicked, and ends the attempt.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::cluster::deployment::Shard;
use crate::cluster::hello;
use crate::cluster::retry::within;
use crate::config::VerifyMode;
use crate::control::across::ddl::Coordinator;
use crate::control::across::forget;
use crate::control::attempt::{lookout, watchdog};
use crate::control::cutover::ahead::Ahead;
use crate::control::cutover::ahead::sweeper::Sweeper;
use crate::control::cutover::proof::prover::{self, Prover};
use crate::control::process::Process;
use crate::control::throttle::{self, Most};
use crate::error::{Error, Result};
use crate::observe::counters::PairMetrics;
use crate::pair::run::Pair;

/// How often gauges are brought up to date.
const TICK: Duration = Duration::from_millis(50);
/// How often a source shard is asked for its newest write.
const SOURCE_POLL: Duration = Duration::from_millis(500);
/// How often a target shard is asked whether it answers.
const TARGET_POLL: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const SOURCE_PATIENCE: Duration = Duration::from_secs(10);

/// Starts all of them. `ahead` takes what is verified ahead.
pub fn start(
    process: Process<'_>,
    pairs: &[Arc<Pair>],
    coordinator: &Arc<Coordinator>,
    ahead: &Arc<Ahead>,
) -> JoinSet<()> {
    let Process {
        config,
        run,
        opened,
        ..
    } = process;
    let mut observers = JoinSet::new();
    observers.spawn(lookout::run(opened.sides.clone(), run.clone()));
    observers.spawn(throttle::keep(
        opened.sides.clone(),
        run.clone(),
        Most::of(config),
    ));
    for pair in pairs {
        observe(&mut observers, process, pair);
    }
    observers.spawn(forget::run(pairs.to_vec(), coordinator.clone()));
    if config.verify == VerifyMode::Digests {
        let sweeper = Sweeper {
            sides: opened.sides.clone(),
            pairs: pairs.to_vec(),
            coordinator: coordinator.clone(),
            run: run.clone(),
            ahead: ahead.clone(),
            touched_max: config.verify_touched_max,
        };
        observers.spawn(sweeper.run());
    }
    prover::nothing_yet(run);
    let prover = Prover {
        sides: opened.sides.clone(),
        pairs: pairs.to_vec(),
        coordinator: coordinator.clone(),
        run: run.clone(),
    };
    observers.spawn(prover.run());
    observers
}

/// Keeps a pair's gauges up to date, and watches over it.
fn observe(observers: &mut JoinSet<()>, process: Process<'_>, pair: &Arc<Pair>) {
    let Process { config, run, .. } = process;
    let patience = Duration::from_secs(config.watchdog_s);
    observers.spawn(watchdog::progress(
        pair.clone(),
        patience,
        run.throttle.clone(),
    ));
    observers.spawn(watchdog::stuck(pair.clone()));
    observers.spawn(watchdog::missed(pair.clone(), run.clone()));
    observers.spawn(watchdog::crossed(pair.clone(), run.clone()));
    let window = watchdog::window(pair.clone(), run.clone(), config.oplog_warn_s);
    observers.spawn(window);
    let newest_ms = Arc::new(AtomicU64::new(0));
    let sides = &process.opened.sides;
    let source = sides.source.shards[pair.index].clone();
    let target = sides.target.shards[sides.pairs[pair.index]].clone();
    observers.spawn(poll_source(source, newest_ms.clone(), pair.metrics.clone()));
    observers.spawn(poll_target(target, pair.clone()));
    observers.spawn(keep_gauges(pair.clone(), newest_ms));
}

async fn keep_gauges(pair: Arc<Pair>, newest_ms: Arc<AtomicU64>) {
    loop {
        pair.observe(newest_ms.load(Relaxed));
        tokio::time::sleep(TICK).await;
    }
}

async fn poll_source(shard: Shard, newest_ms: Arc<AtomicU64>, metrics: Arc<PairMetrics>) {
    loop {
        let begun = Instant::now();
        // A frozen server answers never, and the next look asks again.
        let asked = within(SOURCE_PATIENCE, "a source shard", newest_write(&shard));
        if let Ok(Some(ms)) = asked.await {
            newest_ms.store(ms, Relaxed);
            metrics.source_ping_us.store(micros(begun), Relaxed);
        }
        tokio::time::sleep(SOURCE_POLL).await;
    }
}

/// How fast the target answers, and how many collections are done.
async fn poll_target(shard: Shard, pair: Arc<Pair>) {
    loop {
        let begun = Instant::now();
        let asked = within(TARGET_POLL, "a target shard", newest_write(&shard));
        if asked.await.is_ok() {
            pair.metrics.target_ping_us.store(micros(begun), Relaxed);
        }
        pair.count_collections();
        tokio::time::sleep(TARGET_POLL).await;
    }
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

/// Wall clock of the newest write on a source shard, ms since 1970.
pub async fn newest_write(shard: &Shard) -> Result<Option<u64>> {
    let hello = hello::hello(&shard.client).await?;
    let last_write = hello.get_document("lastWrite").ok();
    let at = last_write.and_then(|write| write.get_datetime("majorityWriteDate").ok());
    Ok(at.map(|at| at.timestamp_millis().max(0) as u64))
}

/// Observers go on for ever: one that ends has panicked.
pub async fn first_to_end(mut observers: JoinSet<()>) -> Error {
    match observers.join_next().await {
        Some(Err(panic)) => Error::internal(format!("the watch over a pair ended early: {panic}")),
        Some(Ok(())) => Error::internal("the watch over a pair has ended"),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[tokio::test]
    async fn an_observer_that_panics_is_an_error_and_not_silence() {
        let mut observers = JoinSet::new();
        observers.spawn(std::future::pending());
        observers.spawn(async { panic!("on purpose") });
        let error = first_to_end(observers).await;
        assert!(
            error.kind == Kind::Internal && error.message.contains("panic"),
            "{error}"
        );
    }
}
