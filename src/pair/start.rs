//! Sets up one pair from its recorded state.

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
use crate::cluster::deployment::Shard;
use crate::error::Result;
use crate::observe::counters::{PairMetrics, Totals};
use crate::pair::budget::Share;
use crate::pair::bulk::{WRITES_IN_FLIGHT, Writer};
use crate::pair::checkpoint::{ASKED_MAX, Checkpointer};
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::compile::FlushLimits;
use crate::pair::ddl::{DdlSink, Request};
use crate::pair::doubtful::{DOCUMENTS_MAX, Doubtful};
use crate::pair::feed::Feed;
use crate::pair::gate::Gate;
use crate::pair::inbox::Inbox;
use crate::pair::incarnation::Begun;
use crate::pair::index::Indexer;
use crate::pair::lane;
use crate::pair::plan::Size;
use crate::pair::position::Position;
use crate::pair::proven::Lister;
use crate::pair::quiet::Quiet;
use crate::pair::replay::Replayer;
use crate::pair::restore::{Now, restore};
use crate::pair::run::Pair;
use crate::pair::scan::{BATCH_BYTES, ScanUnit, Scanners};
use crate::pair::tail::{Tail, TailView};
use crate::pair::tasks::PairTasks;
use crate::pair::transactions::Transactions;
use crate::pair::vanished;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, PairState, UnitState};

/// What an attempt makes a pair of. Numbers as resolved by `config`.
pub struct Plan {
    /// Index of the source shard.
    pub index: usize,
    pub begun: Begun,
    /// Id of the run.
    pub run: String,
    pub source: Shard,
    /// Of the source shard.
    pub lister: Arc<Lister>,
    pub target: Shard,
    /// As loaded once the incarnation had begun.
    pub state: PairState,
    pub store: PairStore,
    pub feed: Arc<Feed>,
    /// Dropped on the source meanwhile: the tail will come to it.
    pub gone: HashSet<Uuid>,
    /// The source's clock as the attempt begins: the target may show anything up to
    /// there (R3).
    pub clock: Position,
    pub requests: mpsc::Sender<Request>,
    /// What people call the pair.
    pub name: String,
    /// They go on over attempts.
    pub metrics: Arc<PairMetrics>,
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

/// Documents are read again for that many collections at a time (`Share::new(0)`).
const REREADS: usize = 2;
/// Index builds of one pair under way at a time.
const INDEX_BUILDS: usize = 2;

impl Pair {
    /// Starts every task from the recorded state.
    pub async fn start(plan: Plan) -> Result<(Arc<Pair>, PairTasks)> {
        let limits = plan.limits;
        let Begun {
            incarnation,
            app_name,
        } = plan.begun.clone();
        let writes = limits.scans * (WRITES_IN_FLIGHT + 1) + limits.lanes * WRITES_IN_FLIGHT;
        let pool = (writes + INDEX_BUILDS + REREADS + 4) as u32;
        let source = plan.source.data_client(&app_name, pool)?;
        let target = plan.target.data_client(&app_name, pool)?;
        // IMPORTANT: whatever this pair sends there goes over connections that the
        // next incarnation waits for, index DDL too (R7).
        let target_shard = Shard {
            client: target.clone(),
            ..plan.target.clone()
        };
        let lanes: Vec<Arc<Inbox>> = (0..limits.lanes).map(|_| Arc::default()).collect();
        let resume = plan.state.resume;
        let gate = Arc::new(Mutex::new(Gate::new(resume, lanes.clone())));
        let view: Arc<Mutex<TailView>> = Arc::default();
        view.lock()
            .walls
            .start_at(resume.position.seconds() * 1_000);
        let metrics = plan.metrics.clone();
        metrics.begin();
        let (chores, failures) = Chores::new();
        let replayer = Arc::new(Replayer::new(
            gate.clone(),
            plan.feed.clone(),
            metrics.clone(),
        ));
        let writer = Writer {
            direct: plan
                .target
                .direct(&target, &app_name, pool as usize)
                .admitted_by(plan.store.admission()),
            limits: limits.flush,
            at_once: Arc::default(),
            majority: Arc::default(),
            term: incarnation.term,
            patience: limits.patience,
            metrics: metrics.clone(),
        };
        let doubtful = Arc::new(Doubtful {
            lister: plan.lister.clone(),
            target_shard: target_shard.clone(),
            source: source.clone(),
            writer: writer.clone(),
            share: Share::new(0),
            gate: gate.clone(),
            replayer: replayer.clone(),
            metrics: metrics.clone(),
            documents_max: DOCUMENTS_MAX,
            away_max: limits.away_max,
            stuck: Mutex::default(),
        });
        let indexer = Arc::new(Indexer {
            doubtful: doubtful.clone(),
            lister: plan.lister.clone(),
            target: target_shard,
            metrics: metrics.clone(),
            builds: Semaphore::new(INDEX_BUILDS),
        });
        let name = plan.name.clone();
        let mut tasks = PairTasks {
            name: name.clone(),
            tasks: JoinSet::new(),
            failures,
            chores: chores.clone(),
        };
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let checkpointer = Arc::new(Checkpointer {
            store: plan.store.clone(),
            gate: gate.clone(),
            incarnation,
            feed: plan.feed.clone(),
            recorded: AtomicU64::new(resume.position.raw()),
            came_on: AtomicBool::new(false),
            majority: writer.majority.clone(),
            metrics: metrics.clone(),
            asks,
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
            newest_at_start: plan.clock,
            left_before: metrics.ops_spooled.load(Relaxed),
            replayed_before: metrics.ops_replayed.load(Relaxed),
            scans_pending: Arc::new(AtomicUsize::new(limits.scans)),
            share: Share::new(limits.memory_bytes / 2),
        });
        let queue = pair.admit(&plan).await?;
        // Half of what the tail may keep: the rest waits for the next flush.
        let flush_bytes = (limits.memory_bytes / 4 / limits.lanes).max(limits.flush.bytes_max);
        for inbox in &lanes {
            tasks.tasks.spawn(lane::run(
                inbox.clone(),
                writer.clone(),
                flush_bytes,
                metrics.clone(),
            ));
        }
        tasks.tasks.spawn(doubtful.run(chores.clone()));
        let quiet = Quiet {
            source: plan.source.clone(),
            run: plan.run,
            feed: plan.feed.clone(),
            gate: gate.clone(),
            away_max: limits.away_max,
        };
        tasks.tasks.spawn(quiet.run());
        let store = plan.store;
        let ddl = DdlSink {
            pair: plan.index,
            catalog_position: plan.state.catalog_position,
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
        tasks
            .tasks
            .spawn(checkpointer.run(limits.checkpoint, asked));
        let scanners = Arc::new(Scanners {
            direct: plan.source.direct(&source, &app_name, pool as usize),
            source,
            writer,
            share: Share::new(limits.memory_bytes / 2),
            gate,
            replayer,
            indexer,
            chores,
            metrics,
            queue: Mutex::new(queue),
            stuck: Mutex::default(),
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
        let mut totals = Totals::default();
        for state in &plan.state.collections {
            let gone = plan.gone.contains(&state.uuid);
            let now = Now {
                shard: plan.index,
                shard_name: &plan.source.id,
                clock: plan.clock,
                gone,
            };
            let tracked = restore(&mut self.gate.lock(), state, now)?;
            if gone && !state.dead {
                let source = plan.source.client.clone();
                vanished::expect_drop(source, &self.gate, &self.chores, &tracked);
            } else if tracked.counts() {
                let size = size(&plan.source, &tracked).await?;
                let (restored, waiting) = self.to_scan(&tracked, state, size);
                let unsettled = restored.len() + waiting.len();
                totals.add(
                    size.documents,
                    size.bytes,
                    state.units.len(),
                    state.units.len() - unsettled,
                );
                begun.extend(restored);
                planned.push((size.bytes, waiting));
            }
        }
        self.metrics.plan(totals);
        planned.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        Ok(begun
            .into_iter()
            .chain(planned.into_iter().flat_map(|(_, units)| units))
            .collect())
    }

    /// The units that were being copied, and those that wait. A collection that
    /// needs neither has its indexes brought up to date.
    fn to_scan(
        &self,
        tracked: &Arc<Tracked>,
        state: &CollectionState,
        size: Size,
    ) -> (Vec<ScanUnit>, Vec<ScanUnit>) {
        let units: Vec<_> = scan_units(tracked, &state.bounds, size)
            .into_iter()
            .zip(&state.units)
            .collect();
        let unsettled: Vec<_> = units
            .into_iter()
            .filter(|(_, s)| **s != UnitState::Settled)
            .collect();
        if unsettled.is_empty() {
            let (indexer, tracked) = (self.indexer.clone(), tracked.clone());
            let ns = tracked.ns.clone();
            self.chores.add("checking indexes of", &ns, async move {
                indexer.reconcile(&tracked).await
            });
        }
        let (begun, waiting): (Vec<_>, Vec<_>) = unsettled
            .into_iter()
            .partition(|(_, s)| **s != UnitState::Waiting);
        let units = |of: Vec<(ScanUnit, _)>| of.into_iter().map(|(unit, _)| unit).collect();
        (units(begun), units(waiting))
    }
}

async fn size(source: &Shard, tracked: &Tracked) -> Result<Size> {
    let catalog::Estimate {
        document_count: documents,
        bytes,
        ..
    } = catalog::estimate(source, &tracked.ns).await?;
    Ok(Size { documents, bytes })
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
        written: Default::default(),
    };
    (0..=bounds.len()).map(unit).collect()
}
