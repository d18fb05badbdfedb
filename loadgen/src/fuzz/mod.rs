//! `loadgen fuzz`: seeded ops of every kind through whole migrations, and both sides
//! compared byte for byte.
//!
//! Owns the way through the seeds and what is told of them.

mod across;
mod args;
mod batch;
mod client;
mod cluster;
mod ddl;
mod failing;
mod ground;
mod index;
mod modify;
pub mod op;
pub mod plan;
mod series;
mod shrink;
mod tally;
mod trouble;
mod update;
mod value;
mod write;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bson::Document;
use serde_json::{Value, json};

pub use args::Args;
pub use tally::Tally;

use crate::cli::signals;
use crate::engine::{build, program};
use crate::error::Result;
use crate::server::version::Release;
use batch::{Case, Runs};
use failing::Failure;
use ground::Ground;
use op::{Cluster, Command, Deed};

const EXIT_INTERRUPTED: u8 = 130;
/// Of a command, when it is told.
const SHOWN_MAX: usize = 2_000;

/// What all batches share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The engine.
    pub program: PathBuf,
    pub source: Release,
    pub target: Release,
    /// A cluster of two shards to another one; else a replica set.
    pub sharded: bool,
    /// Of each replica set.
    pub members: usize,
    /// Seeds of one run of the engine.
    pub batch: usize,
    /// Begins no new batch after it.
    pub stop_after: Duration,
    /// To make a failing seed smaller for.
    pub shrink: Duration,
    /// All has other names on the target.
    pub renamed: bool,
    pub engine_args: Vec<String>,
}

impl Settings {
    /// None: replica sets.
    fn cluster(&self) -> Option<Cluster> {
        self.sharded.then_some(Cluster {
            renames: (6, 0) <= (self.target.major, self.target.minor),
        })
    }
}

/// What came of all seeds.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seeds: u64,
    /// Those that failed, and how.
    pub failures: Vec<(u64, String)>,
    pub tally: Tally,
    pub wall: Duration,
}

/// Runs the seeds that are asked for, or what a signal leaves of them; nothing that was
/// started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let outcome = tokio::select! {
        outcome = all(&args) => outcome?,
        signal = signals::asked_to_stop() => {
            eprintln!("loadgen: {}: engine and servers are stopped", signal?);
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    println!("{}", outcome.json());
    Ok(if outcome.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn all(args: &Args) -> Result<Outcome> {
    let mut work = tempfile::Builder::new()
        .prefix("shardlift-fuzz-")
        .tempdir()?;
    let settings = Settings {
        program: match &args.engine {
            Some(path) => program::given(path)?,
            None => build::engine(work.path()).await?,
        },
        source: args.releases.source(),
        target: args.releases.target(),
        sharded: args.sharded,
        members: args.members.into(),
        batch: args.batch as usize,
        stop_after: Duration::from_secs(args.stop_after_s.unwrap_or(u32::MAX.into())),
        shrink: args.shrink_time(),
        renamed: args.renamed,
        engine_args: args.engine_args.clone(),
    };
    let outcome = run_seeds(&settings, &args.all_seeds(), work.path()).await?;
    if !outcome.failures.is_empty() {
        work.disable_cleanup(true);
        eprintln!("logs: {}", work.path().display());
    }
    Ok(outcome)
}

/// All of them, in batches; files go to `work`, those of what failed stay.
///
/// # Errors
/// If the servers, or this program, failed: that says nothing about the engine.
pub async fn run_seeds(settings: &Settings, seeds: &[u64], work: &Path) -> Result<Outcome> {
    let began = Instant::now();
    let ground = Ground::start(settings).await?;
    let mut runs = Runs {
        settings,
        ground: &ground,
        work,
        tally: Tally::default(),
    };
    let (mut done, mut failures) = (0, Vec::new());
    for batch in seeds.chunks(settings.batch) {
        if settings.stop_after <= began.elapsed() {
            break;
        }
        let cases: Vec<Case> = batch.iter().map(|seed| Case::whole(*seed)).collect();
        let trouble = batch[0];
        let failed = failing::of(&mut runs, &cases, trouble).await?;
        done += batch.len() as u64;
        eprintln!(
            "{} to {}: {} failed, {:.0} s",
            batch[0],
            batch[batch.len() - 1],
            failed.len(),
            began.elapsed().as_secs_f64()
        );
        for failure in failed {
            tell(&mut runs, &failure, trouble).await?;
            failures.push((failure.case.seed, failure.why));
        }
    }
    Ok(Outcome {
        seeds: done,
        failures,
        tally: runs.tally,
        wall: began.elapsed(),
    })
}

/// What failed, and the least of it that does.
async fn tell(runs: &mut Runs<'_>, failure: &Failure, trouble: u64) -> Result<()> {
    let seed = failure.case.seed;
    eprintln!(
        "seed {seed} failed (trouble of {trouble}):\n{}",
        failure.why
    );
    let time = runs.settings.shrink;
    if time.is_zero() {
        return Ok(());
    }
    let Some(least) = failing::shrunk(runs, failure, trouble, time).await? else {
        eprintln!("seed {seed} does not fail again by itself");
        return Ok(());
    };
    eprintln!("seed {seed} fails with no more than this:\n{}", least.why);
    let plan = least.case.plan(runs.settings);
    for (at, op) in plan.ops.iter().enumerate() {
        let when = if at < plan.before { "before" } else { "during" };
        let (what, commands) = match &op.deed {
            Deed::Commands(commands) | Deed::Steps(commands) => ("", commands),
            Deed::Transaction { commands, .. } => (" (transaction)", commands),
        };
        eprintln!("  {when} {}{what}", op.kind);
        for command in commands {
            eprintln!("    {}: {}", command.database, shown(command));
        }
    }
    Ok(())
}

/// With types; of names that occur twice the last value only.
fn shown(command: &Command) -> String {
    let text = Document::try_from(command.body.as_ref())
        .map_or_else(|e| e.to_string(), |body| format!("{body:?}"));
    text.chars().take(SHOWN_MAX).collect()
}

impl Outcome {
    fn json(&self) -> Value {
        let tally = &self.tally;
        let refusals: serde_json::Map<String, Value> = tally
            .refusals
            .iter()
            .map(|((kind, code), count)| (format!("{kind} {code}"), json!(count)))
            .collect();
        json!({
            "seeds": self.seeds,
            "failed": self.failures.len(),
            "failed_seeds": self.failures.iter().map(|(seed, _)| seed).collect::<Vec<_>>(),
            "ops": tally.ops,
            "refused_by_source": tally.refused,
            "refusals": refusals,
            "lost": tally.lost,
            "kills": tally.kills,
            "elections": tally.elections,
            "engine_runs": tally.engine_runs,
            "wall_s": self.wall.as_secs(),
        })
    }
}
