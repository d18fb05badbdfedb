//! Temporary front door until the cluster half is merged.
use clap::Parser;
#[derive(Parser)]
enum Cli {
    Populate(loadgen::populate::PopulateArgs),
    Check(loadgen::check::CheckArgs),
}
#[tokio::main]
async fn main() {
    let done = match Cli::parse() {
        Cli::Populate(args) => loadgen::populate::run(args).await,
        Cli::Check(args) => loadgen::check::run(args).await.map(drop),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1)
    }
}
