//! Temporary front door until the cluster half is merged.
use clap::Parser;
#[derive(Parser)]
enum Cli {
    Populate(loadgen::populate::PopulateArgs),
}
#[tokio::main]
async fn main() {
    let done = match Cli::parse() {
        Cli::Populate(args) => loadgen::populate::run(args).await,
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1)
    }
}
