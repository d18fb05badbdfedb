//! Whole migrations of replica sets under load, on each path from and to releases before
//! 6.0. What arrives is compared byte by byte.

use std::time::Duration;

use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use loadgen::server::version::Release;

use crate::engine::Engine;
use crate::migrate::{expect_equal, stop};
use crate::releases::rig::{of, set};

const DOCS: u64 = 3_000;

async fn arrives_equal(from: Release, to: Release, seed: u64) {
    eprintln!("{from} to {to}");
    let (source, target) = tokio::join!(set("a", from), set("b", to));
    let (source, target) = (source.uri(), target.uri());
    let args = PopulateArgs {
        seed,
        docs: DOCS,
        capped: true,
        ..PopulateArgs::new(&source)
    };
    populate::populate(&args).await.unwrap();
    let options = LoadOptions {
        seed,
        rate: 500.0,
        connections: 4,
        mix: "all".parse().unwrap(),
        ..LoadOptions::new(&source)
    };
    let load = Load::start(options).await.unwrap();
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop(load).await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_5_0_to_5_0_and_upward() {
    arrives_equal(of(5, 0), of(5, 0), 1).await;
    arrives_equal(of(5, 0), of(6, 0), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_4_4_to_4_4() {
    arrives_equal(of(4, 4), of(4, 4), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_4_2_to_4_2_and_upward() {
    arrives_equal(of(4, 2), of(4, 2), 5).await;
    arrives_equal(of(4, 2), of(6, 0), 8).await;
}
