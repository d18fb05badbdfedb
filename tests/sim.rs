//! The engine's own logic under seeded faults, in short; `loadgen sim` runs more.

/// Gates, lanes, checkpoints and resume bring the target to what the source is,
/// whatever elections take back, whatever runs late, wherever it is killed (R2–R7).
#[test]
fn the_target_is_exact_after_any_faults() {
    let failures = loadgen::sim::run_seeds(0, 300, 2, false, false);
    assert!(failures.is_empty(), "{failures:#?}");
}
