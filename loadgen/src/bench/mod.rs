//! `loadgen bench`: what the engine costs and how fast it is, each figure beside
//! what the servers allow or MongoDB's own replication does in the same run.
//!
//! Owns the story; each suite is a file of its own. All servers and the engine
//! are real processes of this machine and end with the suite.

mod args;
mod bulk;
mod cases;
mod content;
mod engine;
mod figures;
mod ground;
mod many;
mod native;
mod page;
mod plot;
mod process;
mod scan;
mod statements;

mod collections;
mod copy;
mod cutover;
mod hot;
mod keepup;
mod memory;
mod race;
mod tail;
mod transaction;

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::cli::signals;
use crate::error::{Error, Result};
use args::Common;
use ground::Ground;
use plot::Plot;

/// What a shell gives for a command that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

/// Measure the engine, beside what the servers allow and MongoDB's own
/// replication of the same data.
///
/// Each suite starts real servers on this machine (all data in memory unless
/// `--dbpath` is given, gone afterwards), runs `shardlift migrate`, and compares source and target byte for
/// byte at the end. Progress goes to stderr. The last line on stdout is one JSON
/// object. Exit code: 0 both sides are equal, 1 they are not or a step failed,
/// 130 Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Clone, Subcommand)]
enum Suite {
    Copy(copy::Args),
    Tail(tail::Args),
    Hot(hot::Args),
    Keepup(keepup::Args),
    Cutover(cutover::Args),
    Collections(collections::Args),
    Memory(memory::Args),
}

/// What a suite found.
struct Outcome {
    json: Map<String, Value>,
    plots: Vec<Plot>,
    equal: bool,
}

/// Runs a suite, or what a signal leaves of it; nothing it started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let outcome = tokio::select! {
        outcome = measure(&args.suite) => outcome?,
        signal = signals::asked_to_stop() => {
            eprintln!("loadgen: {}: engine and servers are stopped", signal?);
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    tell(args.suite.common(), &outcome)?;
    Ok(if outcome.equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(suite: &Suite) -> Result<Outcome> {
    let ground = Ground::prepare(suite.common()).await?;
    let mut outcome = match suite {
        Suite::Copy(args) => copy::run(args, &ground).await?,
        Suite::Tail(args) => tail::run(args, &ground).await?,
        Suite::Hot(args) => hot::run(args, &ground).await?,
        Suite::Keepup(args) => keepup::run(args, &ground).await?,
        Suite::Cutover(args) => cutover::run(args, &ground).await?,
        Suite::Collections(args) => collections::run(args, &ground).await?,
        Suite::Memory(args) => memory::run(args, &ground).await?,
    };
    outcome
        .json
        .insert("runs".to_owned(), json!(ground.common.runs));
    outcome
        .json
        .insert("equal".to_owned(), json!(outcome.equal));
    ground.tell(if outcome.equal {
        "both sides are equal"
    } else {
        "both sides are NOT EQUAL"
    });
    Ok(outcome)
}

impl Suite {
    fn common(&self) -> &Common {
        match self {
            Suite::Copy(args) => &args.common,
            Suite::Tail(args) => &args.common,
            Suite::Hot(args) => &args.common,
            Suite::Keepup(args) => &args.common,
            Suite::Cutover(args) => &args.common,
            Suite::Collections(args) => &args.common,
            Suite::Memory(args) => &args.common,
        }
    }
}

fn tell(common: &Common, outcome: &Outcome) -> Result<()> {
    if let Some(path) = &common.report {
        let written = std::fs::write(path, page::page(&outcome.json, &outcome.plots));
        written.map_err(|e| Error::from(e).context(path.display()))?;
    }
    if !common.json {
        print!("{}", page::text(&outcome.json));
    }
    println!("{}", Value::Object(outcome.json.clone()));
    Ok(())
}
