//! The procedure of an operator from end to end, in short: `loadgen walk`.

use std::path::Path;

use loadgen::cli::releases::Releases;
use loadgen::server::version;
use loadgen::walk::{Args, Outcome, walk};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_does_what_the_procedure_wants_of_it() {
    let args = Args {
        docs: 6_000,
        rate: 100.0,
        shards: 2,
        seed: 1,
        releases: Releases {
            server_version: version::DEFAULT,
            source_version: None,
            target_version: None,
        },
        engine: None,
        json: true,
    };
    let work = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_shardlift"));
    let Outcome { steps, failed } = walk(&args, program, work.path()).await.unwrap();
    assert!(failed == 0 && 30 < steps, "{steps} steps, {failed} failed");
}
