//! `loadgen soak --operators`, as a program and in its short form: whatever a second
//! operator does on both sides, the engine ends equal, starts over, or says no.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs it and answers its last line.
fn soak(arguments: &[&str]) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_loadgen"));
    let mut command = Command::new(program);
    command.args([
        "soak",
        "--operators",
        "--members",
        "1",
        "--documents",
        "1000",
        "--rate",
        "100",
        "--ddl",
    ]);
    command.args([
        "--minutes",
        "0.25",
        "--deed-every-s",
        "0.8",
        "--fault-every-s",
        "5",
    ]);
    command.args(arguments);
    // Built with the workspace's tests; where only this package is tested, it builds one.
    let engine = program.with_file_name("shardlift");
    if engine.is_file() {
        command.arg("--engine").arg(engine);
    }
    let output = command.output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stderr}");
    let last = stdout.lines().last().unwrap_or_default();
    let json: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {stdout}"));
    assert_eq!(
        (&json["equal"], &json["lost"]),
        (&Value::Bool(true), &Value::from(0)),
        "{json}"
    );
    assert!(
        json["operator"]["deeds"]
            .as_u64()
            .is_some_and(|deeds| 3 <= deeds),
        "{json}"
    );
    json
}

#[test]
fn a_migration_is_equal_though_an_operator_works_on_both_clusters() {
    let json = soak(&["--seed", "3"]);
    // Each refusal is met with what it says, and is no end.
    let refused: u64 = json["refusals"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    let anew = json["begun_anew"].as_u64().unwrap() + json["shards_begun_anew"].as_u64().unwrap();
    assert_eq!(refused, anew, "{json}");
}

#[test]
fn a_migration_is_equal_though_an_operator_works_on_both_replica_sets() {
    soak(&["--seed", "4", "--replica-set"]);
}
