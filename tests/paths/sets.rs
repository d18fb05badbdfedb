//! Whole migrations of replica sets, every path.

use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};

use super::set;
use crate::engine::Engine;
use crate::migrate::{expect_equal, stop};

const DOCS: u64 = 2_000;
/// Ops per second while the data moves.
const RATE: f64 = 300.0;

async fn moves(from: &str, to: &str) {
    let (source, target) = tokio::join!(set(from, "a"), set(to, "b"));
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
