//! The `loadgen` command: arguments in, one match over the commands, exit code out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use loadgen::error::Result;
use loadgen::server::open_files;
use loadgen::{bench, check, cli, demo, fuzz, load, matrix, populate, sim, soak, walk};

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
    Demo(demo::Args),
    Soak(soak::Args),
    Matrix(matrix::Args),
    Fuzz(fuzz::Args),
    Bench(bench::Args),
    Walk(walk::Args),
    /// Run the engine's own logic through seeded faults; exit code 1 where it fails.
    Sim(sim::SimArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    open_files::raise();
    run(Arguments::parse().command).await.unwrap_or_else(|e| {
        eprintln!("loadgen: {e}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Cluster(args) => cli::cluster::run(args).await?,
        Command::Populate(args) => populate::run(args).await?,
        Command::Load(args) => load::run(args).await?,
        Command::Check(args) => {
            return Ok(if check::run(args).await? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Demo(args) => return demo::run(args).await,
        Command::Soak(args) => return soak::run(args).await,
        Command::Matrix(args) => return matrix::run(args).await,
        Command::Fuzz(args) => return fuzz::run(args).await,
        Command::Bench(args) => return bench::run(args).await,
        Command::Walk(args) => return walk::run(args).await,
        Command::Sim(args) => {
            return Ok(if sim::run(&args) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
