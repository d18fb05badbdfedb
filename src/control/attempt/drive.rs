//! The loop of a running migration: wakes on failures, requests, signals and
//! the clock, and walks the phases from copying to done.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, timeout};

use crate::cluster::retry::within;
use crate::config::CutoverMode;
use crate::control::across::ddl::Coordinator;
use crate::control::across::watch::Watch;
use crate::control::attempt::again;
use crate::control::attempt::observers;
use crate::control::attempt::start::Ddl;
use crate::control::cutover::ahead::Ahead;
use crate::control::cutover::called_off::{CalledOff, NotProven};
use crate::control::cutover::{Cutover, Equal};
use crate::control::cutover::{finish, proof, routers};
use crate::control::layout::listing;
use crate::control::open::Opened;
use crate::control::process::Process;
use crate::control::reverse;
use crate::control::stop::{self, Pauses, stopped};
use crate::control::summary::Summary;
use crate::control::write_block;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::observe::api::request::{Answer, Recopied, Request};
use crate::observe::phase::Phase;
use crate::pair::run::Pair;
use crate::pair::tasks::PairTasks;
use crate::state::Reverse;

/// How often the phase is brought up to date.
const TICK: Duration = Duration::from_millis(50);
/// How long a finished cutover waits for the report of what stays behind.
const LEFT_BEHIND: Duration = Duration::from_secs(2);
/// How long a cutover waits for the drop of an emptied database that is under way.
const LAST_DROP: Duration = Duration::from_secs(60);
/// How long planning the way back may take.
const PLANNING: Duration = Duration::from_secs(60);
/// Pause after an automatic cutover was called off.
const AUTO_RETRY: Duration = Duration::from_secs(2);

/// Running pairs, and what this loop wakes on.
pub struct Drive<'a> {
    process: Process<'a>,
    pairs: &'a [Arc<Pair>],
    coordinator: Arc<Coordinator>,
    watch: Arc<Watch>,
    ahead: Arc<Ahead>,
    requests: &'a mut mpsc::Receiver<Request>,
    /// Ends with the first failure of anything that goes on beside the loop.
    failed: Pin<Box<dyn Future<Output = Error> + Send + 'a>>,
    /// Kept over the turns: askers cannot put it off.
    ticks: Interval,
    /// When a cutover may begin by itself.
    auto_at: Instant,
}

/// What the loop wakes for.
enum Event {
    Failed(Error),
    Stopped,
    Cancelled(oneshot::Sender<Answer>),
    /// By whom.
    Paused(String, oneshot::Sender<Answer>),
    CutOver(Asked),
    Recopied(Recopied, oneshot::Sender<Answer>),
}

/// How a cutover was asked for.
struct Asked {
    /// Whether the source refuses users' writes first.
    block_writes: bool,
    why: &'static str,
}

impl Asked {
    const BY_ITSELF: Asked = Asked {
        block_writes: false,
        why: "by itself: the lag is small",
    };
}

impl<'a> Drive<'a> {
    /// Starts what goes on beside the loop. All of it ends with the returned value.
    pub fn new(
        process: Process<'a>,
        pairs: &'a [Arc<Pair>],
        tasks: &'a mut [PairTasks],
        ddl: Ddl,
        requests: &'a mut mpsc::Receiver<Request>,
    ) -> Self {
        let coordinator = ddl.coordinator;
        let ahead: Arc<Ahead> = Arc::default();
        let watch = Arc::new(Watch::new(&process.opened.sides, &coordinator));
        let observers = observers::start(process, pairs, &coordinator, &ahead);
        let serving = coordinator.clone().run(ddl.requests);
        let watching = watch.clone();
        let Process { run, opened, .. } = process;
        let failed = async move {
            let tasks = select_all(tasks.iter_mut().map(|tasks| Box::pin(tasks.failed())));
            tokio::select! {
                (error, _, _) = tasks => error,
                error = serving => error,
                error = watching.run(process.run, pairs) => error,
                error = observers::first_to_end(observers) => error,
                error = opened.window.watch(run, &opened.stores.run) => error,
            }
        };
        Drive {
            process,
            pairs,
            coordinator,
            watch,
            ahead,
            requests,
            failed: Box::pin(failed),
            ticks: tokio::time::interval(TICK),
            auto_at: Instant::now(),
        }
    }

    /// To the end of the grace time.
    pub async fn to_the_end(mut self) -> Result<Summary> {
        loop {
            match self.next().await {
                Event::Failed(error) => return Err(error),
                Event::Stopped => return Err(stopped("the migration")),
                Event::Cancelled(reply) => return Err(self.process.stop.cancelled(reply)),
                Event::Paused(by, reply) => return Err(self.process.stop.paused(by, reply)),
                Event::Recopied(asked, reply) => {
                    return Err(self.process.stop.recopied(asked, reply));
                }
                Event::CutOver(asked) => {
                    if let Some(summary) = self.cut_over(asked).await? {
                        return Ok(summary);
                    }
                    self.auto_at = Instant::now() + AUTO_RETRY;
                }
            }
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                error = &mut self.failed => return Event::Failed(error),
                () = self.process.stop.asked() => return Event::Stopped,
                _ = self.ticks.tick() => {
                    if self.update_phase() && self.begins_by_itself() {
                        return Event::CutOver(Asked::BY_ITSELF);
                    }
                }
                Some(request) = self.requests.recv() => match request {
                    Request::Cancel(reply) => return Event::Cancelled(reply),
                    Request::Pause(by, reply) => return Event::Paused(by, reply),
                    Request::Resume(reply) => {
                        stop::answer(reply, Err("the run is not paused".to_owned()));
                    }
                    Request::Extend(reply) => self.process.opened.window.extend(reply),
                    Request::Recopy(asked, reply) => match again::unfit(self.process, &asked) {
                        Some(why) => stop::answer(reply, Err(why)),
                        None => return Event::Recopied(asked, reply),
                    },
                    Request::Cutover { block_writes, reply } => {
                        if self.answer_cutover(block_writes, reply) {
                            let why = "an operator asked for the cutover";
                            return Event::CutOver(Asked { block_writes, why });
                        }
                    }
                },
            }
        }
    }

    /// Done, or None: called off, and back to following.
    async fn cut_over(&mut self, asked: Asked) -> Result<Option<Summary>> {
        let Asked { block_writes, why } = asked;
        let Process {
            config,
            run,
            opened,
            stop,
        } = self.process;
        let began = Instant::now();
        run.enter(Phase::CuttingOver, why);
        let cutover = Cutover {
            run,
            sides: &opened.sides,
            pairs: self.pairs,
            coordinator: &self.coordinator,
            watch: &self.watch,
            verify: config.verify,
            ahead: &self.ahead,
            verify_concurrency: config.verify_concurrency,
            deadline: began + Duration::from_secs(config.cutover_timeout_s),
        };
        // Until it is proven everything may still end it, and nothing is lost.
        let proven = tokio::select! {
            proven = Box::pin(prove(&cutover, opened, block_writes)) => proven,
            error = &mut self.failed => Err(error.into()),
            error = stop::until_stopped(self.requests, stop, Pauses::Refused) => Err(error.into()),
        };
        cutover.waits_no_more();
        let mut equal = match proven {
            Ok(equal) => equal,
            Err(NotProven::Error(error)) => return Err(error),
            Err(NotProven::Off(off)) => return self.call_off(off).await.map(|()| None),
        };
        failpoint::hit("cutover-proven");
        finish::begin(opened, &self.coordinator, self.pairs).await?;
        // From here on only the finish is left, in this process or the next. With a way back
        // we write to the source ourselves.
        let late = (opened.reverse == Reverse::Wanted)
            .then(|| finish::report_late_so_far(self.pairs, &equal.markers, run));
        finish::unless_stopped(self.process, self.requests).await?;
        if let Some(late) = late.filter(|_| run.goes_back()) {
            self.watch_from_now(&mut equal, &late).await;
        }
        routers::settle(&opened.sides.target, self.process.run).await;
        Ok(Some(self.done(equal, began).await))
    }

    /// Late writes are watched for from here on, on pairs that had none; from where they were
    /// if the source does not answer.
    async fn watch_from_now(&self, equal: &mut Equal, late: &[bool]) {
        let Ok(newest) = listing::newest(&self.process.opened.sides.source).await else {
            return;
        };
        let markers = equal.markers.iter_mut().zip(newest).zip(late);
        for ((marker, newest), _) in markers.filter(|(_, late)| !**late) {
            *marker = newest.mark.position;
        }
    }

    /// Copying → following → ready, and back when DDL is under way. True if ready.
    fn update_phase(&self) -> bool {
        let run = self.process.run;
        let snapshot = run.snapshot();
        let copied = snapshot
            .pairs
            .iter()
            .all(|pair| pair.units_copied == pair.units_total);
        let complete = copied && self.pairs.iter().all(|pair| pair.is_complete());
        let too_late = self.too_late(snapshot.lag_ms).filter(|_| complete);
        run.obstacles.put("lag", too_late);
        let obstacles = run.all_obstacles();
        let ready = complete && obstacles.is_empty();
        if ready {
            run.enter(Phase::Ready, "nothing is in the way of a cutover");
        } else if copied {
            run.enter(Phase::Following, following(&obstacles));
        } else {
            run.enter(Phase::Copying, "documents are still to be copied");
        }
        ready
    }

    /// A cutover begun now would not catch up in time.
    fn too_late(&self, lag_ms: u64) -> Option<String> {
        let may_take_s = self.process.config.cutover_timeout_s;
        (may_take_s * 1_000 < lag_ms).then(|| {
            format!(
                "the target is {} s behind, and a cutover may take {may_take_s} s: wait until it has caught up, or raise cutover_timeout_s",
                lag_ms / 1_000
            )
        })
    }

    fn begins_by_itself(&self) -> bool {
        let Process { config, run, .. } = self.process;
        config.cutover == CutoverMode::Auto
            && run.snapshot().lag_ms <= config.cutover_lag_ms
            && self.auto_at <= Instant::now()
    }

    /// True if the cutover begins. Users whose writes are refused need not wait for the gap.
    fn answer_cutover(&self, block_writes: bool, reply: oneshot::Sender<Answer>) -> bool {
        let run = self.process.run;
        let phase = run.phase();
        let obstacles = if block_writes {
            run.all_obstacles()
        } else {
            run.snapshot().obstacles
        };
        let ready = phase == Phase::Ready && obstacles.is_empty();
        let answer = if ready {
            Ok(format!(
                "the cutover begins: no writes to the {} from now on",
                run.in_use()
            ))
        } else {
            Err(not_ready(phase, &obstacles))
        };
        stop::answer(reply, answer);
        ready
    }

    /// Back to following. An automatic cutover that finds a difference ends the
    /// run: nobody is there to look.
    async fn call_off(&self, off: CalledOff) -> Result<()> {
        let Process {
            config,
            run,
            opened,
            ..
        } = self.process;
        let reason = off.reason();
        if let (CalledOff::Differs(_), CutoverMode::Auto) = (&off, config.cutover) {
            return Err(Error::new(Kind::Differs, reason)
                .remedy("do not use the target; report this with the log"));
        }
        write_block::lift(&opened.sides.source, &opened.stores.run).await?;
        run.enter(Phase::Ready, &reason);
        run.called_off(reason);
        Ok(())
    }

    /// The grace time: late writes are watched for, until it is over or a signal
    /// ends it.
    async fn done(&mut self, equal: Equal, began: Instant) -> Summary {
        let Process {
            config,
            run,
            opened,
            stop,
        } = self.process;
        let cutover_ms = began.elapsed().as_millis() as u64;
        run.cut_over(cutover_ms);
        run.enter(Phase::Done, "both sides are equal, and all is restored");
        // Late is better than never: it may have been made a moment ago.
        let left_behind = proof::tell_left_behind(&opened.sides.source, run);
        let _ = timeout(LEFT_BEHIND, left_behind).await;
        let grace = Duration::from_secs(config.grace_s);
        tokio::select! {
            () = finish::report_late_writes(self.pairs, &equal.markers, grace, run) => {}
            () = stop.asked() => {}
            () = stop::refuse(self.requests, "too late: the cutover is done") => {}
            error = &mut self.failed => run.warn(format!("the watch for late writes ended early: {error}")),
        }
        let late = self
            .pairs
            .iter()
            .zip(&equal.markers)
            .filter(|(pair, marker)| pair.changed_since(**marker).is_some());
        Summary::of(run, equal.report, cutover_ms, late.count() as u64)
    }
}

/// Once a cutover is proven, no database of the target is dropped any more. `block`: the
/// source shall refuse users' writes.
///
/// IMPORTANT: `Coordinator::run`, which drops them, must be polled beside this: a drop
/// may be about to begin.
async fn prove(cutover: &Cutover<'_>, opened: &Opened, block: bool) -> Result<Equal, NotProven> {
    let source = &cutover.sides.source;
    let goes_back = opened.reverse == Reverse::Wanted;
    if goes_back {
        let unfit = reverse::unfit(opened, cutover.run, block).await;
        if let Some(why) = unfit.unwrap_or_else(|e| Some(e.to_string())) {
            return Err(CalledOff::NoWayBack(why).into());
        }
    }
    if block && let Err(e) = write_block::set(source, &opened.stores.run).await {
        return Err(CalledOff::Unblocked(e.to_string()).into());
    }
    let equal = cutover.prove().await?;
    let drops = cutover.coordinator.drop_no_more();
    let doing = "a database that is being dropped on the target";
    within(LAST_DROP, doing, drops).await?;
    if goes_back {
        let planned = reverse::plan(opened, cutover.run);
        within(PLANNING, "planning the way back", planned).await?;
    }
    Ok(equal)
}

/// Why a run follows that is not ready.
fn following(obstacles: &[String]) -> &str {
    let first = obstacles.first().map(String::as_str);
    first.unwrap_or("all is copied; indexes are built, and the lag shrinks")
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
