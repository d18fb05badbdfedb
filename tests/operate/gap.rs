//! The optime gap: a cutover begins at none, unless the source refuses users' writes first.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use shardlift::observe::phase::Phase;
use shardlift::observe::prepared::Prepared;
use shardlift::observe::status::Snapshot;
use tokio::task::JoinHandle;

use super::prepare::Till;
use super::{command, output};
use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

/// Ops that are paid for a second each: nothing more is applied for as long.
const PAID_FOR: u64 = 200;

/// A run that is ready, and behind a till by seconds, for as long as it is throttled.
async fn behind(source: &str, target: &str) -> (Engine, Arc<Till>, JoinHandle<()>) {
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    command(&engine, &["throttle", "--ops-s", "1"]);
    let (till, working) = Till::open(source).await;
    let before = engine.status().await.unwrap().sum().ops_applied;
    let late = |now: &Snapshot| {
        let paid_for = before + PAID_FOR <= now.sum().ops_applied;
        now.phase == Phase::Ready && paid_for && 3_000 <= now.lag_ms
    };
    let now = engine.until("behind", late).await;
    assert!(!now.can_cutover, "{now:?}");
    (engine, till, working)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_waits_for_the_gap_unless_users_writes_are_refused_first() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    const GAP: &str = "the optime gap of a → b is ";
    let (engine, till, working) = behind(&from, &to).await;
    let refused = engine.ask_for_cutover().await.expect_err("it is behind");
    assert!(
        refused.contains(GAP) && refused.contains("--block-writes"),
        "{refused}"
    );
    let refused = output(&engine, &["cutover", "--no-wait"]);
    assert_eq!(refused.status.code(), Some(8));
    let told: Prepared = serde_json::from_str(&command(&engine, &["prepare", "--json"])).unwrap();
    let names_it = told.obstacles.iter().any(|text| text.contains(GAP));
    assert!(!told.can_cutover && names_it, "{told:?}");
    let now = engine.status().await.unwrap();
    assert!(
        now.phase == Phase::Ready && now.table().contains(GAP),
        "{now:?}"
    );
    till.closed.store(true, Relaxed);
    working.await.unwrap();
    // The command waits meanwhile, and says for what.
    let asking = Command::new(env!("CARGO_BIN_EXE_shardlift"))
        .args(["cutover", "--api-port", engine.port()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(engine.status().await.unwrap().phase, Phase::Ready);
    command(&engine, &["throttle", "--ops-s", "0"]);
    let told = asking.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert!(text.contains(GAP), "{text}");
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&from, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_that_blocks_writes_begins_at_any_gap_and_applies_it() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let (engine, till, working) = behind(&from, &to).await;
    let told = output(&engine, &["cutover", "--block-writes"]);
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert!(till.refused.load(Relaxed), "{text}");
    till.closed.store(true, Relaxed);
    working.await.unwrap();
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&from, &to).await;
}
