//! Whole migrations of replica sets, every path.

use bson::doc;
use loadgen::cluster::ReplicaSet;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};

use super::set;
use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::{expect_equal, stop};

const DOCS: u64 = 2_000;
/// Ops per second while the data moves.
const RATE: f64 = 300.0;

async fn moves(from: &str, to: &str) {
    let (source, target) = tokio::join!(set(from, "a"), set(to, "b"));
    // Which 5.0 has no more.
    if to < "5.0" {
        small_areas(&source).await;
    }
    moves_under_load(&source, &target).await;
}

/// With the feature compatibility version of the release before, on both sides.
async fn moves_as(release: &str, fcv: &str) {
    let (source, target) = tokio::join!(set(release, "a"), set(release, "b"));
    for side in [&source, &target] {
        let lowered = doc! {"setFeatureCompatibilityVersion": fcv};
        run(&side.client().await.unwrap(), "admin", lowered).await;
    }
    moves_under_load(&source, &target).await;
}

/// Documents with an index for small areas, which the load does not make.
async fn small_areas(source: &ReplicaSet) {
    let client = source.client().await.unwrap();
    let index = doc! {"key": {"at": "geoHaystack", "kind": 1}, "name": "near", "bucketSize": 0.5};
    let create = doc! {"createIndexes": "places", "indexes": [index]};
    run(&client, "areas", create).await;
    let rows: Vec<_> = (0..100)
        .map(|n| doc! {"_id": n, "at": [n, -n % 90], "kind": n % 3})
        .collect();
    run(
        &client,
        "areas",
        doc! {"insert": "places", "documents": rows},
    )
    .await;
}

async fn moves_under_load(source: &ReplicaSet, target: &ReplicaSet) {
    let (source, target) = (source.uri(), target.uri());
    let args = PopulateArgs {
        docs: DOCS,
        capped: true,
        ..PopulateArgs::new(&source)
    };
    populate::populate(&args).await.unwrap();
    let options = LoadOptions {
        rate: RATE,
        connections: 2,
        ddl: true,
        mix: "all".parse().unwrap(),
        ..LoadOptions::new(&source)
    };
    let load = Load::start(options).await.unwrap();
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    stop(load).await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_2_moves_to_4_2() {
    moves("4.2", "4.2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_4_moves_to_4_4() {
    moves("4.4", "4.4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_5_0_moves_to_5_0() {
    moves("5.0", "5.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_2_moves_to_4_4() {
    moves("4.2", "4.4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_2_moves_to_5_0() {
    moves("4.2", "5.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_2_moves_to_6_0() {
    moves("4.2", "6.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_4_moves_to_5_0() {
    moves("4.4", "5.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_4_moves_to_6_0() {
    moves("4.4", "6.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_5_0_moves_to_6_0() {
    moves("5.0", "6.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_5_0_as_4_4_moves_to_its_like() {
    moves_as("5.0", "4.4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_4_4_as_4_2_moves_to_its_like() {
    moves_as("4.4", "4.2").await;
}
