//! The `loadgen` command: arguments in, one match over the commands, exit code out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use loadgen::{check, cli, load, populate};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Local MongoDB clusters and workloads to try shardlift with.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Cluster(cli::cluster::Args),
    /// Fill a deployment with seeded content of every kind.
    Populate(populate::PopulateArgs),
    /// Write to a populated deployment, at a rate or as fast as it goes.
    Load(load::LoadArgs),
    /// Compare two deployments byte by byte; exit code 1 where they differ.
    Check(check::CheckArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Cluster(args) => cli::cluster::run(args).await.map(|()| true),
        Command::Populate(args) => populate::run(args).await.map(|()| true).map_err(Into::into),
        Command::Load(args) => load::run(args).await.map(|()| true).map_err(Into::into),
        Command::Check(args) => check::run(args).await.map_err(Into::into),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("loadgen: {e}");
            ExitCode::FAILURE
        }
    }
}
