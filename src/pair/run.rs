//! Sets up one pair and keeps its tasks together: the first that fails or
//! panics stops all.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::cluster::catalog::{self, Collection, EXPIRY};
use crate::cluster::connect::Shard;
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::observe::metrics::PairMetrics;
use crate::pair::budget::Share;
use crate::pair::bulk::Writer;
use crate::pair::chores::Chores;
use crate::pair::collection::{Tracked, Traits};
use crate::pair::compile::FlushLimits;
use crate::pair::ddl::{DdlSink, Request};
use crate::pair::doubtful::{DOCUMENTS_MAX, Doubtful};
use crate::pair::gate::Gate;
use crate::pair::inbox::Inbox;
use crate::pair::index::{Expiries, Indexer};
use crate::pair::lane;
use crate::pair::oplog::{Oplog, Start};
use crate::pair::plan::{self, Size};
use crate::pair::position::Position;
use crate::pair::scan::{BATCH_BYTES, ScanUnit, Scanners};
use crate::pair::tail::{Tail, TailView};
use crate::pair::transactions::Transactions;

/// What a pair is made of. Numbers as resolved by `config`.
pub struct Plan {
    /// Index of the source shard.
    pub index: usize,
    pub source: Shard,
    pub target: Shard,
    pub app_name: String,
    pub start: Start,
    pub catalog_position: Position,
    /// The collections this source shard has locally, by the source's catalog.
    pub collections: Vec<Collection>,
    pub requests: mpsc::Sender<Request>,
    pub limits: Limits,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Budget of this pair: half for its tail, half for its scans.
    pub memory_bytes: usize,
    pub range_bytes: u64,
    pub scans: usize,
    pub lanes: usize,
    pub flush: FlushLimits,
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
    /// Waits for the first failure of any task.
    pub async fn failed(mut self) -> Error {
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
    scans_pending: Arc<AtomicUsize>,
}

/// Batches of one unit, and commands of one flush, under way at a time.
const WRITES_IN_FLIGHT: usize = 2;
/// Index builds of one pair under way at a time.
const INDEX_BUILDS: usize = 2;

impl Pair {
    /// Plans the copy, then starts every task.
    pub async fn start(plan: Plan) -> Result<(Arc<Pair>, PairTasks)> {
        let limits = plan.limits;
        let pool = (limits.scans * (WRITES_IN_FLIGHT + 1) + limits.lanes * WRITES_IN_FLIGHT + 4) as u32;
        let source = plan.source.data_client(&plan.app_name, pool)?;
        let target = plan.target.data_client(&plan.app_name, pool)?;
        let lanes: Vec<Arc<Inbox>> = (0..limits.lanes).map(|_| Arc::default()).collect();
        let gate = Arc::new(Mutex::new(Gate::new(plan.start.position, lanes.clone())));
        let view: Arc<Mutex<TailView>> = Arc::default();
        view.lock().walls.start_at(plan.start.wall_ms);
        let metrics: Arc<PairMetrics> = Arc::default();
        let (chores, failures) = Chores::new();
        let oplog = Oplog::new(source.clone(), &plan.source.id);
        let writer = Writer { client: target, limits: limits.flush, metrics: metrics.clone() };
        let doubtful = Arc::new(Doubtful {
            source_shard: plan.source.clone(),
            target_shard: plan.target.clone(),
            source: source.clone(),
            writer: writer.clone(),
            share: Share::new(0),
            gate: gate.clone(),
            metrics: metrics.clone(),
            documents_max: DOCUMENTS_MAX,
        });
        let indexer = Arc::new(Indexer {
            doubtful: doubtful.clone(),
            oplog: oplog.clone(),
            source: plan.source.clone(),
            target: plan.target.clone(),
            metrics: metrics.clone(),
            expiries: Mutex::default(),
            builds: Semaphore::new(INDEX_BUILDS),
        });
        let name = format!("{} → {}", plan.source.id, plan.target.id);
        let mut tasks = PairTasks { name: name.clone(), tasks: JoinSet::new(), failures, chores: chores.clone() };
        let pair = Arc::new(Pair {
            name,
            index: plan.index,
            metrics: metrics.clone(),
            gate: gate.clone(),
            view: view.clone(),
            lanes: lanes.clone(),
            chores: chores.clone(),
            indexer: indexer.clone(),
            scans_pending: Arc::new(AtomicUsize::new(limits.scans)),
        });
        let queue = pair.admit(&plan, &source).await?;
        let share = || Share::new(limits.memory_bytes / 2);
        for inbox in &lanes {
            tasks.tasks.spawn(lane::run(inbox.clone(), writer.clone(), metrics.clone()));
        }
        tasks.tasks.spawn(doubtful.run(chores.clone()));
        let requests = plan.requests;
        let ddl = DdlSink {
            pair: plan.index,
            gate: gate.clone(),
            chores: chores.clone(),
            indexer: indexer.clone(),
            requests,
        };
        let tail = Tail {
            oplog,
            start: plan.start,
            share: share(),
            gate: gate.clone(),
            view,
            ddl,
            metrics: metrics.clone(),
            catalog_position: plan.catalog_position,
            transactions: Transactions::default(),
            open_builds: HashSet::new(),
        };
        tasks.tasks.spawn(tail.run());
        let queue = Mutex::new(queue);
        let writes_in_flight = WRITES_IN_FLIGHT;
        let share = share();
        let scanners =
            Arc::new(Scanners { source, writer, share, gate, indexer, chores, metrics, queue, writes_in_flight });
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

    /// Admits every collection to the gate; returns the units to scan, those of
    /// the largest collections first.
    async fn admit(&self, plan: &Plan, source: &mongodb::Client) -> Result<VecDeque<ScanUnit>> {
        let mut planned: Vec<(u64, Vec<ScanUnit>)> = Vec::new();
        for collection in &plan.collections {
            let tracked = track(collection, plan.index)?;
            if !collection.lives_on(plan.index) {
                tracked.set_passive();
                self.gate.lock().admit_new(tracked.clone());
                self.gate.lock().release(&tracked.uuid);
                continue;
            }
            let target = catalog::local_uuid(&plan.target, &tracked.ns).await?;
            let missing = || Error::internal(format!("{} is not on target shard {}", tracked.ns, plan.target.id));
            tracked.bind(target.ok_or_else(missing)?);
            let size = self.size(&plan.source, &tracked).await?;
            let bounds = plan::bounds(source, &tracked, size, plan.limits.range_bytes).await?;
            self.gate.lock().admit(tracked.clone(), &bounds);
            planned.push((size.bytes, scan_units(&tracked, &bounds, size)));
        }
        planned.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let queue: VecDeque<ScanUnit> = planned.into_iter().flat_map(|(_, units)| units).collect();
        self.metrics.units_total.store(queue.len() as u64, Relaxed);
        Ok(queue)
    }

    async fn size(&self, source: &Shard, tracked: &Tracked) -> Result<Size> {
        let catalog::Estimate { document_count: documents, bytes, .. } = catalog::estimate(source, &tracked.ns).await?;
        self.metrics.documents_total.fetch_add(documents, Relaxed);
        self.metrics.bytes_total.fetch_add(bytes, Relaxed);
        Ok(Size { documents, bytes })
    }

    /// Below every unapplied op.
    pub fn watermark(&self) -> Position {
        self.gate.lock().watermark()
    }

    /// Every unit is copied, every index built, no DDL under way.
    pub fn is_settled(&self) -> bool {
        self.scans_pending.load(SeqCst) == 0 && self.chores.pending() == 0
    }

    /// DDL and index builds that have taken longer than `patience`.
    pub fn stuck(&self, patience: std::time::Duration) -> Vec<String> {
        self.chores.stuck(patience)
    }

    /// Brings gauges up to date. `source_ms`: wall clock of the source's newest
    /// write, ms since 1970, as far as known.
    pub fn observe(&self, source_ms: u64) {
        let (watermark, passed, held) = {
            let gate = self.gate.lock();
            (gate.watermark(), gate.passed(), gate.held())
        };
        let lag_ms = {
            let mut view = self.view.lock();
            let caught_up = view.at_head && watermark == passed;
            view.walls.lag_ms(watermark, source_ms, caught_up)
        };
        let m = &self.metrics;
        m.lag_ms.store(lag_ms, Relaxed);
        m.lag_ms_max.fetch_max(lag_ms, Relaxed);
        m.ops_held.store(held.0, Relaxed);
        m.bytes_held.store(held.1, Relaxed);
        m.ops_queued.store(self.lanes.iter().map(|lane| lane.len() as u64).sum(), Relaxed);
        m.tail_seconds.store(passed.seconds(), Relaxed);
        m.applied_seconds.store(watermark.seconds(), Relaxed);
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

fn track(collection: &Collection, shard: usize) -> Result<Arc<Tracked>> {
    let uuid = collection.uuid.ok_or_else(|| Error::internal(format!("{} has no UUID", collection.ns)))?;
    let tracked = Tracked::new(uuid, collection.ns.clone(), Traits::of(&collection.options));
    if let Some(sharded) = &collection.sharded {
        tracked.own(Ownership::of(sharded, shard)?);
    }
    if collection.options.get(EXPIRY)?.is_some() {
        tracked.expires.store(true, SeqCst);
    }
    Ok(Arc::new(tracked))
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
