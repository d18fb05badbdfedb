//! Transactions straight on the shards: what they write, and what they leave
//! in the oplog.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use loadgen::cluster::transactions::{TransactionSession, Write};
use loadgen::cluster::{ShardedCluster, shared};
use mongodb::Client;

use crate::{admin, fill, shard};

fn insert(db: &str, n: i32) -> Write {
    Write::new(
        db,
        doc! { "insert": "c", "documents": [{ "_id": n, "k": n }] },
    )
}

/// `db.c` with everything below 100 on shard0, the rest on shard1.
async fn two_halves(cluster: &ShardedCluster, db: &str) -> (Client, TransactionSession) {
    let client = cluster.client().await.unwrap();
    shard(cluster, db, doc! { "k": 1 }).await;
    admin(
        cluster,
        doc! { "split": format!("{db}.c"), "middle": { "k": 100 } },
    )
    .await;
    admin(
        cluster,
        doc! { "moveChunk": format!("{db}.c"), "find": { "k": 100 }, "to": "shard1" },
    )
    .await;
    fill(&client, db, 10).await;
    let shards = cluster
        .shards()
        .iter()
        .map(|shard| (shard.name().to_owned(), shard.hosts()));
    let session = TransactionSession::connect(&shards.collect::<Vec<_>>())
        .await
        .unwrap();
    (client, session)
}

/// Oplog entries of transactions with a write to `db.c`, and those that end one.
async fn oplog(cluster: &ShardedCluster, shard: usize, db: &str) -> Vec<Document> {
    let client = cluster.shards()[shard].client().await.unwrap();
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let filter = doc! { "o.applyOps.ns": format!("{db}.c"), "txnNumber": { "$exists": true } };
    oplog
        .find(filter)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

/// The shard owns what is written: nothing may look like a migration.
fn assert_not_from_migrate(entries: &[Document]) {
    for entry in entries {
        assert!(!entry.contains_key("fromMigrate"), "{entry}");
        let operations = entry
            .get_document("o")
            .unwrap()
            .get_array("applyOps")
            .unwrap();
        assert!(
            !operations
                .iter()
                .any(|op| op.as_document().unwrap().contains_key("fromMigrate")),
            "{entry}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_commits_and_aborts() {
    let cluster = shared::sharded().await.unwrap();
    let (client, mut session) = two_halves(&cluster, "txn1").await;
    let update = Write::new(
        "txn1",
        doc! { "update": "c", "updates": [{ "q": { "k": 1 }, "u": { "$set": { "x": 1 } } }] },
    );
    session
        .commit(&(0, vec![insert("txn1", 50), update]))
        .await
        .unwrap();
    session.abort(&(0, vec![insert("txn1", 51)])).await.unwrap();
    let c = client.database("txn1").collection::<Document>("c");
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 11);
    assert_eq!(c.count_documents(doc! { "x": 1 }).await.unwrap(), 1);
    let entries = oplog(&cluster, 0, "txn1").await;
    assert_eq!(entries.len(), 1, "the aborted one leaves no trace");
    assert_not_from_migrate(&entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shards_commit_what_was_prepared() {
    let cluster = shared::sharded().await.unwrap();
    let (client, mut session) = two_halves(&cluster, "txn2").await;
    let parts = [
        (1, vec![insert("txn2", 200)]),
        (0, vec![insert("txn2", 60)]),
    ];
    session.commit_across(&parts).await.unwrap();
    session
        .commit_across(&[
            (0, vec![insert("txn2", 61)]),
            (1, vec![insert("txn2", 201)]),
        ])
        .await
        .unwrap();
    let c = client.database("txn2").collection::<Document>("c");
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 14);
    for shard in [0, 1] {
        let entries = oplog(&cluster, shard, "txn2").await;
        assert_eq!(entries.len(), 2);
        assert!(entries.iter().all(|entry| {
            entry
                .get_document("o")
                .unwrap()
                .get_bool("prepare")
                .unwrap()
        }));
        assert_not_from_migrate(&entries);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_ones_can_be_left_open() {
    let cluster = shared::sharded().await.unwrap();
    let (client, mut session) = two_halves(&cluster, "txn3").await;
    session
        .prepare_and_abort(&(0, vec![insert("txn3", 70)]))
        .await
        .unwrap();
    let at = session
        .prepare(&(1, vec![insert("txn3", 300)]))
        .await
        .unwrap();
    session.commit_prepared(1, at).await.unwrap();
    session
        .prepare(&(1, vec![insert("txn3", 301)]))
        .await
        .unwrap();
    session.abort_prepared(1).await.unwrap();
    // A refused write ends its transaction; the session goes on.
    assert_eq!(
        session
            .commit(&(0, vec![insert("txn3", 1)]))
            .await
            .unwrap_err()
            .code,
        Some(11000)
    );
    session
        .commit(&(0, vec![insert("txn3", 71)]))
        .await
        .unwrap();
    let c = client.database("txn3").collection::<Document>("c");
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 12);
}
