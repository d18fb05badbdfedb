//! Transactions in every form the oplog knows, by hand on the shards of a
//! cluster: in several entries, prepared, aborted, open when the engine starts.

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use loadgen::cluster::transactions::{Part, TransactionSession, Write};
use mongodb::Client;
use shardlift::observe::counters::PairSnapshot;
use shardlift::observe::phase::Phase;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// Three of them are beyond what one oplog entry holds.
const LARGE_BYTES: usize = 6 << 20;

/// Negative `_id`s live on shard 0, the others on shard 1.
async fn make(source: &ShardedCluster) -> Client {
    let client = source.client().await.unwrap();
    run(
        &client,
        "admin",
        doc! {"enableSharding": "bank", "primaryShard": "shard0"},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"shardCollection": "bank.accounts", "key": {"_id": 1}},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"split": "bank.accounts", "middle": {"_id": 0}},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"moveChunk": "bank.accounts", "find": {"_id": 0}, "to": "shard1"},
    )
    .await;
    let rows = client.database("bank").collection::<Document>("accounts");
    rows.insert_many((-500..500).map(|i| doc! {"_id": i, "n": 0, "note": "x".repeat(500)}))
        .await
        .unwrap();
    client
}

async fn session(source: &ShardedCluster) -> TransactionSession {
    let shards: Vec<_> = source
        .shards()
        .iter()
        .map(|shard| (shard.name().to_owned(), shard.hosts()))
        .collect();
    TransactionSession::connect(&shards).await.unwrap()
}

/// An insert, an update, a delete and a new insert, all on one shard.
fn small(shard: usize, n: i32) -> Part {
    let id = |i: i32| if shard == 0 { -i } else { i };
    let writes = vec![
        Write::new(
            "bank",
            doc! {"insert": "accounts", "documents": [{"_id": id(1_000 + n), "n": n}]},
        ),
        Write::new(
            "bank",
            doc! {"update": "accounts", "updates": [{"q": {"_id": id(n)}, "u": {"$inc": {"n": n}}}]},
        ),
        Write::new(
            "bank",
            doc! {"delete": "accounts", "deletes": [{"q": {"_id": id(100 + n)}, "limit": 1}]},
        ),
        Write::new(
            "bank",
            doc! {"insert": "accounts", "documents": [{"_id": id(100 + n), "n": "again"}]},
        ),
    ];
    (shard, writes)
}

/// More than 16 MB, so several oplog entries.
fn large(shard: usize, n: i32) -> Part {
    let (_, mut writes) = small(shard, n);
    let sign = if shard == 0 { -1 } else { 1 };
    for i in 0..3 {
        let document = doc! {"_id": sign * (10_000 + 10 * n + i), "large": "y".repeat(LARGE_BYTES)};
        writes.push(Write::new(
            "bank",
            doc! {"insert": "accounts", "documents": [document]},
        ));
    }
    (shard, writes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_take_effect_at_their_commit_or_not_at_all() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    make(&source).await;
    // Prepared before the engine starts; ended while it copies and after.
    let mut early = Vec::new();
    for (shard, part) in [
        (0, small(0, 1)),
        (1, large(1, 2)),
        (0, small(0, 3)),
        (1, small(1, 4)),
    ] {
        let mut session = session(&source).await;
        let at = session.prepare(&part).await.unwrap();
        early.push((session, shard, at));
    }
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine
        .until("copying", |now| {
            matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
        })
        .await;
    let mut late = early.split_off(2);
    for (mut session, shard, at) in early {
        session.commit_prepared(shard, at).await.unwrap();
    }
    let (mut other, _, _) = late.pop().unwrap();
    let (mut last, shard, at) = late.pop().unwrap();
    every_form(&source, 10).await;
    other.abort_prepared(1).await.unwrap();
    last.commit_prepared(shard, at).await.unwrap();
    engine.until_ready().await;
    every_form(&source, 30).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

async fn every_form(source: &ShardedCluster, first: i32) {
    let mut session = session(source).await;
    session.commit(&small(0, first)).await.unwrap();
    session.commit(&large(1, first + 1)).await.unwrap();
    session
        .commit_across(&[small(0, first + 2), small(1, first + 2)])
        .await
        .unwrap();
    session
        .commit_across(&[large(0, first + 3), large(1, first + 3)])
        .await
        .unwrap();
    session.abort(&small(0, first + 4)).await.unwrap();
    session
        .prepare_and_abort(&small(1, first + 5))
        .await
        .unwrap();
    session
        .prepare_and_abort(&large(0, first + 6))
        .await
        .unwrap();
}

/// A transaction that is open keeps the cutover waiting; it is never torn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_calls_the_cutover_off() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    make(&source).await;
    let mut engine =
        Engine::start(&source.uri(), &target.uri(), &["--cutover-timeout-s", "2"]).await;
    engine.until_ready().await;
    let mut session = session(&source).await;
    let at = session.prepare(&small(1, 7)).await.unwrap();
    engine.request_cutover().await;
    let now = engine
        .until("called off", |now| now.cutovers_given_up == 1)
        .await;
    assert!(
        now.last_cutover.as_ref().unwrap().contains("transaction"),
        "{now:?}"
    );
    session.commit_prepared(1, at).await.unwrap();
    engine.request_cutover().await;
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&source.uri(), &target.uri()).await;
}

/// A coordinator that hangs leaves its documents prepared: what is copied does not
/// wait for it, however long it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stays_prepared_does_not_stop_the_copy() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let client = make(&source).await;
    let mut sessions = [session(&source).await, session(&source).await];
    let first = sessions[0].prepare(&small(0, 1)).await.unwrap();
    sessions[1].prepare(&large(1, 2)).await.unwrap();
    // So that every marker is after it.
    run(
        &client,
        "bank",
        doc! {"insert": "accounts", "documents": [{"_id": -600}, {"_id": 600}]},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let copied =
        |pair: &PairSnapshot| 0 < pair.units_total && pair.units_copied == pair.units_total;
    engine
        .until("copied", |now| {
            !now.pairs.is_empty() && now.pairs.iter().all(copied)
        })
        .await;
    sessions[0].commit_prepared(0, first).await.unwrap();
    sessions[1].abort_prepared(1).await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
