//! `loadgen soak`: a migration under load while servers, network and engine
//! fail again and again, and the proof that nothing was lost.
//!
//! Owns the story; the faults, the load, the engine and the check are rooms of
//! their own.

mod args;
mod clusters;
mod cutover;
mod outcome;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use args::Args;

use crate::check::{self, CheckOptions};
use crate::cli::signals;
use crate::engine::keeper::Keeper;
use crate::engine::{build, program};
use crate::error::Result;
use crate::faults::clock::Clock;
use crate::faults::elections::Elections;
use crate::faults::plan::Plan;
use crate::faults::record::Record;
use crate::load::{Load, LoadHandle, LoadOptions};
use clusters::Clusters;
use outcome::Outcome;

const EXIT_INTERRUPTED: u8 = 130;
/// How long the load goes on after the engine caught up: past the longest time
/// a write may be waited for.
const LOAD_AFTER_READY: Duration = Duration::from_secs(5);
/// From the last fault to ready, with what follows for every document.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const DOCUMENTS_PER_S_MIN: u64 = 1_000;
const LOAD_CONNECTIONS: u32 = 24;
const LOAD_BULK: u64 = 16;
/// Differences that are named.
const DIFFERENCES_MAX: usize = 50;

/// Runs the soak, or what a signal leaves of it; nothing it started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let outcome = tokio::select! {
        outcome = story(&args) => outcome?,
        signal = signals::asked_to_stop() => {
            eprintln!("loadgen: {}: engine, load and servers are stopped", signal?);
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    eprintln!("{}", outcome.text());
    println!("{}", outcome.json());
    Ok(if outcome.check.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn story(args: &Args) -> Result<Outcome> {
    let began = Instant::now();
    let mut work = args.work_dir()?;
    let record = Arc::new(Record::new(args.log()?));
    let program = match &args.engine {
        Some(path) => program::given(path)?,
        None => build::engine(work.path()).await?,
    };
    eprintln!("starting source and target");
    let mut clusters = Clusters::start(args).await?;
    eprintln!("populating {} documents", args.documents);
    clusters.populate(args).await?;
    let elections = Elections::watch(&[&clusters.source, &clusters.target]);
    let load = start_load(args, &clusters.source.uri()).await?;
    let engine_args = args.engine_arguments(&clusters.source.uri(), &clusters.target.uri());
    eprintln!("shardlift {}", engine_args.join(" "));
    eprintln!("logs of the engine: {}", work.path().display());
    let engine = Keeper::start(&program, engine_args, work.path(), record.clone())?;
    let moved = migrate(args, &mut clusters, &engine, load, &record, &program).await;
    let (load, cutover_ms) = moved.inspect_err(|_| {
        work.keep();
        eprintln!("\n{}", record.table());
    })?;
    eprintln!("comparing both sides byte for byte");
    let options = CheckOptions { max_differences: DIFFERENCES_MAX, ..CheckOptions::default() };
    let check = check::compare(&clusters.source.uri(), &clusters.target.uri(), &options).await?;
    if !check.equal {
        work.keep();
    }
    let (engine_starts, engine_ends) = (engine.starts(), engine.ends());
    let seconds = began.elapsed().as_secs_f64();
    Ok(Outcome { record, elections: elections.count(), engine_starts, engine_ends, load, check, cutover_ms, seconds })
}

/// From the first fault to the end of a cutover without any; what the load did,
/// and how long the cutover took, ms.
async fn migrate(
    args: &Args,
    clusters: &mut Clusters,
    engine: &Keeper,
    load: LoadHandle,
    record: &Arc<Record>,
    program: &std::path::Path,
) -> Result<(crate::load::LoadReport, u64)> {
    let plan = Plan::new(args.seed, &args.faults, Duration::from_secs_f64(args.fault_every_s));
    eprintln!("faults for {} minutes", args.minutes);
    let mut clock = Clock::new(&mut clusters.source, &mut clusters.target, Some(engine), record.clone());
    clock.run(plan, Duration::from_secs_f64(args.minutes * 60.0)).await?;
    eprintln!("all faults are over; waiting until the engine is ready ({})", engine.phase());
    let patience = READY_TIMEOUT + Duration::from_secs(args.documents / DOCUMENTS_PER_S_MIN);
    engine.until_phase("ready", patience).await?;
    tokio::time::sleep(LOAD_AFTER_READY).await;
    let load = load.stop().await;
    eprintln!("writes stopped; cutover");
    let cutover_ms = cutover::cut_over(engine, program).await?;
    Ok((load, cutover_ms))
}

async fn start_load(args: &Args, uri: &str) -> Result<LoadHandle> {
    let options = LoadOptions {
        rate: args.rate,
        seed: args.seed,
        connections: LOAD_CONNECTIONS,
        bulk: LOAD_BULK,
        ddl: args.ddl,
        mix: args.mix.clone(),
        tolerant: true,
        ..LoadOptions::new(uri)
    };
    Ok(Load::start(options).await?)
}
