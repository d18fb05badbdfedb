//! `loadgen bench`, as a program: it measures, compares, and tells both in its
//! last line.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_copy_is_measured_beside_its_floor_and_both_sides_are_equal() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("copy.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args([
        "bench",
        "copy",
        "--quick",
        "--json",
        "--docs",
        "3000",
        "--collections",
        "3",
        "--cache-gb",
        "0.25",
    ]);
    command.arg("--report").arg(&report);
    // Built with the workspace's tests; where only this package is tested, the suite builds it.
    let engine = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("shardlift");
    if engine.is_file() {
        command.arg("--engine").arg(engine);
    }
    let output = command.output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let json: Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!(json["equal"], true, "{json}");
    assert_eq!(
        (json["suite"].as_str(), json["docs"].as_u64()),
        (Some("copy"), Some(3_000))
    );
    let timed = [
        "copy_s",
        "scan_s",
        "write_s",
        "floor_s",
        "ratio",
        "native_s",
        "native_ratio",
        "rss_peak_mb",
    ];
    assert!(
        timed
            .iter()
            .all(|figure| json[*figure].as_f64().is_some_and(|value| 0.0 < value)),
        "{json}"
    );
    // So little work may take less CPU than the kernel counts.
    let counted = ["engine_cpu_us_per_doc", "server_cpu_us_per_doc"];
    assert!(
        counted.iter().all(|figure| json[*figure].is_number()),
        "{json}"
    );
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("<svg") && page.contains("floor_s"), "{page}");
}
