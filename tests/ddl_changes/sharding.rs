//! Layouts that change on a sharded source while a migration runs, and give no document another
//! owner: a collection sharded where it is, a shard key refined, zones. And what stops the run.

use std::time::Instant;

use loadgen::cluster::ShardedCluster;

use super::*;
use crate::fixture::TIMEOUT;
use crate::recorded::shardlift;

async fn admin(client: &Client, command: Document) {
    run(client, "admin", command).await;
}

async fn insert(client: &Client, coll: &str, ids: std::ops::Range<i32>) {
    let documents = ids.map(|id| doc! {"_id": id, "k": id, "u": format!("{id}")});
    let documents: Vec<Document> = documents.collect();
    run(client, "d", doc! {"insert": coll, "documents": documents}).await;
}

async fn delete(client: &Client, coll: &str, id: i32) {
    let delete = doc! {"q": {"_id": id, "k": id}, "limit": 1};
    run(client, "d", doc! {"delete": coll, "deletes": [delete]}).await;
}

async fn index(client: &Client, coll: &str, key: Document, name: &str) {
    let index = doc! {"key": key, "name": name};
    run(
        client,
        "d",
        doc! {"createIndexes": coll, "indexes": [index]},
    )
    .await;
}

async fn shard(client: &Client, coll: &str, key: Document) {
    admin(
        client,
        doc! {"shardCollection": format!("d.{coll}"), "key": key},
    )
    .await;
}

async fn refine(client: &Client, coll: &str, key: Document) {
    admin(
        client,
        doc! {"refineCollectionShardKey": format!("d.{coll}"), "key": key},
    )
    .await;
}

/// Waits until the target has it by this key.
async fn until_sharded(target: &Client, coll: &str, key: Document) {
    let rows = target
        .database("config")
        .collection::<Document>("collections");
    let deadline = Instant::now() + 6 * TIMEOUT;
    let wanted = doc! {"_id": format!("d.{coll}"), "key": key};
    while rows.find_one(wanted.clone()).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "{coll} is not sharded so");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// On shard0, but for the half of `halves`.
async fn populate(a: &Client) {
    admin(a, doc! {"enableSharding": "d", "primaryShard": "shard0"}).await;
    for coll in ["filled", "filled_too"] {
        insert(a, coll, 0..600).await;
    }
    run(a, "d", doc! {"create": "empty"}).await;
    shard(a, "halves", doc! {"k": 1}).await;
    admin(a, doc! {"split": "d.halves", "middle": {"k": 300}}).await;
    admin(
        a,
        doc! {"moveChunk": "d.halves", "find": {"k": 300}, "to": "shard1"},
    )
    .await;
    insert(a, "halves", 0..600).await;
}

async fn stopped(engine: Engine) -> String {
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert!([4, 6].contains(&outcome.code), "{log}");
    log.split_once("error: ").expect("it says why").1.to_owned()
}

struct Sides {
    source: ShardedCluster,
    target: ShardedCluster,
}

impl Sides {
    async fn engine(&self) -> Engine {
        Engine::start(&self.source.uri(), &self.target.uri(), &[]).await
    }

    async fn engine_to_crash(&self, place: &str) -> Engine {
        let (source, target) = (self.source.uri(), self.target.uri());
        Engine::start_to_crash(&source, &target, &[], place).await
    }
}

/// Each is followed, also where the process ends in the middle of it.
async fn sharded_in_place_and_refined(sides: &Sides, a: &Client, b: &Client) {
    let mut engine = sides.engine_to_crash("relaid").await;
    engine.until_ready().await;
    index(a, "filled", doc! {"k": 1}, "k").await;
    shard(a, "filled", doc! {"k": 1}).await;
    insert(a, "filled", 600..700).await;
    engine.crashed().await;

    let engine = sides.engine_to_crash("relaid-recorded").await;
    delete(a, "filled", 3).await;
    engine.crashed().await;

    let engine = sides.engine_to_crash("relaid").await;
    index(a, "halves", doc! {"k": 1, "u": 1}, "k_u").await;
    refine(a, "halves", doc! {"k": 1, "u": 1}).await;
    insert(a, "halves", 600..700).await;
    engine.crashed().await;
    delete(a, "halves", 3).await;

    let mut engine = sides.engine().await;
    // The usual way: made, indexed, sharded, filled.
    run(a, "d", doc! {"create": "usual"}).await;
    index(a, "usual", doc! {"k": 1}, "k").await;
    shard(a, "usual", doc! {"k": 1}).await;
    insert(a, "usual", 0..100).await;
    index(a, "filled_too", doc! {"u": 1, "k": 1}, "u_k").await;
    shard(a, "filled_too", doc! {"u": 1, "k": 1}).await;
    // With chunks on both shards.
    shard(a, "empty", doc! {"_id": "hashed"}).await;
    until_sharded(b, "empty", doc! {"_id": "hashed"}).await;
    insert(a, "empty", 0..200).await;
    until_sharded(b, "usual", doc! {"k": 1}).await;
    until_sharded(b, "filled_too", doc! {"u": 1, "k": 1}).await;
    until_sharded(b, "halves", doc! {"k": 1, "u": 1}).await;
    delete(a, "filled_too", 5).await;
    engine.until_ready().await;
    engine.kill();
}

/// New ones that a new collection needs, and those of collections that are there.
async fn zones(sides: &Sides, a: &Client) {
    let range = |coll: &str, min: i32, max: i32, zone: Option<&str>| {
        doc! {"updateZoneKeyRange": format!("d.{coll}"), "min": {"k": min}, "max": {"k": max}, "zone": zone}
    };
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    for (shard, zone) in [
        ("shard1", "north"),
        ("shard0", "south"),
        ("shard0", "unused"),
    ] {
        admin(a, doc! {"addShardToZone": shard, "zone": zone}).await;
    }
    admin(a, range("zoned", 0, 100, Some("north"))).await;
    shard(a, "zoned", doc! {"k": 1}).await;
    insert(a, "zoned", 0..200).await;
    // Where its documents are.
    admin(a, range("usual", 0, 50, Some("south"))).await;
    engine.until_ready().await;
    admin(a, range("usual", 0, 50, None)).await;
    admin(a, range("usual", 50, 60, Some("south"))).await;
    admin(a, doc! {"removeShardFromZone": "shard0", "zone": "unused"}).await;
    engine.kill();
}

/// Its chunks are on both shards, and the target holds documents of one.
async fn sharded_over_others(sides: &Sides, a: &Client) {
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    run(a, "d", doc! {"create": "late"}).await;
    engine.until_ready().await;
    let made = sides.target.client().await.unwrap();
    let names = || async { made.database("d").list_collection_names().await.unwrap() };
    while !names().await.contains(&"late".to_owned()) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    engine.until_ready().await;
    engine.kill();
    shard(a, "late", doc! {"_id": "hashed"}).await;
    insert(a, "late", 0..200).await;
    let error = stopped(sides.engine().await).await;
    let recopy = "`shardlift recopy --shard shard0 --ns d.late`";
    assert!(
        error.contains("d.late was sharded on the source") && error.contains(recopy),
        "{error}"
    );
    let (source, target) = (sides.source.uri(), sides.target.uri());
    let recopy = ["recopy", "--shard", "shard0", "--ns", "d.late"];
    let of_sides = ["--source", &source, "--target", &target];
    let (code, text) = shardlift(&[&recopy[..], &of_sides].concat(), None).await;
    assert!(code == Some(0) && text.contains("made anew: 1"), "{text}");
}

/// What is made on it stops the run, and without it the same command goes on.
async fn one_more_shard(sides: &Sides, a: &Client) {
    let more = fixture::replica_set("more", &["--shardsvr"]).await;
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    let host = more.members()[0].host();
    admin(a, doc! {"addShard": format!("more/{host}"), "name": "more"}).await;
    admin(a, doc! {"enableSharding": "far", "primaryShard": "more"}).await;
    let error = stopped(engine).await;
    assert!(
        error.contains("shard more of the source was added") && error.contains("removeShard"),
        "{error}"
    );
    a.database("far").drop().await.unwrap();
    let shards = a.database("config").collection::<Document>("shards");
    while shards
        .find_one(doc! {"_id": "more"})
        .await
        .unwrap()
        .is_some()
    {
        admin(a, doc! {"removeShard": "more"}).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layouts_that_give_no_document_another_owner_are_followed() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let sides = Sides { source, target };
    populate(&a).await;
    sharded_in_place_and_refined(&sides, &a, &b).await;
    zones(&sides, &a).await;
    sharded_over_others(&sides, &a).await;
    one_more_shard(&sides, &a).await;
    let mut engine = sides.engine().await;
    insert(&a, "late", 200..250).await;
    delete(&a, "usual", 1).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&sides.source.uri(), &sides.target.uri()).await;
}
