//! The loop of a running migration: wakes on failures, requests, signals and
//! the clock, and walks the phases from copying to done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::connect::Shard;
use crate::cluster::retry::within;
use crate::config::{Config, CutoverMode, VerifyMode};
use crate::control::ahead::Ahead;
use crate::control::ahead::sweeper::Sweeper;
use crate::control::cutover::{CalledOff, Cutover, Equal};
use crate::control::ddl::Coordinator;
use crate::control::open::Opened;
use crate::control::proof::prover::Prover;
use crate::control::run::{Phase, Run};
use crate::control::stop::Stop;
use crate::control::summary::Summary;
use crate::control::watch::Watch;
use crate::control::{finish, forget, lookout, proof, watchdog};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::observe::api::{Answer, Request};
use crate::pair;
use crate::pair::run::Pair;
use crate::pair::tasks::PairTasks;

/// How often gauges and the phase are brought up to date.
const TICK: Duration = Duration::from_millis(50);
/// How often a source shard is asked for its newest write.
const SOURCE_POLL: Duration = Duration::from_millis(500);
/// How long it may take to answer.
const SOURCE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a cutover that is done waits to hear what stays behind.
const LEFT_BEHIND: Duration = Duration::from_secs(2);
/// How long the drop of an emptied database may take that a cutover comes upon.
const LAST_DROP: Duration = Duration::from_secs(60);
/// Pause after an automatic cutover was called off.
const AUTO_RETRY: Duration = Duration::from_secs(2);

/// What one attempt is driven with.
pub struct Drive<'a> {
    pub config: &'a Config,
    pub run: &'a Arc<Run>,
    pub opened: &'a Opened,
    pub stop: &'a Stop,
}

/// What wakes the loop.
enum Event {
    Failed(Error),
    Asked(Request),
    Stopped,
    Tick,
}

impl Drive<'_> {
    /// From running pairs to the end of the grace time.
    pub async fn to_the_end(
        &self,
        pairs: &[Arc<Pair>],
        tasks: &mut [PairTasks],
        coordinator: Arc<Coordinator>,
        ddl: mpsc::Receiver<pair::request::Request>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<Summary> {
        let sides = &self.opened.sides;
        let watch = Watch::new(sides, &coordinator);
        let mut observers = self.observe(pairs);
        observers.spawn(forget::run(pairs.to_vec(), coordinator.clone()));
        let ahead: Arc<Ahead> = Arc::default();
        if self.config.verify == VerifyMode::Digests {
            observers.spawn(self.sweeper(pairs, &coordinator, &ahead).run());
        }
        proof::prover::nothing_yet(self.run);
        observers.spawn(self.prover(pairs, &coordinator).run());
        let mut failed = std::pin::pin!(async {
            let tasks = select_all(tasks.iter_mut().map(|tasks| Box::pin(tasks.failed())));
            tokio::select! {
                (error, _, _) = tasks => error,
                error = coordinator.clone().run(ddl) => error,
                error = watch.run(self.run, pairs) => error,
                error = first_to_end(&mut observers) => error,
            }
        });
        let mut auto_at = Instant::now();
        // Kept over the turns: askers cannot put it off.
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let begin = match next_event(failed.as_mut(), requests, self.stop, &mut ticks).await {
                Event::Failed(e) => return Err(e),
                Event::Stopped => return Err(stopped("the migration")),
                Event::Asked(Request::Cancel(reply)) => return Err(self.stop.cancelled(reply)),
                Event::Asked(Request::Cutover(reply)) => self.answer_cutover(reply),
                Event::Tick => self.update_phase(pairs) && self.begins_by_itself(auto_at),
            };
            if !begin {
                continue;
            }
            let began = Instant::now();
            self.run.enter(Phase::CuttingOver);
            let cutover = Cutover {
                run: self.run,
                sides,
                pairs,
                coordinator: &coordinator,
                watch: &watch,
                verify: self.config.verify,
                ahead: &ahead,
                verify_concurrency: self.config.verify_concurrency,
                deadline: began + Duration::from_secs(self.config.cutover_timeout_s),
            };
            let proven = tokio::select! {
                proven = prove(&cutover) => proven,
                error = failed.as_mut() => Err(error),
                error = until_stopped(requests, self.stop) => Err(error),
            };
            cutover.waits_no_more();
            match proven? {
                Ok(equal) => {
                    failpoint::hit("cutover-proven");
                    finish::begin(self.opened, &coordinator, pairs).await?;
                    // From here on only the finish is left, in this process or the next.
                    finish_unless_stopped(self.config, self.opened, self.run, requests, self.stop)
                        .await?;
                    return Ok(self.done(pairs, equal, began, failed, requests).await);
                }
                Err(off) => self.call_off(off)?,
            }
            auto_at = Instant::now() + AUTO_RETRY;
        }
    }

    fn sweeper(
        &self,
        pairs: &[Arc<Pair>],
        coordinator: &Arc<Coordinator>,
        ahead: &Arc<Ahead>,
    ) -> Sweeper {
        Sweeper {
            sides: self.opened.sides.clone(),
            pairs: pairs.to_vec(),
            coordinator: coordinator.clone(),
            run: self.run.clone(),
            ahead: ahead.clone(),
            touched_max: self.config.verify_touched_max,
        }
    }

    fn prover(&self, pairs: &[Arc<Pair>], coordinator: &Arc<Coordinator>) -> Prover {
        Prover {
            sides: self.opened.sides.clone(),
            pairs: pairs.to_vec(),
            coordinator: coordinator.clone(),
            run: self.run.clone(),
        }
    }

    /// Keeps every pair's gauges up to date, and watches over it.
    fn observe(&self, pairs: &[Arc<Pair>]) -> JoinSet<()> {
        let mut observers = JoinSet::new();
        observers.spawn(lookout::run(self.opened.sides.clone(), self.run.clone()));
        for pair in pairs.iter().cloned() {
            let newest = Arc::new(std::sync::atomic::AtomicU64::new(0));
            let source = self.opened.sides.source.shards[pair.index].clone();
            observers.spawn(poll_source(source, newest.clone()));
            let patience = Duration::from_secs(self.config.watchdog_s);
            observers.spawn(watchdog::progress(pair.clone(), patience));
            observers.spawn(watchdog::stuck(pair.clone()));
            observers.spawn(watchdog::missed(pair.clone(), self.run.clone()));
            observers.spawn(watchdog::window(
                pair.clone(),
                self.run.clone(),
                self.config.oplog_warn_s,
            ));
            observers.spawn(async move {
                loop {
                    pair.observe(newest.load(std::sync::atomic::Ordering::Relaxed));
                    tokio::time::sleep(TICK).await;
                }
            });
        }
        observers
    }

    /// Copying → following → ready, and back when DDL is under way. True if ready.
    fn update_phase(&self, pairs: &[Arc<Pair>]) -> bool {
        let snapshot = self.run.snapshot();
        let copied = snapshot
            .pairs
            .iter()
            .all(|pair| pair.units_copied == pair.units_total);
        let settled = copied && pairs.iter().all(|pair| pair.is_settled());
        self.run
            .obstacles
            .put("lag", self.too_late(snapshot.lag_ms).filter(|_| settled));
        let ready = settled && self.run.all_obstacles().is_empty();
        self.run.enter(match (copied, ready) {
            (false, _) => Phase::Copying,
            (true, false) => Phase::Following,
            (true, true) => Phase::Ready,
        });
        ready
    }

    /// A cutover begun now would not catch up in time.
    fn too_late(&self, lag_ms: u64) -> Option<String> {
        let may_take_s = self.config.cutover_timeout_s;
        (may_take_s * 1_000 < lag_ms).then(|| {
            format!(
                "the target is {} s behind, and a cutover may take {may_take_s} s: wait until it has caught up, or raise cutover_timeout_s",
                lag_ms / 1_000
            )
        })
    }

    fn begins_by_itself(&self, not_before: Instant) -> bool {
        let lag_ms = self.run.snapshot().lag_ms;
        self.config.cutover == CutoverMode::Auto
            && lag_ms <= self.config.cutover_lag_ms
            && not_before <= Instant::now()
    }

    fn answer_cutover(&self, reply: tokio::sync::oneshot::Sender<Answer>) -> bool {
        let (phase, obstacles) = (self.run.phase(), self.run.all_obstacles());
        let ready = phase == Phase::Ready && obstacles.is_empty();
        let answer = match ready {
            true => Ok("the cutover begins: no writes to the source from now on".to_owned()),
            false => Err(not_ready(phase, &obstacles)),
        };
        // An asker that is gone loses only the answer.
        let _ = reply.send(answer);
        ready
    }

    /// Back to following. An automatic cutover that finds a difference ends the
    /// run: nobody is there to look.
    fn call_off(&self, off: CalledOff) -> Result<()> {
        let reason = off.reason();
        if let (CalledOff::Differs(_), CutoverMode::Auto) = (&off, self.config.cutover) {
            return Err(Error::new(Kind::Differs, reason)
                .remedy("do not use the target; report this with the log"));
        }
        self.run.enter(Phase::Ready);
        self.run.called_off(reason);
        Ok(())
    }

    /// The grace time: late writes are watched for, until it is over or a signal
    /// ends it.
    async fn done(
        &self,
        pairs: &[Arc<Pair>],
        equal: Equal,
        began: Instant,
        failed: impl Future<Output = Error>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Summary {
        let cutover_ms = began.elapsed().as_millis() as u64;
        self.run.cut_over(cutover_ms);
        self.run.enter(Phase::Done);
        // Late is better than never: it may have been made a moment ago.
        let _ = timeout(
            LEFT_BEHIND,
            proof::tell_left_behind(&self.opened.sides.source, self.run),
        )
        .await;
        let grace = Duration::from_secs(self.config.grace_s);
        tokio::select! {
            () = finish::report_late_writes(pairs, &equal.fences, grace, self.run) => {}
            () = self.stop.asked() => {}
            () = refuse(requests, "too late: the cutover is done") => {}
            error = failed => self.run.warn(format!("late writes could not be watched for to the end: {error}")),
        }
        let late = pairs
            .iter()
            .zip(&equal.fences)
            .filter(|(pair, fence)| pair.changed_since(**fence).is_some());
        Summary::of(self.run, equal.report, cutover_ms, late.count() as u64)
    }
}

/// Once it is proven, no database of the target is dropped any more.
///
/// IMPORTANT: with it goes on what drops them: it may be about to.
async fn prove(cutover: &Cutover<'_>) -> Result<std::result::Result<Equal, CalledOff>> {
    let proven = cutover.prove().await?;
    if proven.is_ok() {
        let drops = cutover.coordinator.drop_no_more();
        within(
            LAST_DROP,
            "a database that is being dropped on the target",
            drops,
        )
        .await?;
    }
    Ok(proven)
}

fn not_ready(phase: Phase, obstacles: &[String]) -> String {
    match obstacles {
        [] => format!("not yet: the run is {phase}; ask again when `shardlift status` says ready"),
        _ => format!(
            "not now: the run is {phase}; in the way: {}",
            obstacles.join("; ")
        ),
    }
}

/// Observers go on for ever: one that ends has panicked.
async fn first_to_end(observers: &mut JoinSet<()>) -> Error {
    match observers.join_next().await {
        Some(Err(panic)) => {
            Error::internal(format!("what watches over a pair ended early: {panic}"))
        }
        Some(Ok(())) => Error::internal("what watches over a pair has ended"),
        None => std::future::pending().await,
    }
}

/// Answers every request with the same refusal.
async fn refuse(requests: &mut mpsc::Receiver<Request>, why: &str) {
    while let Some(Request::Cutover(reply) | Request::Cancel(reply)) = requests.recv().await {
        // An asker that is gone loses only the answer.
        let _ = reply.send(Err(why.to_owned()));
    }
    std::future::pending().await
}

async fn next_event(
    failed: impl Future<Output = Error>,
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    ticks: &mut tokio::time::Interval,
) -> Event {
    tokio::select! {
        biased;
        error = failed => Event::Failed(error),
        () = stop.asked() => Event::Stopped,
        _ = ticks.tick() => Event::Tick,
        Some(request) = requests.recv() => Event::Asked(request),
    }
}

/// Runs `work` until it is done, a signal comes or the operator cancels.
pub async fn unless_stopped<T>(
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    doing: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        error = until_stopped(requests, stop) => Err(error.context(format_args!("stopped while {doing}"))),
    }
}

/// Finishes until it is done or a signal comes. The next start goes on with it: too late
/// for anything else.
pub async fn finish_unless_stopped(
    config: &Config,
    opened: &Opened,
    run: &Run,
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
) -> Result<()> {
    tokio::select! {
        biased;
        done = finish::finish(config, opened, run) => done,
        () = stop.asked() => Err(stopped("the finish of the cutover")),
        () = refuse(requests, "too late: only the finish of the cutover is left") => Ok(()),
    }
}

/// Answers requests until one, or a signal, ends the run.
async fn until_stopped(requests: &mut mpsc::Receiver<Request>, stop: &Stop) -> Error {
    loop {
        tokio::select! {
            () = stop.asked() => return stopped("it"),
            Some(request) = requests.recv() => match request {
                Request::Cancel(reply) => return stop.cancelled(reply),
                Request::Cutover(reply) => {
                    let _ = reply.send(Err("not now: ask again when `shardlift status` says ready".to_owned()));
                }
            },
        }
    }
}

fn stopped(what: &str) -> Error {
    Error::new(Kind::Stopped, format!("{what} was stopped by a signal"))
        .remedy("run the same command to go on where it was")
}

/// Wall clock of the newest write on a source shard, ms since 1970.
async fn poll_source(shard: Shard, newest_ms: Arc<std::sync::atomic::AtomicU64>) {
    loop {
        let hello = async {
            Ok(shard
                .client
                .database("admin")
                .run_command(bson::doc! { "hello": 1 })
                .await?)
        };
        // A frozen server answers never, and the next look asks again.
        let hello = within(SOURCE_PATIENCE, "a source shard", hello).await;
        let last_write = hello
            .ok()
            .and_then(|hello| hello.get_document("lastWrite").ok().cloned());
        if let Some(at) = last_write.and_then(|w| w.get_datetime("majorityWriteDate").ok().copied())
        {
            newest_ms.store(
                at.timestamp_millis().max(0) as u64,
                std::sync::atomic::Ordering::Relaxed,
            );
        }
        tokio::time::sleep(SOURCE_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_observer_that_panics_is_an_error_and_not_silence() {
        let mut observers = JoinSet::new();
        observers.spawn(std::future::pending());
        observers.spawn(async { panic!("on purpose") });
        let error = first_to_end(&mut observers).await;
        assert!(
            error.kind == Kind::Internal && error.message.contains("panic"),
            "{error}"
        );
    }
}
