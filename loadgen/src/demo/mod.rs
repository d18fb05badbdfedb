//! `loadgen demo`: a whole migration to watch, from nothing to the byte for
//! byte check, with the engine run as an operator would run it.
//!
//! Owns the story; each step is a file of its own. Knows the engine by its
//! command line, its API and what it prints, and shares no code with it.

mod clusters;
mod engine;
mod follow;
mod narrate;
mod rate;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::check::{self, CheckOptions};
use crate::cli::releases::Releases;
use crate::cli::signals;
use crate::engine::{build, program};
use crate::error::Result;
use crate::load::{Load, LoadHandle, LoadOptions};
use clusters::Clusters;
use engine::{Engine, WorkDir};
use follow::Follow;
use narrate::{Narrator, grouped};
use report::Report;

/// What a shell gives for a command that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;
/// Statements in one command of the load at most; half of the commands hold one.
const LOAD_BULK: u64 = 16;
/// Load on the source alone, before the migration begins.
const WARM_UP: Duration = Duration::from_secs(2);

/// See a whole live migration: two local clusters, a busy source, a cutover
/// and the proof that both sides are equal.
///
/// Builds the engine, starts two sharded MongoDB clusters on this machine
/// (real servers, all data in memory, gone afterwards), fills the source with
/// collections, indexes and shard keys of every kind, keeps writing to it
/// through its router, runs `shardlift migrate`, stops the writes once the
/// target has caught up, cuts over, and compares both clusters byte for byte.
///
/// Takes one to two minutes after the build. Needs nothing installed but a Rust
/// toolchain and Python's pip, which gets the MongoDB server once. Ctrl-C stops
/// everything at any time.
///
/// Exit code: 0 both sides are equal, 1 they are not or a step failed, 130 Ctrl-C.
/// The last line on stdout is one JSON object with the figures.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Documents to populate the source with
    #[arg(long, default_value_t = 320_000)]
    docs: u64,
    /// Writes per second on the source, from before the copy until cutover; some
    /// find their document gone, so that the oplog gets fewer
    #[arg(long, default_value_t = 1_300.0, value_parser = parse_rate)]
    rate: f64,
    /// Connections of the load: where all programs share few cores, a write
    /// waits for its turn at each of them, and only more in flight keep the rate
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=500))]
    connections: u32,
    /// Shards of each cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    shards: u8,
    /// Seed of documents and writes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    releases: Releases,
    /// Run this shardlift program instead of building one
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// Print nothing on stdout but the last line
    #[arg(long)]
    json: bool,
    /// Leave both clusters running at the end, to look around, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the demo, or what Ctrl-C leaves of it; nothing it started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let tell = Narrator::new(args.json);
    // Its drop, at a signal, stops the engine, the load and the servers.
    let ended = tokio::select! {
        ended = story(&args, &tell) => ended?,
        signal = signals::asked_to_stop() => return interrupted(signal?),
    };
    if let Some(clusters) = ended.kept {
        eprintln!("kept running until Ctrl-C:\n{clusters}");
        let signal = signals::asked_to_stop().await?;
        eprintln!("loadgen: {signal}: stopping the servers");
    }
    Ok(if ended.good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn interrupted(signal: &str) -> Result<ExitCode> {
    eprintln!("loadgen: {signal}: engine, load and servers are stopped");
    Ok(ExitCode::from(EXIT_INTERRUPTED))
}

struct Ended {
    good: bool,
    kept: Option<Clusters>,
}

async fn story(args: &Args, tell: &Narrator) -> Result<Ended> {
    let work = WorkDir::create()?;
    let program = match &args.engine {
        Some(path) => program::given(path)?,
        None => {
            tell.step("building the engine".to_owned());
            build::engine(work.path()).await?
        }
    };
    let began = Instant::now();
    let clusters = Clusters::start(args.shards, &args.releases, tell).await?;
    clusters.populate(args.docs, args.seed, tell).await?;
    let load = start_load(args, &clusters, tell).await?;
    let engine = Engine::start(&program, &clusters, work, tell)?;
    let report = migrate(args, &clusters, engine, load, tell).await?;
    tell.report(&report.text(began.elapsed()));
    tell.outcome(&report.json());
    Ok(Ended {
        good: report.is_good(),
        kept: args.keep.then_some(clusters),
    })
}

async fn start_load(args: &Args, clusters: &Clusters, tell: &Narrator) -> Result<LoadHandle> {
    let load = Load::start(LoadOptions {
        rate: args.rate,
        seed: args.seed,
        connections: args.connections,
        bulk: LOAD_BULK,
        ..LoadOptions::new(clusters.source.uri())
    });
    let load = load.await?;
    tell.step(format!(
        "load: {} writes/s of mixed operations through the source's {}, until the cutover",
        grouped(args.rate as u64),
        if clusters.source.has_stand_in() {
            "router (a stand-in for mongos)"
        } else {
            "mongos"
        },
    ));
    tokio::time::sleep(WARM_UP).await;
    Ok(load)
}

/// From a running engine to a compared target. What fails takes the engine's
/// log along.
async fn migrate(
    args: &Args,
    clusters: &Clusters,
    mut engine: Engine,
    load: LoadHandle,
    tell: &Narrator,
) -> Result<Report> {
    let moved = match Follow::new(&mut engine, load, args.docs, tell)
        .finish()
        .await
    {
        Ok(moved) => moved,
        Err(e) => return Err(engine.explain(e)),
    };
    tell.step("check: comparing source and target, every document byte for byte".to_owned());
    let compared = check::compare(
        &clusters.source.uri(),
        &clusters.target.uri(),
        &CheckOptions::default(),
    )
    .await;
    let report = match compared {
        Ok(check) => Report { moved, check },
        Err(e) => return Err(engine.explain(e)),
    };
    if !report.is_good() {
        eprintln!(
            "{}",
            engine.explain(crate::error::Error::new("the demo did not end well"))
        );
    }
    Ok(report)
}

fn parse_rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("give a number of writes per second, from 1 to 1000000".to_owned()),
    }
}
