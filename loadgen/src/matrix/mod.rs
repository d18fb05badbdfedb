//! `loadgen matrix`: releases by topologies by logins, a whole live migration each.
//!
//! Owns the way through the cells and what is told of them.

mod args;
pub mod cell;
mod further;
mod ground;
pub mod story;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Map, Value, json};

pub use args::Args;

use crate::cli::signals;
use crate::engine::{build, program};
use crate::error::{Error, Result};
use crate::server::{find, version};
use cell::Cell;
use story::{Passed, Routers};

const EXIT_INTERRUPTED: u8 = 130;
/// Members of a replica set: elections are real ones.
const MEMBERS: usize = 3;
/// Writes per second.
const RATE: f64 = 400.0;

/// What all cells share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The engine.
    pub program: PathBuf,
    /// Of a replica set; a shard has one.
    pub members: usize,
    pub docs: u64,
    /// Writes per second, and how long they go on at least.
    pub rate: f64,
    pub seconds: f64,
    pub seed: u64,
    pub engine_args: Vec<String>,
    /// Routers to take, `:` between them, each for the release it is of; None: those that
    /// are found.
    pub mongos: Option<PathBuf>,
}

/// Runs the cells that are asked for, or what a signal leaves of them; nothing that was
/// started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let cells = args.cells();
    if cells.is_empty() {
        let remedy = "see all by `loadgen matrix --list`";
        return Err(Error::new("no cell fits").remedy(remedy));
    }
    if args.list {
        // A reader may have seen enough.
        let mut out = std::io::stdout();
        _ = cells.iter().try_for_each(|cell| writeln!(out, "{cell}"));
        return Ok(ExitCode::SUCCESS);
    }
    let failed = tokio::select! {
        failed = all(&args, &cells) => failed?,
        signal = signals::asked_to_stop() => {
            eprintln!("loadgen: {}: engine, load and servers are stopped", signal?);
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many failed.
async fn all(args: &Args, cells: &[Cell]) -> Result<usize> {
    let began = Instant::now();
    let mut work = tempfile::Builder::new()
        .prefix("shardlift-matrix-")
        .tempdir()?;
    let settings = Settings {
        program: match &args.engine {
            Some(path) => program::given(path)?,
            None => build::engine(work.path()).await?,
        },
        members: MEMBERS,
        docs: args.docs,
        rate: RATE,
        seconds: args.seconds,
        seed: args.seed,
        engine_args: args.engine_args.clone(),
        mongos: args.mongos.clone(),
    };
    if let Some(paths) = &settings.mongos {
        // All must run, also those of which no cell has need.
        find::mongos_among(paths.clone(), version::DEFAULT).await?;
    }
    let tell = |line: String| {
        if !args.json {
            println!("{line}");
        }
    };
    tell(head());
    let (mut failures, mut routers) = (Vec::new(), Map::new());
    for cell in cells {
        let (began, dir) = (Instant::now(), work.path().join(cell.name()));
        std::fs::create_dir(&dir)?;
        match story::prove(cell, &settings, &dir).await {
            Ok(passed) => {
                tell(line(cell, &passed));
                if let Some(kinds) = &passed.routers {
                    routers.insert(cell.name(), json!(kinds));
                }
                std::fs::remove_dir_all(&dir)?;
            }
            Err(e) => {
                let seconds = began.elapsed().as_secs_f64();
                tell(format!("{cell} FAILED {seconds:>7.1}  {}", first_line(&e)));
                tell(format!("        see {}", dir.display()));
                eprintln!("{cell}: {e}");
                failures.push(failure(cell, &e, &dir)?);
            }
        }
    }
    let failed = failures.len();
    if 0 < failed {
        // What is in it is named.
        work.disable_cleanup(true);
    }
    println!(
        "{}",
        json!({
            "cells": cells.len(),
            "failed": failed,
            "seconds": began.elapsed().as_secs_f64().round(),
            "routers": routers,
            "failures": failures,
        })
    );
    Ok(failed)
}

/// Leaves the whole error beside the logs.
fn failure(cell: &Cell, error: &Error, dir: &Path) -> Result<Value> {
    std::fs::write(dir.join("error.txt"), format!("{cell}\n{error}\n"))?;
    Ok(json!({"cell": cell.name(), "error": first_line(error), "logs": dir}))
}

fn first_line(error: &Error) -> &str {
    error.message.lines().next().unwrap_or_default()
}

fn head() -> String {
    format!(
        "{:<7} {:<7} {:<12} {:<11} {:<6} {:>7} {:>9} {:>7} {:>7} {:>6} {:>9} {:>10}  {}",
        "source",
        "target",
        "topology",
        "login",
        "",
        "seconds",
        "documents",
        "writes",
        "in txns",
        "starts",
        "elections",
        "cutover ms",
        "routers"
    )
}

fn line(cell: &Cell, passed: &Passed) -> String {
    format!(
        "{cell} {:<6} {:>7.1} {:>9} {:>7} {:>7} {:>6} {:>9} {:>10}  {}",
        "ok",
        passed.seconds,
        passed.documents,
        passed.writes,
        passed.in_transactions,
        passed.engine_starts,
        passed.elections,
        passed.cutover_ms,
        passed
            .routers
            .as_ref()
            .map_or("-".to_owned(), Routers::to_string)
    )
}
