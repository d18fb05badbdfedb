//! Seeded ops of every kind through one migration: a batch of `loadgen fuzz`, in short.

use std::path::PathBuf;
use std::time::Duration;

use loadgen::fuzz::{self, Settings};
use loadgen::server::version;

async fn arrive_equal(seeds: std::ops::RangeInclusive<u64>, renamed: bool) {
    let settings = Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_shardlift")),
        source: version::DEFAULT,
        target: version::DEFAULT,
        members: 1,
        batch: 6,
        stop_after: Duration::MAX,
        // The seed is enough to find out by hand.
        shrink: Duration::ZERO,
        renamed,
        engine_args: Vec::new(),
    };
    let mut work = tempfile::tempdir().unwrap();
    let seeds: Vec<u64> = seeds.collect();
    let outcome = fuzz::run_seeds(&settings, &seeds, work.path())
        .await
        .unwrap();
    if !outcome.failures.is_empty() {
        work.disable_cleanup(true);
        let logs = work.path().display();
        panic!("{:#?}\nlogs: {logs}", outcome.failures);
    }
    assert_eq!(outcome.seeds, 6);
    let kinds = outcome.tally.ops.len();
    assert!(20 <= kinds, "of {kinds} kinds only: {:?}", outcome.tally);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_ops_of_every_kind_arrive_equal() {
    arrive_equal(1..=6, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_ops_of_every_kind_arrive_equal_under_other_names() {
    arrive_equal(7..=12, true).await;
}
