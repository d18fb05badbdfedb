//! Sharded sources of 4.2 and 4.4 on which a document gets another shard key value and stays
//! on its shard: the log has an ordinary delta, which a shard of the target refuses (66).

use bson::{Bson, Document, Uuid, doc};
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use loadgen::server::version::Release;
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::expect_equal;
use crate::releases::rig::of;

/// Documents. Each has ten times its `_id` as its shard key: those below 100 are on shard0.
const DOCS: i32 = 200;
/// Of the document whose shard key changes.
const ID: i32 = 7;
/// Of no document yet, on its shard.
const KEY: i32 = 555;

async fn cluster(release: Release) -> ShardedCluster {
    // As `validate` asks for: what is refused is read again from history.
    let history = ("maxTargetSnapshotHistoryWindowInSeconds", "300");
    let options = ShardedOptions {
        release,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        set_parameters: vec![(history.0.to_owned(), history.1.to_owned())],
        stand_in_only: true,
        ..ShardedOptions::default()
    };
    let cluster = ShardedCluster::start(options).await.unwrap();
    cluster.admin(doc! {"balancerStop": 1}).await.unwrap();
    cluster
}

async fn populate(cluster: &ShardedCluster, client: &Client) {
    for command in [
        doc! {"enableSharding": "d", "primaryShard": "shard0"},
        doc! {"shardCollection": "d.keyed", "key": {"k": 1}},
        doc! {"split": "d.keyed", "middle": {"k": 1_000}},
        doc! {"moveChunk": "d.keyed", "find": {"k": 1_000}, "to": "shard1"},
    ] {
        cluster.admin(command).await.unwrap();
    }
    let documents: Vec<Document> = (0..DOCS)
        .map(|id| doc! {"_id": id, "k": id * 10, "n": 0})
        .collect();
    run(
        client,
        "d",
        doc! {"insert": "keyed", "documents": documents},
    )
    .await;
}

/// As a router sends it: as a retryable write, with the version that the shard has. The shard
/// takes it from nobody else.
async fn change_key(cluster: &ShardedCluster, client: &Client) {
    let chunks = client.database("config").collection::<Document>("chunks");
    let of_shard = doc! {"ns": "d.keyed", "shard": "shard0"};
    let newest = chunks.find_one(of_shard).sort(doc! {"lastmod": -1}).await;
    let newest = newest.unwrap().unwrap();
    let version: Vec<Bson> = ["lastmod", "lastmodEpoch"]
        .map(|field| newest.get(field).unwrap().clone())
        .to_vec();
    let set = doc! {"q": {"_id": ID, "k": ID * 10}, "u": {"$set": {"k": KEY, "n": 1}}};
    let update = doc! {
        "update": "keyed",
        "updates": [set],
        "shardVersion": version,
        "lsid": {"id": Uuid::new()},
        "txnNumber": 1_i64,
    };
    let mut link = cluster.shards()[0].primary_link().await.unwrap();
    let reply = link.command("d", update).await.unwrap();
    assert_eq!(reply.get_i32("nModified").unwrap(), 1, "{reply}");
    // Nothing of the test would count otherwise.
    let shard = cluster.shards()[0].client().await.unwrap();
    let log = shard.database("local").collection::<Document>("oplog.rs");
    let entry = log.find_one(doc! {"op": "u", "ns": "d.keyed", "o2._id": ID});
    let entry = entry.await.unwrap().unwrap();
    let set = entry.get_document("o").unwrap().get_document("$set");
    assert_eq!(set.unwrap().get_i32("k").unwrap(), KEY, "{entry}");
}

async fn arrives(release: Release) {
    let (a, b) = tokio::join!(cluster(release), cluster(release));
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    populate(&a, &from).await;
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    // Beside it, what no shard refuses.
    let others: Vec<Document> = (0..DOCS)
        .filter(|id| *id != ID)
        .map(|id| doc! {"q": {"_id": id, "k": id * 10}, "u": {"$set": {"n": 1}}})
        .collect();
    run(&from, "d", doc! {"update": "keyed", "updates": others}).await;
    change_key(&a, &from).await;
    let outcome = engine.cut_over().await;
    let resolved = &outcome.summary["documents_resolved"];
    assert_eq!(*resolved, 1, "{release}: {}", outcome.summary);
    let keyed = to.database("d").collection::<Document>("keyed");
    let there = keyed.find_one(doc! {"_id": ID}).await.unwrap().unwrap();
    assert_eq!(there, doc! {"_id": ID, "k": KEY, "n": 1}, "{release}");
    expect_equal(&a.uri(), &b.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_key_that_changes_on_4_2_makes_its_document_doubtful_and_arrives() {
    arrives(of(4, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_key_that_changes_on_4_4_makes_its_document_doubtful_and_arrives() {
    arrives(of(4, 4)).await;
}
