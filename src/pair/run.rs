//! Sets up one pair and keeps its tasks together: the first that fails or
//! panics stops all.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use bson::Uuid;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::cluster::catalog;
use crate::cluster::connect::Shard;
use crate::error::{Error, Result};
use crate::observe::metrics::PairMetrics;
use crate::pair::budget::Share;
use crate::pair::bulk::Writer;
use crate::pair::checkpoint::Checkpointer;
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::compile::FlushLimits;
use crate::pair::ddl::{DdlSink, Request};
use crate::pair::doubtful::{DOCUMENTS_MAX, Doubtful};
use crate::pair::feed::Feed;
use crate::pair::gate::Gate;
use crate::pair::inbox::Inbox;
use crate::pair::incarnation::Begun;
use crate::pair::index::{Expiries, Indexer};
use crate::pair::lane;
use crate::pair::oplog::{Newest, Oplog};
use crate::pair::plan::Size;
use crate::pair::position::Position;
use crate::pair::replay::Replayer;
use crate::pair::restore::{Now, restore};
use crate::pair::scan::{BATCH_BYTES, ScanUnit, Scanners};
use crate::pair::tail::{Tail, TailView};
use crate::pair::transactions::Transactions;
use crate::pair::vanished;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, PairState, UnitState};

/// What an attempt makes a pair of. Numbers as resolved by `config`.
pub struct Plan {
    /// Index of the source shard.
    pub index: usize,
    pub begun: Begun,
    pub source: Shard,
    pub target: Shard,
    /// As loaded once the incarnation had begun.
    pub state: PairState,
    pub store: PairStore,
    pub feed: Arc<Feed>,
    /// Dropped on the source meanwhile: the tail will come to it.
    pub gone: HashSet<Uuid>,
    /// Newest entry of the source as the attempt begins: the target may show
    /// anything up to there (R3).
    pub newest: Newest,
    pub requests: mpsc::Sender<Request>,
    pub limits: Limits,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Budget of this pair: half for its tail, half for its scans.
    pub memory_bytes: usize,
    pub scans: usize,
    pub lanes: usize,
    pub flush: FlushLimits,
    /// How long either side may be away.
    pub away_max: Duration,
    /// How long a command or a reply may take.
    pub patience: Duration,
    pub checkpoint: Duration,
}

/// The tasks of a running pair; dropping them ends them.
pub struct PairTasks {
    name: String,
    tasks: JoinSet<Result<()>>,
    failures: mpsc::Receiver<Error>,
    chores: Chores,
}

impl Drop for PairTasks {
    fn drop(&mut self) {
        self.chores.abort();
    }
}

impl PairTasks {
    /// Ends every task, and returns when all have ended: nothing of this pair is
    /// sent any more.
    pub async fn end(mut self) {
        self.chores.abort();
        self.tasks.shutdown().await;
        self.chores.ended().await;
    }

    /// Waits for the first failure of any task.
    pub async fn failed(&mut self) -> Error {
        loop {
            tokio::select! {
                Some(failure) = self.failures.recv() => return failure,
                Some(joined) = self.tasks.join_next() => match joined {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error,
                    Err(panic) => return Error::internal(format!("a task of pair {} ended: {panic}", self.name)),
                },
            }
        }
    }
}

/// What control sees of a running pair.
pub struct Pair {
    pub name: String,
    /// Index of the source shard.
    pub index: usize,
    pub metrics: Arc<PairMetrics>,
    gate: Arc<Mutex<Gate>>,
    view: Arc<Mutex<TailView>>,
    lanes: Vec<Arc<Inbox>>,
    chores: Chores,
    indexer: Arc<Indexer>,
    checkpointer: Arc<Checkpointer>,
    feed: Arc<Feed>,
    scans_pending: Arc<AtomicUsize>,
    /// The tail's.
    share: Share,
}

/// How far a pair came in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The resume position moved on, or units were settled: recorded, and proven.
    CameOn,
    /// Nothing was to be done.
    Idle,
    /// What was done will have to be done again.
    Stuck,
}

/// Batches of one unit, and commands of one flush, under way at a time.
const WRITES_IN_FLIGHT: usize = 2;
/// Index builds of one pair under way at a time.
const INDEX_BUILDS: usize = 2;

impl Pair {
    /// Starts every task from the recorded state.
    pub async fn start(plan: Plan) -> Result<(Arc<Pair>, PairTasks)> {
        let limits = plan.limits;
        let Begun { incarnation, app_name } = plan.begun.clone();
        let writes = limits.scans * (WRITES_IN_FLIGHT + 1) + limits.lanes * WRITES_IN_FLIGHT;
        let pool = (writes + INDEX_BUILDS + 4) as u32;
        let source = plan.source.data_client(&app_name, pool)?;
        let target = plan.target.data_client(&app_name, pool)?;
        // IMPORTANT: whatever this pair sends there goes over connections that the
        // next incarnation waits for, index DDL too (R7).
        let target_shard = Shard { client: target.clone(), ..plan.target.clone() };
        let lanes: Vec<Arc<Inbox>> = (0..limits.lanes).map(|_| Arc::default()).collect();
        let resume = plan.state.resume;
        let gate = Arc::new(Mutex::new(Gate::new(resume, lanes.clone())));
        let view: Arc<Mutex<TailView>> = Arc::default();
        view.lock().walls.start_at(resume.position.seconds() * 1_000);
        let metrics: Arc<PairMetrics> = Arc::default();
        let (chores, failures) = Chores::new();
        let oplog = Oplog::new(source.clone(), &plan.source.id, limits.away_max);
        let replayer = Arc::new(Replayer::new(gate.clone(), plan.feed.clone(), metrics.clone()));
        let writer = Writer {
            client: target,
            limits: limits.flush,
            at_once: Arc::default(),
            term: incarnation.term,
            patience: limits.patience,
            metrics: metrics.clone(),
        };
        let doubtful = Arc::new(Doubtful {
            source_shard: plan.source.clone(),
            target_shard: target_shard.clone(),
            source: source.clone(),
            writer: writer.clone(),
            share: Share::new(0),
            gate: gate.clone(),
            replayer: replayer.clone(),
            metrics: metrics.clone(),
            documents_max: DOCUMENTS_MAX,
        });
        let indexer = Arc::new(Indexer {
            doubtful: doubtful.clone(),
            oplog,
            source: plan.source.clone(),
            target: target_shard,
            metrics: metrics.clone(),
            expiries: Mutex::default(),
            builds: Semaphore::new(INDEX_BUILDS),
        });
        let name = format!("{} → {}", plan.source.id, plan.target.id);
        let mut tasks = PairTasks { name: name.clone(), tasks: JoinSet::new(), failures, chores: chores.clone() };
        let checkpointer = Arc::new(Checkpointer {
            store: plan.store.clone(),
            gate: gate.clone(),
            incarnation,
            feed: plan.feed.clone(),
            recorded: AtomicU64::new(resume.position.raw()),
            came_on: AtomicBool::new(false),
            pipeline: Default::default(),
        });
        let pair = Arc::new(Pair {
            name,
            index: plan.index,
            metrics: metrics.clone(),
            gate: gate.clone(),
            view: view.clone(),
            lanes: lanes.clone(),
            chores: chores.clone(),
            indexer: indexer.clone(),
            checkpointer: checkpointer.clone(),
            feed: plan.feed.clone(),
            scans_pending: Arc::new(AtomicUsize::new(limits.scans)),
            share: Share::new(limits.memory_bytes / 2),
        });
        let queue = pair.admit(&plan).await?;
        for inbox in &lanes {
            tasks.tasks.spawn(lane::run(inbox.clone(), writer.clone(), metrics.clone()));
        }
        tasks.tasks.spawn(doubtful.run(chores.clone()));
        let store = plan.store;
        let ddl = DdlSink {
            pair: plan.index,
            gate: gate.clone(),
            replayer: replayer.clone(),
            chores: chores.clone(),
            indexer: indexer.clone(),
            store: store.clone(),
            requests: plan.requests,
        };
        let tail = Tail {
            reader: plan.feed.read_from(resume).await?,
            feed: plan.feed.clone(),
            at: resume.position,
            share: pair.share.clone(),
            gate: gate.clone(),
            view,
            ddl,
            metrics: metrics.clone(),
            catalog_position: plan.state.catalog_position,
            transactions: Transactions::default(),
            open_builds: HashSet::new(),
        };
        tasks.tasks.spawn(tail.run());
        tasks.tasks.spawn(checkpointer.run(limits.checkpoint));
        let scanners = Arc::new(Scanners {
            source,
            writer,
            share: Share::new(limits.memory_bytes / 2),
            gate,
            replayer,
            indexer,
            chores,
            metrics,
            queue: Mutex::new(queue),
            writes_in_flight: WRITES_IN_FLIGHT,
            store,
            away_max: limits.away_max,
            patience: limits.patience,
        });
        for _ in 0..limits.scans {
            let (scanners, pending) = (scanners.clone(), pair.scans_pending.clone());
            tasks.tasks.spawn(async move {
                scanners.run().await?;
                pending.fetch_sub(1, SeqCst);
                Ok(())
            });
        }
        Ok((pair, tasks))
    }

    /// Admits every collection to the gate as it was left; returns the units
    /// still to scan, those begun before first, then those of the largest
    /// collections.
    async fn admit(&self, plan: &Plan) -> Result<VecDeque<ScanUnit>> {
        let mut begun = Vec::new();
        let mut planned: Vec<(u64, Vec<ScanUnit>)> = Vec::new();
        for state in &plan.state.collections {
            let gone = plan.gone.contains(&state.uuid);
            let now = Now { shard: plan.index, newest: plan.newest.mark.position, gone };
            let tracked = restore(&mut self.gate.lock(), state, now)?;
            if gone && !state.dead {
                let source = plan.source.client.clone();
                vanished::expect_drop(source, &self.gate, &self.chores, &tracked, plan.state.resume.position);
            } else if tracked.counts() {
                let size = self.size(&plan.source, &tracked).await?;
                let (restored, waiting) = self.to_scan(&tracked, state, size);
                begun.extend(restored);
                planned.push((size.bytes, waiting));
            }
        }
        planned.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        Ok(begun.into_iter().chain(planned.into_iter().flat_map(|(_, units)| units)).collect())
    }

    /// The units that were being copied, and those that wait. A collection that
    /// needs neither has its indexes brought up to date.
    fn to_scan(&self, tracked: &Arc<Tracked>, state: &CollectionState, size: Size) -> (Vec<ScanUnit>, Vec<ScanUnit>) {
        let units: Vec<_> = scan_units(tracked, &state.bounds, size).into_iter().zip(&state.units).collect();
        self.metrics.units_total.fetch_add(units.len() as u64, Relaxed);
        let unsettled: Vec<_> = units.into_iter().filter(|(_, s)| **s != UnitState::Settled).collect();
        self.metrics.units_copied.fetch_add((state.units.len() - unsettled.len()) as u64, Relaxed);
        if unsettled.is_empty() {
            let (indexer, tracked) = (self.indexer.clone(), tracked.clone());
            let ns = tracked.ns.clone();
            self.chores.add("checking indexes of", &ns, async move { indexer.reconcile(&tracked).await });
        }
        let (begun, waiting): (Vec<_>, Vec<_>) = unsettled.into_iter().partition(|(_, s)| **s != UnitState::Waiting);
        let units = |of: Vec<(ScanUnit, _)>| of.into_iter().map(|(unit, _)| unit).collect();
        (units(begun), units(waiting))
    }

    async fn size(&self, source: &Shard, tracked: &Tracked) -> Result<Size> {
        let catalog::Estimate { document_count: documents, bytes, .. } = catalog::estimate(source, &tracked.ns).await?;
        self.metrics.documents_total.fetch_add(documents, Relaxed);
        self.metrics.bytes_total.fetch_add(bytes, Relaxed);
        Ok(Size { documents, bytes })
    }

    /// Brings the recorded state up to date before the process leaves: one round
    /// proves what the next records.
    pub async fn record_all(&self) -> Result<()> {
        self.checkpointer.round().await?;
        self.checkpointer.round().await
    }

    /// Below every unapplied op.
    pub fn watermark(&self) -> Position {
        self.gate.lock().watermark()
    }

    /// A short look at the gate, or a word to it, under its lock.
    pub fn with_gate<T>(&self, work: impl FnOnce(&mut Gate) -> T) -> T {
        work(&mut self.gate.lock())
    }

    /// Every unit is copied, every index built, no DDL under way.
    pub fn is_settled(&self) -> bool {
        self.scans_pending.load(SeqCst) == 0 && self.chores.pending() == 0
    }

    /// Where a restart would resume.
    pub fn resume_position(&self) -> Position {
        self.checkpointer.recorded()
    }

    /// The source's oldest entry.
    pub async fn oldest_on_source(&self) -> Result<Option<Position>> {
        self.feed.oldest_on_source().await
    }

    /// Grows or changes with whatever is done.
    pub fn progress(&self) -> (u64, u64, u64, Position) {
        let m = &self.metrics;
        let done = [&m.documents_copied, &m.ops_applied, &m.indexes_built].map(|counter| counter.load(Relaxed));
        (done[0], done[1], done[2], self.watermark())
    }

    /// Something is to be copied, applied or built.
    pub fn has_work(&self) -> bool {
        let (watermark, passed) = {
            let gate = self.gate.lock();
            (gate.watermark(), gate.passed())
        };
        !self.is_settled() || watermark < passed || !self.feed.is_read_to(passed)
    }

    /// How far the attempt came that is about to end.
    pub fn outcome(&self) -> Outcome {
        match (self.checkpointer.came_on.load(SeqCst), self.has_work()) {
            (true, _) => Outcome::CameOn,
            (false, false) => Outcome::Idle,
            (false, true) => Outcome::Stuck,
        }
    }

    /// What waits on what, for people.
    pub fn waits_on(&self) -> String {
        let (watermark, passed, held, left, fence) = {
            let gate = self.gate.lock();
            (gate.watermark(), gate.passed(), gate.held(), gate.left(), gate.oldest_fence())
        };
        let replayed = self.metrics.ops_replayed.load(Relaxed);
        let queued: usize = self.lanes.iter().map(|lane| lane.len()).sum();
        let mut parts = vec![
            format!("the tail is at {passed}, applied is {watermark}, recorded is {}", self.resume_position()),
            format!("{} of {} MB of the tail's memory are taken", self.share.used() >> 20, self.share.total() >> 20),
            format!("{} ops ({} bytes) are held, {queued} wait for the target", held.0, held.1),
            format!("the spool holds {} MB", self.feed.bytes() >> 20),
            format!("{left} held ops were left to it, {replayed} of them read again"),
        ];
        parts.extend(fence.map(|fence| format!("the oldest unit being copied began at {fence}")));
        parts.extend(self.chores.stuck(Duration::from_secs(10)));
        parts.join("; ")
    }

    /// DDL and index builds that have taken longer than `patience`.
    pub fn stuck(&self, patience: std::time::Duration) -> Vec<String> {
        self.chores.stuck(patience)
    }

    /// Brings gauges up to date. `source_ms`: wall clock of the source's newest
    /// write, ms since 1970, as far as known.
    pub fn observe(&self, source_ms: u64) {
        let (watermark, passed, held, left) = {
            let gate = self.gate.lock();
            (gate.watermark(), gate.passed(), gate.held(), gate.left())
        };
        let lag_ms = {
            let mut view = self.view.lock();
            let caught_up = self.feed.is_read_to(passed) && watermark == passed;
            view.walls.lag_ms(watermark, source_ms, caught_up)
        };
        let m = &self.metrics;
        m.lag_ms.store(lag_ms, Relaxed);
        m.lag_ms_max.fetch_max(lag_ms, Relaxed);
        m.ops_held.store(held.0, Relaxed);
        m.bytes_held.store(held.1, Relaxed);
        m.ops_spooled.store(left, Relaxed);
        m.ops_queued.store(self.lanes.iter().map(|lane| lane.len() as u64).sum(), Relaxed);
        m.source_seconds.store(source_ms / 1_000, Relaxed);
        m.tail_seconds.store(passed.seconds(), Relaxed);
        m.applied_seconds.store(watermark.seconds(), Relaxed);
        m.spool_bytes.store(self.feed.bytes(), Relaxed);
        m.ready.store(self.is_settled(), Relaxed);
    }

    /// What the cutover must know of the tail.
    pub fn with_view<T>(&self, read: impl FnOnce(&TailView) -> T) -> T {
        read(&self.view.lock())
    }

    /// The collection of the newest change by users after `fence`.
    pub fn changed_since(&self, fence: Position) -> Option<String> {
        let view = self.view.lock();
        view.user_change.as_ref().filter(|(position, _)| fence < *position).map(|(_, ns)| ns.clone())
    }

    pub fn expiries(&self) -> Expiries {
        self.indexer.expiries.lock().clone()
    }
}

/// Closes the gates of all pairs for good if no user changed anything after the
/// fences, else none: ops from then on are late writes, counted and not applied
/// (R11). Returns the collection of such a change.
pub fn close_all_if_quiet(pairs: &[Arc<Pair>], fences: &[Position]) -> Option<String> {
    // All locks at once, in the order of the pairs: the tails note changes under
    // them, so none can come between the look and the last gate.
    let mut gates: Vec<_> = pairs.iter().map(|pair| pair.gate.lock()).collect();
    let changed = pairs.iter().zip(fences).find_map(|(pair, fence)| pair.changed_since(*fence));
    if changed.is_none() {
        gates.iter_mut().for_each(|gate| gate.close());
    }
    changed
}

fn scan_units(tracked: &Arc<Tracked>, bounds: &[bson::RawBson], size: Size) -> Vec<ScanUnit> {
    let average = size.bytes / size.documents.max(1);
    let batch_documents = (BATCH_BYTES / average.max(64)).clamp(1, 50_000) as i32;
    let unit = |index: usize| ScanUnit {
        tracked: tracked.clone(),
        index,
        lower: index.checked_sub(1).map(|i| bounds[i].clone()),
        upper: bounds.get(index).cloned(),
        batch_documents,
    };
    (0..=bounds.len()).map(unit).collect()
}
