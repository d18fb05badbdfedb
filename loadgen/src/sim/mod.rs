//! A seeded simulation of correctness (R1–R7, R10, R11): the engine's own code between a
//! source and a target that exist only here, under elections that take writes back, writes
//! that run late, refusals, kills at any step, transactions and DDL over one shard to three.
//!
//! A seed is one run, always the same. What it shows false is told with the seed
//! and the step, and `--seed N --trace` prints that run.
//!
//! **The engine's own**: gate, horizon, inboxes, compiler, doubts, ledger, pins, the order
//! of checkpoints and of their writes, what is settled, restored and resumed, when a
//! collection is made, renamed, dropped and forgotten across pairs, what it is called, which
//! commands a flush becomes, and the bytes of each.
//!
//! **By hand**, because the engine's is async: a fault there is not found here.
//!
//! | here | the engine's | left out |
//! |---|---|---|
//! | `pair`, `replay` | `tail`, `plain`, `replay` | reading of entries, internal marks, retries of cursors |
//! | `scan` | `scan`, `copy` | capped collections, documents that need a literal |
//! | `natural` | `natural`, `buckets`, `sorted_run` | bounds of memory, which bucket is next, cursors that break amid a reply |
//! | `lane`, `flush`, `sent` | `lane`, `bulk`, `at_once` | documents with a name twice, several collections in one transaction |
//! | `exact`, `reread` | `doubtful`, `reread`, `index` | giving up, indexes but one unique, `drop_stale` |
//! | `ddl`, `chore` | `ddl` | a source that is rolled back, views, options that are refused or recorded |
//! | `coordinator` | `control::across::ddl` | databases that are in the way, answers that are lost; no new command waits for a rename |
//! | `store` | `state` | |
//! | `plan` | `layout::prepare` | what is being made while it is listed |
//! | `begin`, `resume` | `attempt::start`, `resume`, `emptying` | whole collections that are copied again |
//!
//! A target refuses more than a server would: what it refuses is drawn by what the document
//! was and is to be, whole documents too.
//!
//! The only room of loadgen that knows the engine's code.

mod begin;
mod body;
mod changes;
mod checks;
mod chore;
mod command;
mod coordinator;
mod ddl;
mod end;
mod exact;
mod faults;
mod flush;
mod forget;
mod lane;
mod load;
mod natural;
mod pair;
mod plan;
mod renames;
mod replay;
mod reread;
mod resume;
mod round;
mod scan;
mod sent;
mod source;
mod store;
mod tally;
mod target;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use crate::sim::tally::Tally;
use crate::sim::world::World;

#[derive(Debug, Clone, clap::Args)]
pub struct SimArgs {
    /// Seeds to run, from `--from` on.
    #[arg(long, default_value_t = 20_000)]
    pub seeds: u64,
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Run this one only.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Print what happens, step by step.
    #[arg(long)]
    pub trace: bool,
    /// Stop at the first seed that fails.
    #[arg(long)]
    pub first: bool,
    /// Seeds run side by side; 0: one per core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// A seed that showed something false.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub reason: String,
}

/// What some seeds came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In the order of their seeds.
    pub failures: Vec<Failure>,
    /// What was met, in all.
    pub met: Tally,
    /// Seeds that met refusals, and doubtful documents.
    pub seeds_refused: u64,
    pub seeds_doubtful: u64,
}

impl Outcome {
    fn add(&mut self, met: &Tally) {
        self.met.add(met);
        self.seeds_refused += u64::from(0 < met.refused);
        self.seeds_doubtful += u64::from(0 < met.doubtful);
    }
}

/// Failures that are told; the rest is counted.
const TOLD_MAX: usize = 5;

/// Prints failures and, last, one line of JSON. True if no seed failed.
pub fn run(args: &SimArgs) -> bool {
    let (first, count) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if args.threads == 0 {
        cores
    } else {
        args.threads
    };
    let outcome = run_seeds(first, count, threads, args.first, args.trace);
    for Failure { seed, reason } in outcome.failures.iter().take(TOLD_MAX) {
        println!("seed {seed}: {reason}");
    }
    println!(
        "{{\"seeds\":{count},\"failed\":{},{},\"seeds_refused\":{},\"seeds_doubtful\":{}}}",
        outcome.failures.len(),
        outcome.met.json(),
        outcome.seeds_refused,
        outcome.seeds_doubtful
    );
    outcome.failures.is_empty()
}

/// Runs `count` seeds from `first` on.
pub fn run_seeds(
    first: u64,
    count: u64,
    threads: usize,
    stop_at_first: bool,
    trace: bool,
) -> Outcome {
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Outcome::default());
    let work = || loop {
        let taken = next.fetch_add(1, Relaxed);
        if count <= taken {
            return;
        }
        let seed = first + taken;
        let (met, result) = run_one(seed, trace);
        let mut outcome = outcome.lock().expect("no holder panics");
        outcome.add(&met);
        if let Err(reason) = result {
            outcome.failures.push(Failure { seed, reason });
            if stop_at_first {
                next.store(count, Relaxed);
            }
        }
    };
    quietly(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    });
    let mut outcome = outcome.into_inner().expect("no holder panics");
    outcome.failures.sort_by_key(|failure| failure.seed);
    outcome
}

fn run_one(seed: u64, trace: bool) -> (Tally, Result<(), String>) {
    let mut world = World::new(seed, trace);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    if trace {
        println!("{:6}  end, after {} attempts", world.steps, world.attempts);
    }
    let result = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        Err(format!("step {}: panicked: {text}", world.steps))
    });
    (world.tally(), result)
}

/// Panics are caught and told with their seed.
fn quietly(work: impl FnOnce()) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    work();
    std::panic::set_hook(before);
}
