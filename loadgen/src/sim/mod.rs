//! A seeded simulation of correctness (R2–R7): the engine's own gate, inboxes,
//! compiler, ledger, checkpoints and resume, between a source and a target that
//! exist only here, under elections that take writes back, writes that run late,
//! kills at any step, transactions and DDL.
//!
//! A seed is one run, always the same. What it shows false is told with the seed
//! and the step, and `--seed N --trace` prints that run.
//!
//! The only room of loadgen that knows the engine's code.

mod body;
mod chore;
mod coordinator;
mod faults;
mod forget;
mod lane;
mod load;
mod pair;
mod replay;
mod resume;
mod round;
mod scan;
mod source;
mod store;
mod target;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    let failures = run_seeds(first, count, threads, args.first, args.trace);
    for Failure { seed, reason } in failures.iter().take(TOLD_MAX) {
        println!("seed {seed}: {reason}");
    }
    println!("{{\"seeds\":{count},\"failed\":{}}}", failures.len());
    failures.is_empty()
}

/// Runs `count` seeds from `first` on; returns those that failed, in order.
pub fn run_seeds(
    first: u64,
    count: u64,
    threads: usize,
    stop_at_first: bool,
    trace: bool,
) -> Vec<Failure> {
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    quietly(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(seed) = Some(next.fetch_add(1, Relaxed))
                        .filter(|n| *n < count)
                        .map(|n| first + n)
                    {
                        let Err(reason) = run_one(seed, trace) else {
                            continue;
                        };
                        failures
                            .lock()
                            .expect("no holder panics")
                            .push(Failure { seed, reason });
                        if stop_at_first {
                            next.store(count, Relaxed);
                        }
                    }
                });
            }
        });
    });
    let mut failures = failures.into_inner().expect("no holder panics");
    failures.sort_by_key(|failure| failure.seed);
    failures
}

fn run_one(seed: u64, trace: bool) -> Result<(), String> {
    let mut world = World::new(seed, trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    if trace {
        println!("{:6}  end, after {} attempts", world.steps, world.attempts);
    }
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        Err(format!("step {}: panicked: {text}", world.steps))
    })
}

/// Panics are caught and told with their seed.
fn quietly(work: impl FnOnce()) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    work();
    std::panic::set_hook(before);
}
