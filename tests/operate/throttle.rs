//! Throttles of a real run: by the operator, and by itself where a side is behind.

use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::{Client, ClientSession};
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use super::command;
use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

const MIB: u64 = 1 << 20;

/// What is not committed stays in the cache, dirty: 20 MB, more than servers clean by
/// themselves at such a rate.
async fn uncommitted(client: &Client) -> ClientSession {
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let documents = client.database("shop").collection::<Document>("orders");
    let pad = "x".repeat(4_000_000);
    for i in 0..5 {
        let one = documents.insert_one(doc! {"_id": format!("uncommitted {i}"), "pad": &pad});
        one.session(&mut session).await.unwrap();
    }
    session
}

/// So many documents of 4 KB.
async fn fill(client: &Client, count: i32) {
    let documents = client.database("shop").collection::<Document>("orders");
    let pad = "x".repeat(4_000);
    for from in (0..count).step_by(1_000) {
        let batch = (from..from + 1_000).map(|i| doc! {"_id": i, "pad": &pad});
        documents.insert_many(batch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying_keeps_to_its_limit_and_holds_while_the_targets_cache_is_dirty() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    fill(&source.client().await.unwrap(), 12_000).await;
    let b = target.client().await.unwrap();
    let flags = ["--copy-mb-s", "4", "--target-dirty-max", "1"];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    // What two scanners have in hand.
    let allowed = |now: &Snapshot| (4.0 * now.elapsed_s * MIB as f64) as u64 + 16 * MIB;
    let held = |now: &Snapshot| {
        assert!(
            now.pairs.is_empty() || now.sum().bytes_copied <= allowed(now),
            "{now:?}"
        );
        !now.throttle.held_by.is_empty()
    };
    engine
        .until("copying", |now| now.phase == Phase::Copying)
        .await;
    let mut session = uncommitted(&b).await;
    let now = engine.until("held", held).await;
    session.abort_transaction().await.unwrap();
    let told = "of the cache of target shard b there waits to be written to disk";
    assert!(now.throttle.held_by[0].starts_with(told), "{now:?}");
    assert!(
        now.table()
            .contains("copying holds: of the cache of target shard b")
    );
    let text = command(&engine, &["throttle", "--copy-mb-s", "0"]);
    assert!(text.contains("copying holds: of the cache"), "{text}");
    let sum = now.sum();
    assert!(sum.bytes_copied < sum.bytes_total, "{now:?}");
    // A checkpoint of the server cleans its cache; what is copied next makes it dirty again.
    loop {
        let now = engine.status().await.unwrap();
        if now.phase == Phase::Ready {
            break;
        }
        fixture::run(&b, "admin", doc! {"fsync": 1}).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let text = command(&engine, &["throttle", "--ops-s", "1000"]);
    assert!(text.contains("at most 1000 ops/s applied"), "{text}");
    fixture::insert(&source.client().await.unwrap(), "shop", "more").await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

pub(super) async fn lock(set: &ReplicaSet, member: usize, on: bool) {
    let host = &set.member_hosts()[member];
    let uri = format!("mongodb://{host}/?directConnection=true");
    let client = Client::with_uri_str(uri).await.unwrap();
    let command = if on {
        doc! {"fsync": 1, "lock": true}
    } else {
        doc! {"fsyncUnlock": 1}
    };
    fixture::run(&client, "admin", command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying_holds_while_a_secondary_of_the_source_or_the_targets_majority_is_behind() {
    let options = |name: &str| ReplicaSetOptions {
        name: name.to_owned(),
        members: 3,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        ..ReplicaSetOptions::default()
    };
    let (source, target) = tokio::join!(
        ReplicaSet::start(options("a")),
        ReplicaSet::start(options("b"))
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    let a = source.client().await.unwrap();
    fill(&a, 4_000).await;
    let primary = source.primary().await.unwrap();
    let secondary = (primary + 1) % 3;
    lock(&source, secondary, true).await;
    let writing = tokio::spawn(async move {
        for _ in 0.. {
            fixture::insert(&a, "shop", "noise").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    // So slow that the copy is not done before somebody looks. Copying goes on at three quarters
    // of the most: a busy secondary is behind by a second now and then.
    let flags = [
        "--source-lag-max-s",
        "4",
        "--target-lag-max-s",
        "4",
        "--copy-mb-s",
        "1",
    ];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    let held = |now: &Snapshot| {
        now.throttle
            .held_by
            .iter()
            .any(|why| why.starts_with("a secondary of source shard a"))
    };
    engine.until("held", held).await;
    command(&engine, &["throttle", "--copy-mb-s", "0"]);
    // Following goes on.
    let before = engine.status().await.unwrap().sum();
    let followed = |now: &Snapshot| before.ops_read + 10 < now.sum().ops_read;
    let now = engine.until("following", followed).await;
    assert!(now.phase == Phase::Copying && held(&now), "{now:?}");

    let primary = target.primary().await.unwrap();
    let others = [(primary + 1) % 3, (primary + 2) % 3];
    for member in others {
        lock(&target, member, true).await;
    }
    let majority = |now: &Snapshot| {
        let mut reasons = now.throttle.held_by.iter();
        reasons.any(|why| why.starts_with("the majority of target shard b"))
    };
    engine.until("held by the target, too", majority).await;
    for member in others {
        lock(&target, member, false).await;
    }
    engine
        .until("held by the source alone", |now| !majority(now))
        .await;
    lock(&source, secondary, false).await;
    engine
        .until("on again", |now| now.throttle.held_by.is_empty())
        .await;
    engine.until_ready().await;
    writing.abort();
    let _ = writing.await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_paused_in_the_midst_of_its_copy_goes_on_and_arrives() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let args = PopulateArgs {
        docs: 20_000,
        ..PopulateArgs::new(source.uri())
    };
    populate::populate(&args).await.unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--copy-mb-s", "1"]).await;
    let midst = |now: &Snapshot| now.phase == Phase::Copying && 0 < now.sum().units_copied;
    engine.until("in the midst of its copy", midst).await;
    engine.pause("by ann").await.unwrap();
    let now = engine
        .until("paused", |now| now.phase == Phase::Paused)
        .await;
    let sum = now.sum();
    assert!(sum.units_copied < sum.units_total, "{now:?}");
    fixture::insert(&source.client().await.unwrap(), "late", "orders").await;
    command(&engine, &["throttle", "--copy-mb-s", "0"]);
    engine.resume().await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
