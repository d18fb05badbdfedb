//! The engine's own logic under seeded faults, in short; `loadgen sim` runs more. And
//! whether the mutations that show its worth still fit the code.

/// In two of three of their collections by `_id`.
const SEEDS: u64 = 450;

/// Gates, lanes, checkpoints and resume bring the target to what the source is,
/// whatever elections take back, whatever runs late, wherever it is killed (R2–R7).
#[test]
fn the_target_is_exact_after_any_faults() {
    let outcome = loadgen::sim::run_seeds(0, SEEDS, 2, false, false);
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    // Else it shows little about refusals.
    let (refused, doubtful) = (outcome.seeds_refused, outcome.seeds_doubtful);
    assert!(
        SEEDS < 3 * refused && SEEDS < 3 * doubtful,
        "refusals in {refused} seeds, doubtful documents in {doubtful}"
    );
    assert!(SEEDS < 4 * outcome.met.modified, "{:?}", outcome.met);
}

/// Each row of the mutations names a text of the code that is there, once: one that no
/// longer is would break nothing, and show nothing.
#[test]
fn every_mutation_still_fits_the_code() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mutations/run.py");
    let checked = std::process::Command::new("python3")
        .args([script, "--check"])
        .output()
        .expect("python3 is there");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}
