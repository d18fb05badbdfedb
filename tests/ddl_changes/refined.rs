//! Shard keys that are refined while a migration runs: no log tells of it, and the target's are
//! refined alike once it has their indexes.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use mongodb::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::ddl_changes::renames::rename;
use crate::ddl_changes::{DB, fill, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

const REFINED: [&str; 5] = ["copied", "followed", "down", "renamed", "twice"];
/// A watch looks every 15 s.
const LOOKED_WITHIN: Duration = Duration::from_secs(90);

pub(crate) struct Sides {
    pub(crate) source: ShardedCluster,
    target: ShardedCluster,
}

impl Sides {
    pub(crate) async fn start(before: impl AsyncFnOnce(&Client)) -> Sides {
        let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
        let sides = Sides { source, target };
        before(&sides.source.client().await.unwrap()).await;
        sides
    }

    pub(crate) async fn engine(&self) -> Engine {
        Engine::start(&self.source.uri(), &self.target.uri(), &[]).await
    }

    pub(crate) async fn engine_to_crash(&self, place: &str) -> Engine {
        Engine::start_to_crash(&self.source.uri(), &self.target.uri(), &[], place).await
    }

    /// The target has this shard key.
    pub(crate) async fn until_sharded_by(&self, coll: &str, key: Document) {
        let target = self.target.client().await.unwrap();
        let rows = target
            .database("config")
            .collection::<Document>("collections");
        let since = Instant::now();
        let wanted = doc! {"_id": format!("d.{coll}"), "key": key, "dropped": {"$ne": true}};
        while rows.find_one(wanted.clone()).await.unwrap().is_none() {
            assert!(since.elapsed() < LOOKED_WITHIN, "{wanted} on the target");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A change that is found only in the cutover calls it off, and no more than that.
    pub(crate) async fn end(&self, mut engine: Engine) {
        engine.until_ready().await;
        let since = Instant::now();
        for tries in 1.. {
            engine.request_cutover().await;
            let over = |now: &Snapshot| now.is_final() || tries <= now.cutovers_given_up;
            let now = engine.until("cut over", over).await;
            if now.is_final() {
                break;
            }
            assert!(since.elapsed() < LOOKED_WITHIN, "{:?}", now.last_cutover);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(engine.end().await.code, 0);
        expect_equal(&self.source.uri(), &self.target.uri()).await;
    }
}

pub(crate) async fn shard(client: &Client, coll: &str, key: Document) {
    let shard = doc! {"shardCollection": format!("d.{coll}"), "key": key};
    run(client, "admin", shard).await;
}

/// On both shards.
async fn before(client: &Client) {
    let home = doc! {"enableSharding": DB, "primaryShard": "shard0"};
    run(client, "admin", home).await;
    for coll in REFINED {
        shard(client, coll, doc! {"k": 1}).await;
        let ns = format!("d.{coll}");
        let halves = doc! {"split": &ns, "middle": {"k": 100}};
        run(client, "admin", halves).await;
        let upper = doc! {"moveChunk": &ns, "find": {"k": 100}, "to": "shard1"};
        run(client, "admin", upper).await;
        fill(client, coll, 300).await;
    }
    shard(client, "hashed", doc! {"k": "hashed"}).await;
    fill(client, "hashed", 300).await;
}

/// By an index of its own, which the server asks for.
pub(crate) async fn refine(client: &Client, coll: &str, key: Document) {
    let name: Vec<&str> = key.keys().map(String::as_str).collect();
    let index = doc! {"key": key.clone(), "name": name.join(" and ")};
    run_all(client, [doc! {"createIndexes": coll, "indexes": [index]}]).await;
    let refine = doc! {"refineCollectionShardKey": format!("d.{coll}"), "key": key};
    run(client, "admin", refine).await;
}

/// Documents of both shards, by all fields of the key.
pub(crate) async fn add_some(client: &Client, coll: &str, from: i32) {
    let rows = (from..from + 10).map(|id| doc! {"_id": id, "k": id % 200, "note": "new"});
    let rows: Vec<Document> = rows.collect();
    run_all(client, [doc! {"insert": coll, "documents": rows}]).await;
    let (id, k) = (from, from % 200);
    let which = doc! {"_id": id, "k": k, "note": "new"};
    let updated = doc! {"q": which, "u": {"$set": {"more": 1}}};
    let (id, k) = (from + 1, (from + 1) % 200);
    let deleted = doc! {"q": {"_id": id, "k": k, "note": "new"}, "limit": 1};
    let commands = [
        doc! {"update": coll, "updates": [updated]},
        doc! {"delete": coll, "deletes": [deleted]},
    ];
    run_all(client, commands).await;
}

/// Within what had the same values in the key of before.
async fn split(client: &Client, coll: &str, at: Document) {
    let split = doc! {"split": format!("d.{coll}"), "middle": at};
    run(client, "admin", split).await;
}

fn by_note() -> Document {
    doc! {"k": 1, "note": 1}
}

fn by_id() -> Document {
    doc! {"k": 1, "note": 1, "_id": 1}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refined_keys_are_followed_whenever_they_are_refined() {
    let sides = Sides::start(before).await;
    let client = sides.source.client().await.unwrap();
    let rows = (1_000..9_000).map(|i| doc! {"_id": i, "k": i % 200, "note": "x".repeat(500)});
    let copied = client.database(DB).collection::<Document>("copied");
    copied.insert_many(rows).await.unwrap();
    let mut engine = sides.engine().await;
    let begun = |now: &shardlift::observe::status::Snapshot| {
        matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
    };
    engine.until("copying", begun).await;
    refine(&client, "copied", by_note()).await;
    split(&client, "copied", doc! {"k": 50, "note": "m"}).await;
    add_some(&client, "copied", 20_000).await;
    engine.until_ready().await;
    let hashed = doc! {"k": "hashed", "note": 1};
    refine(&client, "followed", by_note()).await;
    refine(&client, "hashed", hashed.clone()).await;
    refine(&client, "twice", by_note()).await;
    for coll in ["followed", "hashed", "twice"] {
        add_some(&client, coll, 20_000).await;
    }
    for coll in ["copied", "followed", "twice"] {
        sides.until_sharded_by(coll, by_note()).await;
    }
    sides.until_sharded_by("hashed", hashed).await;
    engine.kill();
    // While nobody looks; the second one as one.
    refine(&client, "twice", by_id()).await;
    refine(&client, "down", by_note()).await;
    refine(&client, "down", by_id()).await;
    split(&client, "down", doc! {"k": 50, "note": "m", "_id": 5}).await;
    add_some(&client, "down", 20_000).await;
    let mut engine = sides.engine().await;
    sides.until_sharded_by("twice", by_id()).await;
    sides.until_sharded_by("down", by_id()).await;
    engine.until_ready().await;
    engine.kill();
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    refine(&client, "renamed", by_note()).await;
    rename(&client, "renamed", "renamed by now", false).await;
    add_some(&client, "renamed by now", 20_000).await;
    refine(&client, "followed", by_id()).await;
    run_all(&client, [doc! {"drop": "followed"}]).await;
    sides.until_sharded_by("renamed by now", by_note()).await;
    for coll in ["copied", "down", "twice", "hashed"] {
        add_some(&client, coll, 30_000).await;
    }
    sides.end(engine).await;
}

/// After it was made, and after the pairs have recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refined_key_is_met_again_after_a_crash() {
    let sides = Sides::start(before).await;
    let client = sides.source.client().await.unwrap();
    let mut engine = sides.engine_to_crash("refined").await;
    engine.until_ready().await;
    refine(&client, "twice", by_note()).await;
    engine.crashed().await;
    sides.until_sharded_by("twice", by_note()).await;
    add_some(&client, "twice", 20_000).await;
    // Refined further before anyone knows that the target was.
    refine(&client, "twice", by_id()).await;
    let engine = sides.engine_to_crash("sharded-recorded").await;
    engine.crashed().await;
    sides.until_sharded_by("twice", by_id()).await;
    rename(&client, "twice", "once", false).await;
    add_some(&client, "once", 20_010).await;
    for _ in 0..2 {
        let mut engine = sides.engine().await;
        engine.until_ready().await;
        engine.kill();
    }
    // Renamed before it is recorded.
    let mut engine = sides.engine_to_crash("refined").await;
    engine.until_ready().await;
    refine(&client, "renamed", by_note()).await;
    engine.crashed().await;
    rename(&client, "renamed", "renamed by now", false).await;
    add_some(&client, "renamed by now", 20_000).await;
    let engine = sides.engine().await;
    sides.end(engine).await;
}

/// Made on the target with the key of before, and recorded by no pair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_collection_that_was_refined_before_it_is_recorded_is_made_to_the_end() {
    let sides = Sides::start(before).await;
    let client = sides.source.client().await.unwrap();
    let mut engine = sides.engine_to_crash("creation-made").await;
    engine.until_ready().await;
    shard(&client, "new", doc! {"k": 1}).await;
    engine.crashed().await;
    sides.until_sharded_by("new", doc! {"k": 1}).await;
    refine(&client, "new", by_note()).await;
    add_some(&client, "new", 20_000).await;
    let engine = sides.engine().await;
    sides.until_sharded_by("new", by_note()).await;
    sides.end(engine).await;
}

/// The target's is the last that carries the key of before, when it is to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_of_the_key_of_before_goes_once_that_of_the_refined_key_is_built() {
    let sides = Sides::start(before).await;
    let client = sides.source.client().await.unwrap();
    let engine = sides.engine_to_crash("unit-started").await;
    engine.crashed().await;
    refine(&client, "copied", by_note()).await;
    let old = doc! {"dropIndexes": "copied", "index": {"k": 1}};
    run_all(&client, [old]).await;
    let engine = sides.engine().await;
    sides.until_sharded_by("copied", by_note()).await;
    sides.end(engine).await;
}
