//! Seeded ops of every kind through one migration: a batch of `loadgen fuzz`, in short.

use std::path::PathBuf;
use std::time::Duration;

use loadgen::fuzz::{self, Settings};
use loadgen::server::version;

fn settings() -> Settings {
    Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_shardlift")),
        source: version::DEFAULT,
        target: version::DEFAULT,
        sharded: false,
        members: 1,
        batch: 6,
        stop_after: Duration::MAX,
        // The seed is enough to find out by hand.
        shrink: Duration::ZERO,
        renamed: false,
        engine_args: Vec::new(),
    }
}

async fn arrive_equal(settings: Settings, seeds: std::ops::RangeInclusive<u64>) {
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
    assert_eq!(outcome.seeds, seeds.len() as u64);
    let kinds = outcome.tally.ops.len();
    assert!(20 <= kinds, "of {kinds} kinds only: {:?}", outcome.tally);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_ops_of_every_kind_arrive_equal() {
    arrive_equal(settings(), 1..=6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_ops_of_every_kind_arrive_equal_under_other_names() {
    let settings = Settings {
        renamed: true,
        ..settings()
    };
    arrive_equal(settings, 7..=12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_ops_of_every_kind_arrive_equal_in_a_cluster() {
    let settings = Settings {
        sharded: true,
        ..settings()
    };
    arrive_equal(settings, 13..=16).await;
}
