//! `loadgen load`: a seeded, mixed write load on what `populate` made, through
//! the router or straight to the shards, at a rate or as fast as it goes.
//!
//! Knows nothing about migrations: it is what a busy application does.

mod build;
mod ddl;
pub mod mix;
mod pace;
pub mod pick;
mod plan;
mod refusal;
mod report;
mod route;
mod transaction;
mod worker;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock, watch},
    task::JoinSet,
};

pub use report::{KindReport, LoadReport};

use crate::{entry::Entry, error::Result, layout::Layout};
use mix::Mix;
use pace::Pacer;
use pick::{KeyChoice, Picker};
use plan::Planner;
use report::Stats;
use route::Route;
use transaction::Transactor;
use worker::{Shared, Worker};

/// Flags of `loadgen load`.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub options: LoadOptions,
    /// Seconds to run; else until Ctrl-C.
    #[arg(long)]
    pub duration: Option<f64>,
    /// Seconds between progress lines.
    #[arg(long, default_value_t = 5.0)]
    pub lap: f64,
    /// Print the report as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// What load to make.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadOptions {
    /// URI of the populated deployment: router (mongos) or replica set.
    #[arg(long)]
    pub uri: String,
    /// Seed of the operations.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Operations per second, open loop; 0: as fast as it goes.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Operations in flight at most.
    #[arg(long, default_value_t = 8)]
    pub connections: u32,
    /// How documents are drawn.
    #[arg(long, value_enum, default_value_t = KeyChoice::Uniform)]
    pub keys: KeyChoice,
    /// Exponent of the zipfian draw; larger is more uneven.
    #[arg(long, default_value_t = 0.99)]
    pub zipf_s: f64,
    /// Weights of the kinds, such as `inserts=30,updates=40`; `all` for the
    /// default ones, to be followed by changes.
    #[arg(long, default_value = "all")]
    pub mix: Mix,
    /// Statements in one command at most; half of the commands hold one.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub bulk: u64,
    /// Write straight to the owning shards (no chunk may move meanwhile).
    #[arg(long)]
    pub direct: bool,
    /// Let documents trade their values under unique indexes.
    #[arg(long)]
    pub unique_churn: bool,
    /// Create, fill and drop collections and indexes meanwhile.
    #[arg(long)]
    pub ddl: bool,
    /// Namespaces to work on; else all that were populated.
    #[arg(long, value_delimiter = ',')]
    pub ns: Vec<String>,
    /// Ordinal of the first document inserted; else made from the clock, so that
    /// loads in turn do not meet.
    #[arg(long)]
    pub insert_base: Option<u64>,
    /// Servers fail and elect meanwhile: what that interrupts is no error, and
    /// no operation is waited for longer than 10 s.
    #[arg(long)]
    pub tolerant: bool,
}

impl LoadOptions {
    /// The defaults of the flags, for callers without a command line.
    pub fn new(uri: impl Into<String>) -> Self {
        LoadOptions {
            uri: uri.into(),
            seed: 1,
            rate: 0.0,
            connections: 8,
            keys: KeyChoice::Uniform,
            zipf_s: 0.99,
            mix: Mix::default(),
            bulk: 8,
            direct: false,
            unique_churn: false,
            ddl: false,
            ns: Vec::new(),
            insert_base: None,
            tolerant: false,
        }
    }
}

/// Runs a load for its duration or until Ctrl-C and prints the report.
pub async fn run(args: LoadArgs) -> Result<()> {
    let mut load = Load::start(args.options).await?;
    let end = args
        .duration
        .map(|seconds| tokio::time::Instant::now() + Duration::from_secs_f64(seconds));
    loop {
        let now = tokio::time::Instant::now();
        let lap = now + Duration::from_secs_f64(args.lap.max(0.1));
        let next = end.map_or(lap, |end| end.min(lap));
        tokio::select! {
            _ = tokio::time::sleep_until(next) => (),
            _ = tokio::signal::ctrl_c() => break,
        }
        // Progress goes to stderr: stdout is for the report.
        eprintln!("{}", load.lap().line());
        if end.is_some_and(|end| end <= tokio::time::Instant::now()) {
            break;
        }
    }
    let report = load.stop().await;
    if args.json {
        println!("{}", serde_json::json!(report))
    } else {
        print!("{report}")
    }
    Ok(())
}

/// Starts loads.
pub struct Load;

impl Load {
    /// Connects, reads the layout and starts the workers.
    ///
    /// # Errors
    /// `Usage` where nothing was populated.
    pub async fn start(options: LoadOptions) -> Result<LoadHandle> {
        let entry = Entry::connect(&options.uri, options.connections + 2).await?;
        let layout = Layout::read(&entry).await?;
        let shared = Arc::new(shared(&entry, &layout, &options).await?);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut stats = Vec::new();
        for number in 0..options.connections.max(1) {
            let transactor = if options.mix.has_transactions() {
                Some(Transactor::connect(&entry).await?)
            } else {
                None
            };
            let own = Arc::new(Mutex::new(Stats::default()));
            stats.push(own.clone());
            let (shared, stop) = (shared.clone(), stopped.clone());
            let worker = Worker {
                shared,
                stats: own,
                entry: entry.clone(),
                transactor,
                shaken: false,
                stop,
            };
            tasks.spawn(worker.work(u64::from(number)));
        }
        if options.ddl {
            let stats = stats[0].clone();
            tasks.spawn(
                ddl::Ddl {
                    entry,
                    shared: shared.clone(),
                    stats,
                    stop: stopped,
                }
                .work(),
            );
        }
        let now = Instant::now();
        Ok(LoadHandle {
            shared,
            stop,
            tasks,
            stats,
            total: Stats::default(),
            started: now,
            lap: now,
            paused: None,
        })
    }
}

async fn shared(entry: &Entry, layout: &Layout, options: &LoadOptions) -> Result<Shared> {
    let base = options.insert_base.unwrap_or_else(base_by_clock);
    let zipf_s = (options.keys == KeyChoice::Zipf).then_some(options.zipf_s);
    let picker = Picker::new(layout, &options.ns, zipf_s, base);
    route::require_spaces(&picker)?;
    let owners_too = entry.router && (entry.stand_in || options.mix.has_transactions());
    let route = Route::new(entry.clone(), &picker, options.direct, owners_too).await?;
    let (seed, bulk, unique_churn) = (options.seed, options.bulk, options.unique_churn);
    Ok(Shared {
        planner: Planner {
            picker,
            route,
            seed,
            base,
            bulk,
            unique_churn,
            prepared_apart: entry.router && !entry.abilities.inserts_wait_for_prepared,
        },
        mix: options.mix.clone(),
        pacer: Pacer::new(options.rate),
        gate: Arc::new(RwLock::new(())),
        ops: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        tolerant: options.tolerant,
    })
}

/// Milliseconds since 2020, times 1000: above all populated ordinals, below 2^50 until 2055.
fn base_by_clock() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64;
    since_1970.saturating_sub(1_577_836_800_000) * 1_000
}

/// A running load. Dropping it stops the workers where they are.
pub struct LoadHandle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    stats: Vec<Arc<Mutex<Stats>>>,
    /// What former laps recorded.
    total: Stats,
    started: Instant,
    lap: Instant,
    /// Held while the load is paused.
    paused: Option<OwnedRwLockWriteGuard<()>>,
}

impl LoadHandle {
    /// Operations answered so far.
    pub fn ops(&self) -> u64 {
        self.shared.ops.load(Ordering::Relaxed)
    }

    /// Errors so far, lost races left out.
    pub fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    /// Pauses; on return no operation is in flight.
    pub async fn pause(&mut self) {
        if self.paused.is_none() {
            self.paused = Some(self.shared.gate.clone().write_owned().await);
        }
    }

    /// Goes on; what was due during the pause is forgotten.
    pub fn resume(&mut self) {
        self.shared.pacer.resume();
        self.paused = None;
    }

    /// Sets the rate from now on, operations per second; 0: as fast as it goes.
    pub fn set_rate(&self, rate: f64) {
        self.shared.pacer.set_rate(rate);
    }

    /// What happened since the last lap, or the start.
    pub fn lap(&mut self) -> LoadReport {
        let mut lap = Stats::default();
        for stats in &self.stats {
            let mut stats = stats
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            lap.add(&std::mem::take(&mut *stats));
        }
        let elapsed = std::mem::replace(&mut self.lap, Instant::now()).elapsed();
        self.total.add(&lap);
        lap.report(elapsed)
    }

    /// Stops after the operations in flight and reports on the whole run.
    pub async fn stop(mut self) -> LoadReport {
        let _ = self.stop.send(true);
        self.paused = None;
        while self.tasks.join_next().await.is_some() {}
        let elapsed = self.started.elapsed();
        self.lap();
        self.total.report(elapsed)
    }
}
