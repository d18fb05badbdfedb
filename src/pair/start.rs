//! Starts one pair from its recorded state: each stage along the way of its data, and what
//! they have in common.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use bson::Uuid;
use mongodb::Client;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::Shard;
use crate::cluster::dialect::ReadForms;
use crate::error::Result;
use crate::observe::counters::PairMetrics;
use crate::pair::budget::Share;
use crate::pair::checkpoint::{ASKED_MAX, Asked, Checkpointer};
use crate::pair::chores::Chores;
use crate::pair::copy::natural::NATURAL_READ_BYTES;
use crate::pair::copy::scan::Scanners;
use crate::pair::copy::scan_unit::ScanUnit;
use crate::pair::ddl::index::Indexer;
use crate::pair::ddl::request::Request;
use crate::pair::ddl::sink::DdlSink;
use crate::pair::gate::Gate;
use crate::pair::gate::replay::Replayer;
use crate::pair::incarnation::Begun;
use crate::pair::lanes::inbox::Inbox;
use crate::pair::lanes::lane;
use crate::pair::mend::doubtful::{DOCUMENTS_MAX, Doubtful};
use crate::pair::mend::reread::Source;
use crate::pair::oplog::feed::Feed;
use crate::pair::oplog::proven::Lister;
use crate::pair::oplog::transactions::Transactions;
use crate::pair::run::Pair;
use crate::pair::tail::Tail;
use crate::pair::tail::quiet::Quiet;
use crate::pair::tail::view::TailView;
use crate::pair::tasks::PairTasks;
use crate::pair::throttle::Throttle;
use crate::pair::to_copy::{self, Left};
use crate::pair::write::bulk::{WRITES_IN_FLIGHT, Writer};
use crate::pair::write::statement::FlushLimits;
use crate::pair::write::target::Target;
use crate::position::Position;
use crate::state::PairState;
use crate::state::pair_store::PairStore;

/// Everything an attempt makes a pair from. Numbers are those resolved by `config`.
pub struct Parts {
    /// Index of the source shard.
    pub index: usize,
    pub begun: Begun,
    /// Id of the run.
    pub run: String,
    pub source: Shard,
    pub reads: ReadForms,
    /// The lister of the source shard.
    pub lister: Arc<Lister>,
    pub target: Shard,
    /// Loaded after the incarnation had begun.
    pub state: PairState,
    pub store: PairStore,
    pub feed: Arc<Feed>,
    /// Collections dropped on the source meanwhile: the tail will meet their drops.
    pub gone: HashSet<Uuid>,
    /// Names on the source now, by UUID.
    pub called: HashMap<Uuid, Namespace>,
    /// The source's clock as the attempt begins: the target may show anything up to
    /// there (R3).
    pub clock: Position,
    pub requests: mpsc::Sender<Request>,
    /// The pair's name for people.
    pub name: String,
    /// Counters that outlive the attempt.
    pub metrics: Arc<PairMetrics>,
    pub throttle: Arc<Throttle>,
    pub limits: Limits,
    /// The target's own documents are there: nothing is emptied.
    pub is_way_back: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Budget of this pair: half for its tail, half for its scans.
    pub memory_bytes: usize,
    pub scans: usize,
    pub lanes: usize,
    /// A rename on the source does not stop the pair.
    pub follows_renames: bool,
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
    pub async fn start(parts: Parts) -> Result<(Arc<Pair>, PairTasks)> {
        let (chores, failures) = Chores::new();
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        // Ends the chores with it, whatever fails below.
        let mut tasks = PairTasks::new(&parts.name, chores.clone(), failures);
        let shared = Shared::new(&parts, chores)?;
        let pair = shared.pair(&parts, asks);
        // IMPORTANT: the gate knows every recorded collection before the first op or
        // document comes to it.
        let left = Left {
            index: parts.index,
            source: &parts.source,
            clock: parts.clock,
            gone: &parts.gone,
            called: &parts.called,
            collections: &parts.state.collections,
        };
        let queue = to_copy::admit(&pair, &left).await?;
        let tail = shared.tail(&parts, &pair).await?;

        shared.start_lanes(&parts, &mut tasks);
        tasks.spawn(shared.doubtful.clone().run(shared.chores.clone()));
        tasks.spawn(shared.quiet(&parts).run());
        tasks.spawn(tail.run());
        tasks.spawn(
            pair.checkpointer
                .clone()
                .run(parts.limits.checkpoint, asked),
        );
        shared.start_scanners(&parts, &pair, queue, &mut tasks);
        Ok((pair, tasks))
    }
}

/// What several stages of a pair have in common.
struct Shared {
    /// The source's data client.
    source: Client,
    /// At most so many connections to either side.
    connections_max: usize,
    gate: Arc<Mutex<Gate>>,
    view: Arc<Mutex<TailView>>,
    lanes: Vec<Arc<Inbox>>,
    chores: Chores,
    replayer: Arc<Replayer>,
    writer: Writer,
    doubtful: Arc<Doubtful>,
    indexer: Arc<Indexer>,
}

impl Shared {
    fn new(parts: &Parts, chores: Chores) -> Result<Self> {
        let Begun {
            incarnation,
            app_name,
        } = &parts.begun;
        let limits = parts.limits;
        let writes = limits.scans * (WRITES_IN_FLIGHT + 1) + limits.lanes * WRITES_IN_FLIGHT;
        let connections_max = writes + INDEX_BUILDS + REREADS + 4;
        let source = parts.source.data_client(app_name, connections_max as u32)?;
        let target = parts.target.data_client(app_name, connections_max as u32)?;
        let direct = parts.target.direct(&target, app_name, connections_max);
        // IMPORTANT: whatever this pair sends there goes over connections that the
        // next incarnation waits for, index DDL too (R7).
        let target = Shard {
            client: target,
            ..parts.target.clone()
        };

        let metrics = &parts.metrics;
        let resume = parts.state.resume;
        let lanes: Vec<Arc<Inbox>> = (0..limits.lanes).map(|_| Arc::default()).collect();
        let gate = Arc::new(Mutex::new(Gate::new(resume, lanes.clone())));
        let view: Arc<Mutex<TailView>> = Arc::default();
        view.lock()
            .walls
            .start_at(resume.position.seconds() * 1_000);
        let replayer = Replayer::new(gate.clone(), parts.feed.clone(), metrics.clone());
        let replayer = Arc::new(replayer);
        let writer = Writer {
            target: Target {
                direct: direct.admitted_by(parts.store.admission()),
                incarnation: *incarnation,
                forms: target.writes,
                patience: limits.patience,
            },
            limits: limits.flush,
            at_once: Arc::default(),
            majority: Arc::default(),
            anew: (!parts.is_way_back).then(|| parts.store.clone()),
            metrics: metrics.clone(),
        };
        let doubtful = Arc::new(Doubtful {
            lister: parts.lister.clone(),
            target_shard: target.clone(),
            source: Source {
                direct: parts.source.direct(&source, app_name, connections_max),
                forms: parts.reads,
            },
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
            lister: parts.lister.clone(),
            target,
            metrics: metrics.clone(),
            builds: Semaphore::new(INDEX_BUILDS),
        });
        Ok(Shared {
            source,
            connections_max,
            gate,
            view,
            lanes,
            chores,
            replayer,
            writer,
            doubtful,
            indexer,
        })
    }

    /// What control sees, and what records checkpoints.
    fn pair(&self, parts: &Parts, asks: mpsc::Sender<Asked>) -> Arc<Pair> {
        let metrics = parts.metrics.clone();
        metrics.begin();
        let checkpointer = Checkpointer {
            store: parts.store.clone(),
            gate: self.gate.clone(),
            incarnation: parts.begun.incarnation,
            feed: parts.feed.clone(),
            recorded: AtomicU64::new(parts.state.resume.position.raw()),
            came_on: AtomicBool::new(false),
            majority: self.writer.majority.clone(),
            metrics: metrics.clone(),
            asks,
        };
        Arc::new(Pair {
            name: parts.name.clone(),
            index: parts.index,
            gate: self.gate.clone(),
            view: self.view.clone(),
            lanes: self.lanes.clone(),
            chores: self.chores.clone(),
            indexer: self.indexer.clone(),
            checkpointer: Arc::new(checkpointer),
            feed: parts.feed.clone(),
            newest_at_start: parts.clock,
            left_before: metrics.ops_spooled.load(Relaxed),
            replayed_before: metrics.ops_replayed.load(Relaxed),
            scans_pending: Arc::new(AtomicUsize::new(parts.limits.scans)),
            share: Share::new(parts.limits.memory_bytes / 2),
            metrics,
        })
    }

    /// Writes what the gate lets pass.
    fn start_lanes(&self, parts: &Parts, tasks: &mut PairTasks) {
        let limits = parts.limits;
        // Half of what the tail may keep: the rest waits for the next flush.
        let flush_bytes = (limits.memory_bytes / 4 / limits.lanes).max(limits.flush.bytes_max);
        for inbox in &self.lanes {
            tasks.spawn(lane::run(
                inbox.clone(),
                self.writer.clone(),
                flush_bytes,
                parts.metrics.clone(),
                parts.throttle.clone(),
            ));
        }
    }

    fn quiet(&self, parts: &Parts) -> Quiet {
        Quiet {
            source: parts.source.clone(),
            run: parts.run.clone(),
            feed: parts.feed.clone(),
            gate: self.gate.clone(),
            away_max: parts.limits.away_max,
        }
    }

    /// Follows the oplog from the recorded position on.
    async fn tail(&self, parts: &Parts, pair: &Pair) -> Result<Tail> {
        let ddl = DdlSink {
            pair: parts.index,
            catalog_position: parts.state.catalog_position,
            gate: self.gate.clone(),
            replayer: self.replayer.clone(),
            chores: self.chores.clone(),
            indexer: self.indexer.clone(),
            store: parts.store.clone(),
            requests: parts.requests.clone(),
            follows_renames: parts.limits.follows_renames,
        };
        let resume = parts.state.resume;
        Ok(Tail {
            reader: parts.feed.read_from(resume).await?,
            feed: parts.feed.clone(),
            at: resume.position,
            share: pair.share.clone(),
            gate: self.gate.clone(),
            view: self.view.clone(),
            ddl,
            metrics: parts.metrics.clone(),
            catalog_position: parts.state.catalog_position,
            begun: parts.clock,
            scope: parts.source.scope.clone(),
            transactions: Transactions::default(),
            open_builds: HashSet::new(),
        })
    }

    /// Copies what is left to copy.
    fn start_scanners(
        &self,
        parts: &Parts,
        pair: &Pair,
        queue: VecDeque<ScanUnit>,
        tasks: &mut PairTasks,
    ) {
        let limits = parts.limits;
        let app_name = &parts.begun.app_name;
        let scan_bytes = Share::new(limits.memory_bytes / 2);
        let scanners = Arc::new(Scanners {
            direct: parts
                .source
                .direct(&self.source, app_name, self.connections_max),
            source: self.source.clone(),
            reads: parts.reads,
            writer: self.writer.clone(),
            share: scan_bytes.clone(),
            gate: self.gate.clone(),
            replayer: self.replayer.clone(),
            indexer: self.indexer.clone(),
            chores: self.chores.clone(),
            metrics: parts.metrics.clone(),
            throttle: parts.throttle.clone(),
            queue: Mutex::new(queue),
            stuck: Mutex::default(),
            writes_in_flight: WRITES_IN_FLIGHT,
            natural_reads: Semaphore::new(scan_bytes.total() / NATURAL_READ_BYTES),
            run_writes: Semaphore::new(limits.scans * WRITES_IN_FLIGHT),
            store: parts.store.clone(),
            away_max: limits.away_max,
            patience: limits.patience,
        });
        for _ in 0..limits.scans {
            let (scanners, pending) = (scanners.clone(), pair.scans_pending.clone());
            tasks.spawn(async move {
                scanners.run().await?;
                pending.fetch_sub(1, SeqCst);
                Ok(())
            });
        }
    }
}
