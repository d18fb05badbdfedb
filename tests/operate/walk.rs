//! The procedure of an operator from end to end, in short: `loadgen walk`.

use std::path::Path;

use loadgen::cli::releases::Releases;
use loadgen::server::version;
use loadgen::walk::{Args, COMMANDS, Outcome, walk};
use shardlift::config::cli;

/// The walk itself fails if it does not run one of its list.
#[test]
fn the_walk_runs_every_command_that_there_is() {
    let command = cli::command();
    let mut there = Vec::new();
    for verb in command.get_subcommands() {
        let name = verb.get_name();
        let what = verb.get_positionals().find(|arg| arg.get_id() == "what");
        let values = what.map(|what| what.get_possible_values());
        match values.unwrap_or_default().as_slice() {
            [] => there.push(name.to_owned()),
            values => there.extend(values.iter().map(|v| format!("{name} {}", v.get_name()))),
        }
    }
    let mut walked = Vec::from(COMMANDS);
    walked.retain(|command| !command.contains(" --"));
    there.sort();
    walked.sort_unstable();
    assert_eq!(walked, there);
}

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
    assert!(failed == 0 && 45 < steps, "{steps} steps, {failed} failed");
}
