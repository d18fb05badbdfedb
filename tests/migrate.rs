//! Whole migrations under the full load, seed after seed: what arrives is
//! compared byte by byte.

use std::time::Duration;

use loadgen::check::{self, CheckOptions};
use loadgen::load::pick::KeyChoice;
use loadgen::load::{Load, LoadHandle, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture;

const SEEDS: [u64; 20] = [
    1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765, 10946,
];
/// Seeds that share what was populated; the target begins empty for each.
const SEEDS_PER_POPULATION: usize = 5;
const DOCS: u64 = 5_000;
/// Names on the target of some turns.
const RENAMES: [&str; 4] = [
    "shop=social",
    "social=shop",
    "telemetry.audit=telemetry.ring",
    "types=kinds",
];
/// How long the load goes on after the engine said that it is ready.
const LOAD_AFTER_READY: Duration = Duration::from_millis(700);

/// What the seed adds to the load. Every combination comes up among the seeds.
fn load_options(uri: &str, seed: u64, turn: usize) -> LoadOptions {
    let mix = if turn % 3 == 2 {
        "all,large_transactions=3"
    } else {
        "all"
    };
    LoadOptions {
        seed,
        rate: 900.0 + 50.0 * (turn % 9) as f64,
        connections: 4,
        keys: if turn % 2 == 1 {
            KeyChoice::Zipf
        } else {
            KeyChoice::Uniform
        },
        mix: mix.parse().unwrap(),
        ddl: turn % 4 >= 2,
        ..LoadOptions::new(uri)
    }
}

pub(crate) async fn stop(load: LoadHandle) {
    let report = load.stop().await;
    assert!(report.errors.is_empty(), "{report}");
}

pub(crate) async fn expect_equal(source: &str, target: &str) {
    expect_equal_as(source, target, &[]).await;
}

/// By other names on the target.
async fn expect_equal_as(source: &str, target: &str, renames: &[&str]) {
    let options = CheckOptions {
        max_differences: 1_000,
        rename: renames.iter().map(ToString::to_string).collect(),
        ..CheckOptions::default()
    };
    let report = check::compare(source, target, &options).await.unwrap();
    assert!(report.equal, "{report}");
}

/// Drops all that a former migration brought.
pub(crate) async fn wipe(target: &Client) {
    for name in target.list_database_names().await.unwrap() {
        if !["admin", "config", "local"].contains(&name.as_str()) {
            target.database(&name).drop().await.unwrap();
        }
    }
}

/// One migration per seed, the load from before its start until after it is ready.
async fn every_seed_arrives_equal(source: &str, target: &str) {
    let client = Client::with_uri_str(target).await.unwrap();
    for (turn, seed) in SEEDS.into_iter().enumerate() {
        eprintln!("seed {seed}");
        if turn % SEEDS_PER_POPULATION == 0 {
            let args = PopulateArgs {
                seed,
                docs: DOCS,
                drop: true,
                capped: true,
                ..PopulateArgs::new(source)
            };
            populate::populate(&args).await.unwrap();
        }
        wipe(&client).await;
        let load = Load::start(load_options(source, seed, turn)).await.unwrap();
        let renames = if turn % 7 == 6 { &RENAMES[..] } else { &[] };
        let mut flags = vec!["--scan-order", ["id", "natural"][turn % 2]];
        flags.extend(renames.iter().flat_map(|rename| ["--rename", rename]));
        let mut engine = Engine::start(source, target, &flags).await;
        engine.until_ready().await;
        tokio::time::sleep(LOAD_AFTER_READY).await;
        stop(load).await;
        engine.cut_over().await;
        expect_equal_as(source, target, renames).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_under_load_arrives_equal_whatever_the_seed() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    every_seed_arrives_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_under_load_arrives_equal_whatever_the_seed() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    every_seed_arrives_equal(&source.uri(), &target.uri()).await;
}
