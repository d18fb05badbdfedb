//! `loadgen walk`: the whole procedure of an operator, headless, with every command of the
//! engine: staging run, cancel, the real run with a stop and a shard copied again, cutover;
//! then, on replica sets, what a cluster does not take, and a way back that is given up.
//!
//! Owns the order of the steps; `operator` runs the commands. Knows the engine by its command
//! line, its API and what it prints.

mod called;
mod operator;
mod sets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::check::{self, CheckOptions, balancer};
use crate::cli::releases::Releases;
use crate::cli::signals;
use crate::cluster::{ShardedCluster, ShardedOptions};
use crate::engine::{build, program};
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::load::{Load, LoadHandle, LoadOptions};
use crate::populate::{self, PopulateArgs};
use crate::server::version::Release;
use operator::Operator;
use sets::Sets;

/// Per server.
const CACHE_GB: f64 = 0.25;
const OPLOG_MB: u32 = 256;
/// Statements in one command of the load at most.
const LOAD_BULK: u64 = 16;
/// Connections that look at balancers.
const LOOKS: u32 = 1;
/// The first of a local cluster.
const SHARD: &str = "shard0";
/// How long the source takes to settle once its load is stopped.
const QUIET: Duration = Duration::from_secs(1);

/// What must have been run when the walk is over: each command of the engine, each thing that
/// `reverse` does, and the flags that are a step of the procedure. A test of the engine holds
/// its command line against this list.
pub const COMMANDS: [&str; 20] = [
    "validate",
    "migrate",
    "migrate --restart",
    "status",
    "cutover",
    "cutover --block-writes",
    "cancel",
    "pause",
    "resume",
    "extend",
    "throttle",
    "prepare",
    "reverse status",
    "reverse cutover",
    "reverse stop",
    "mirror",
    "recopy",
    "verify",
    "completions",
    "man",
];

/// Walk through the whole procedure on two local sharded clusters, under load, and on replica
/// sets, with every command of the engine at least once.
///
/// Exit code: 0 every step went well, 1 one did not, 130 Ctrl-C. The last line on stdout is
/// one JSON object: steps made, steps failed.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Documents to populate the source with
    #[arg(long, default_value_t = 40_000)]
    pub docs: u64,
    /// Writes per second on the source, until it is cut over
    #[arg(long, default_value_t = 300.0)]
    pub rate: f64,
    /// Shards of each cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub shards: u8,
    /// Seed of documents and writes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub releases: Releases,
    /// Walk with this shardlift program instead of building one
    #[arg(long, value_name = "PATH")]
    pub engine: Option<PathBuf>,
    /// Print nothing on stdout but the last line
    #[arg(long)]
    pub json: bool,
}

/// Walks, or what Ctrl-C leaves of it; nothing it started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let work = tempfile::Builder::new()
        .prefix("shardlift-walk-")
        .tempdir()?;
    let program = match &args.engine {
        Some(path) => program::given(path)?,
        None => build::engine(work.path()).await?,
    };
    let outcome = tokio::select! {
        outcome = walk(&args, &program, work.path()) => outcome?,
        signal = signals::asked_to_stop() => {
            eprintln!("loadgen: {}: engine, load and servers are stopped", signal?);
            return Ok(ExitCode::from(130));
        }
    };
    println!(
        r#"{{"steps":{},"failed":{}}}"#,
        outcome.steps, outcome.failed
    );
    Ok(ExitCode::from(u8::from(outcome.failed != 0)))
}

/// How many steps were made, and how many of them failed: none, or the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub steps: usize,
    pub failed: usize,
}

/// The walk itself; files go to `work`.
///
/// # Errors
/// What kept the servers or the load from starting.
pub async fn walk(args: &Args, program: &Path, work: &Path) -> Result<Outcome> {
    let (source, target) = tokio::try_join!(
        cluster(args.shards, args.releases.source()),
        cluster(args.shards, args.releases.target())
    )?;
    let populate = PopulateArgs {
        docs: args.docs,
        seed: args.seed,
        ..PopulateArgs::new(source.uri())
    };
    populate::populate(&populate).await?;
    let load = Load::start(LoadOptions {
        rate: args.rate,
        seed: args.seed,
        bulk: LOAD_BULK,
        ..LoadOptions::new(source.uri())
    });
    let load = load.await?;
    let uris = (source.uri(), target.uri());
    // Outlives the engine: a failure is told before servers end.
    let sets;
    let mut operator = Operator::new(program, work, uris.clone(), !args.json);
    let walked = match procedure(&mut operator, load, &uris, args.shards).await {
        Ok(()) => {
            // Their memory is the sets' from here on.
            drop((source, target));
            sets = Sets::start(&args.releases).await?;
            sets.walk(&mut operator, args.seed).await
        }
        failed => failed,
    };
    let walked = walked.and_then(|()| operator.called_all(&COMMANDS));
    let failed = usize::from(walked.is_err());
    if let Err(e) = walked {
        operator.tell_failure(&e);
    }
    Ok(Outcome {
        steps: operator.steps(),
        failed,
    })
}

async fn cluster(shards: u8, release: Release) -> Result<ShardedCluster> {
    let options = ShardedOptions {
        release,
        shards: shards.into(),
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options).await
}

async fn procedure(
    operator: &mut Operator,
    load: LoadHandle,
    uris: &(String, String),
    shards: u8,
) -> Result<()> {
    let balancers = (mode(&uris.0).await?, mode(&uris.1).await?);
    before(operator).await?;
    staging_run(operator).await?;
    real_run(operator).await?;
    let report = load.stop().await;
    if !report.errors.is_empty() {
        return Err(Error::new(format!(
            "writes of the load failed: {:?}",
            report.errors
        )));
    }
    tokio::time::sleep(QUIET).await;
    cut_over(operator, shards).await?;
    operator.step("both clusters are equal, and both balancers as they were");
    let options = CheckOptions {
        source_balancer: Some(balancers.0),
        target_balancer: Some(balancers.1),
        ..CheckOptions::default()
    };
    let report = check::compare(&uris.0, &uris.1, &options).await?;
    if report.equal {
        return Ok(());
    }
    Err(Error::new(format!("they differ: {report}")))
}

async fn mode(uri: &str) -> Result<String> {
    balancer::mode(&Entry::connect(uri, LOOKS).await?).await
}

/// In a status: the run is in this phase now. It tells of earlier ones, too.
fn phase(name: &str) -> String {
    format!("\"run_id\":\"[^\"]*\",\"phase\":\"{name}\"")
}

/// What needs no run.
async fn before(operator: &mut Operator) -> Result<()> {
    for page in [&["completions", "bash"][..], &["man"]] {
        operator.command(page, &["cutover"]).await?;
    }
    operator
        .on_both(&["validate"], &["target is empty", "0 failed"])
        .await?;
    operator
        .on_both(&["validate", "--json"], &["\"verdict\":\"ok\""])
        .await
}

/// A trial that is cancelled: everything that can be asked of a run.
async fn staging_run(operator: &mut Operator) -> Result<()> {
    operator.migrate(&["--copy-mb-s", "1"]).await?;
    operator.until("\"units_copied\":[1-9]").await?;
    operator
        .ask(&["status"], &["throttled by the operator"])
        .await?;
    operator
        .ask(&["pause", "--why", "a trial"], &["halt at a checkpoint"])
        .await?;
    operator.until(&phase("paused")).await?;
    operator
        .ask(&["throttle", "--copy-mb-s", "0"], &["nothing is throttled"])
        .await?;
    operator.ask(&["resume"], &["goes on"]).await?;
    operator.until(&phase("ready")).await?;
    operator
        .ask(&["prepare"], &["gap ", "stop your applications"])
        .await?;
    operator
        .ask(&["prepare", "--json"], &["\"shards\""])
        .await?;
    operator.until("\"window_left_s\":[1-9]").await?;
    operator.ask(&["extend"], &["24 h"]).await?;
    operator.ask(&["cancel"], &["cancelled"]).await?;
    operator.ended(130).await
}

/// Starts over, is stopped, copies a shard again, and gets ready.
async fn real_run(operator: &mut Operator) -> Result<()> {
    operator.migrate(&["--restart", "--reverse"]).await?;
    operator.until(&phase("ready")).await?;
    operator.stop()?;
    operator.ended(130).await?;
    operator
        .on_both(&["recopy", "--shard", SHARD], &[SHARD])
        .await?;
    operator
        .migrate(&["--reverse", "--report", "report.html"])
        .await?;
    operator.until(&phase("ready")).await?;
    operator
        .ask(&["status", "--json"], &[&phase("ready")])
        .await
}

async fn cut_over(operator: &mut Operator, shards: u8) -> Result<()> {
    operator.ask_until(&["prepare"], &no_gap(shards)).await?;
    operator
        .ask(&["prepare"], &["a cutover takes about"])
        .await?;
    operator.watch()?;
    operator.ask(&["cutover"], &[]).await?;
    go_back(operator, shards).await?;
    operator.ended(0).await?;
    operator.watched(&phase("done")).await?;
    operator.reported("report.html").await?;
    operator.on_both(&["verify"], &["compared"]).await
}

/// What `prepare` prints once no shard has a gap, and nobody is seen to write.
fn no_gap(shards: u8) -> String {
    let gaps = vec![r"gap 0:00\n"; shards.into()].join(".*");
    format!("(?s){gaps}.*no writes are seen now")
}

/// As users who do not like the target.
async fn go_back(operator: &mut Operator, shards: u8) -> Result<()> {
    operator.until(&phase("ready")).await?;
    operator.ask(&["reverse", "status"], &["way back"]).await?;
    operator.ask_until(&["prepare"], &no_gap(shards)).await?;
    operator.ask(&["reverse", "cutover"], &["done"]).await
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn a_cutover_waits_for_the_gap_of_every_shard_and_the_last_writer() {
        let still = "1. stop your applications: shop.orders is still written to\n";
        let none = "1. stop your applications: no writes are seen now\n";
        // gaps of two shards, who writes, whether to go on
        let rows = [
            ("0:00", "0:00", none, true),
            ("0:00", "0:00", still, false),
            ("0:00", "0:01", none, false),
            ("10:00", "0:00", none, false),
        ];
        let expression = Regex::new(&no_gap(2)).unwrap();
        for (a, b, who, goes_on) in rows {
            let text = format!("a → x: gap {a}\nb → y: gap {b}\n{who}");
            assert_eq!(expression.is_match(&text), goes_on, "{text}");
        }
        assert!(!expression.is_match(&format!("a → x: gap 0:00\n{none}")));
    }
}
