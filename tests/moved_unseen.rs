//! Chunks that moved before anybody looked at their collection, or between two attempts of
//! which neither knew what they were: what is read afterwards must tell of it.

use bson::{Bson, Document, doc};
use shardlift::cluster::catalog::{Namespace, versions};
use shardlift::cluster::deployment::Deployment;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::watch::{cluster, expect_stopped, fill, move_to, write};

/// Major part of the newest chunk version of `shop.<coll>`.
async fn major(side: &Deployment, coll: &str) -> u32 {
    let ns = Namespace {
        db: "shop".to_owned(),
        coll: coll.to_owned(),
    };
    let rows = versions::sharded(side, Some(&ns)).await.unwrap();
    rows[0].sharded.version.unwrap().major
}

/// What a new collection's map tells of its chunks: had one moved, whoever wrote there
/// before is to be looked for elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_map_begins_with_major_version_one_however_it_is_spread_and_a_move_leaves_it_higher()
 {
    let cluster = cluster().await;
    let client = cluster.client().await.unwrap();
    let side = fixture::source(&cluster.uri()).await;
    run(
        &client,
        "admin",
        doc! {"enableSharding": "shop", "primaryShard": "shard0"},
    )
    .await;
    for (shard, zone) in [("shard0", "low"), ("shard1", "high")] {
        run(
            &client,
            "admin",
            doc! {"addShardToZone": shard, "zone": zone},
        )
        .await;
    }
    for (coll, min, max, zone) in [
        ("zoned", Bson::MinKey, Bson::Int32(0), "low"),
        ("zoned", Bson::Int32(0), Bson::MaxKey, "high"),
    ] {
        let range = doc! {"min": {"k": min}, "max": {"k": max}, "zone": zone};
        let mut command = doc! {"updateZoneKeyRange": format!("shop.{coll}")};
        command.extend(range);
        run(&client, "admin", command).await;
    }
    fixture::insert(&client, "shop", "filled").await;
    run(
        &client,
        "shop",
        doc! {"createIndexes": "filled", "indexes": [{"key": {"k": 1}, "name": "k"}]},
    )
    .await;
    for (coll, how) in [
        ("plain", doc! {"key": {"k": 1}}),
        ("hashed", doc! {"key": {"k": "hashed"}}),
        (
            "many",
            doc! {"key": {"k": "hashed"}, "numInitialChunks": 300},
        ),
        ("zoned", doc! {"key": {"k": 1}}),
        ("filled", doc! {"key": {"k": 1}}),
    ] {
        let mut command = doc! {"shardCollection": format!("shop.{coll}")};
        command.extend(how);
        run(&client, "admin", command).await;
        assert_eq!(major(&side, coll).await, 1, "{coll}");
    }
    run(
        &client,
        "admin",
        doc! {"split": "shop.plain", "middle": {"k": 0}},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"split": "shop.plain", "middle": {"k": 9}},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"mergeChunks": "shop.plain", "bounds": [{"k": Bson::MinKey}, {"k": 9}]},
    )
    .await;
    assert_eq!(major(&side, "plain").await, 1, "after splits and a merge");
    run(
        &client,
        "admin",
        doc! {"moveChunk": "shop.plain", "find": {"k": 5}, "to": "shard1"},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"moveChunk": "shop.plain", "find": {"k": 9}, "to": "shard1"},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"mergeChunks": "shop.plain", "bounds": [{"k": Bson::MinKey}, {"k": Bson::MaxKey}]},
    )
    .await;
    assert!(
        1 < major(&side, "plain").await,
        "after all of it moved and was merged"
    );
}

/// Of a collection made while nobody followed the moved map would be all that is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_of_a_new_collection_that_moved_before_it_was_looked_at_stops_the_run() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let a = source.client().await.unwrap();
    fill(&a).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);
    run(
        &a,
        "admin",
        doc! {"shardCollection": "shop.new", "key": {"k": 1}},
    )
    .await;
    let rows = a.database("shop").collection::<Document>("new");
    rows.insert_many((0..100).map(|k| doc! {"_id": k, "k": k}))
        .await
        .unwrap();
    run(
        &a,
        "admin",
        doc! {"moveChunk": "shop.new", "find": {"k": 1}, "to": "shard1"},
    )
    .await;
    let engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    expect_stopped(
        engine,
        "a chunk of the new collection shop.new moved on the source",
    )
    .await;
}

/// A rename gives the map another epoch: what is recorded of it then must tell of the move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_moved_away_and_back_before_a_rename_stops_the_run_on_either_side() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a).await;
    let mut name = "shop.c";
    for (side, moving) in [("source", &a), ("target", &b)] {
        let mut engine = Engine::start(&source.uri(), &target.uri(), &["--restart"]).await;
        engine.until_ready().await;
        // What moved on the target while no engine was there is found before any rename.
        let up = if side == "target" {
            Some(engine)
        } else {
            engine.signal("TERM");
            assert_eq!(engine.end().await.code, 130);
            None
        };
        for to in ["shard1", "shard0"] {
            let chunk = doc! {"moveChunk": name, "find": {"k": 10}, "to": to};
            run(moving, "admin", chunk).await;
            let coll = name.trim_start_matches("shop.");
            let write = doc! {"q": {"k": 20}, "u": {"$inc": {"n": 1}}};
            run(&a, "shop", doc! {"update": coll, "updates": [write]}).await;
        }
        let renamed = if name == "shop.c" {
            "shop.c2"
        } else {
            "shop.c"
        };
        run(&a, "admin", doc! {"renameCollection": name, "to": renamed}).await;
        name = renamed;
        let engine = match up {
            Some(engine) => engine,
            None => Engine::start(&source.uri(), &target.uri(), &[]).await,
        };
        // By either name.
        let outcome = engine.end().await;
        let log = outcome.log.text();
        assert_eq!(outcome.code, 6, "{side}");
        assert!(log.contains("owners of shop.c"), "{side}");
        assert!(log.contains(&format!("changed on the {side}")), "{side}");
    }
}

/// What a release without versions recorded gets them once: what moves between two later
/// attempts is noticed as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_an_older_release_did_not_record_are_recorded_by_the_next_attempt() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let a = source.client().await.unwrap();
    fill(&a).await;
    let ready_and_stopped = async || {
        let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
        engine.until_ready().await;
        engine.signal("TERM");
        assert_eq!(engine.end().await.code, 130);
    };
    ready_and_stopped().await;
    for shard in target.shards() {
        let state = shard
            .client()
            .await
            .unwrap()
            .database(shardlift::state::DATABASE);
        let forgotten =
            doc! {"$set": {"sharded.version": Bson::Null, "target_version": Bson::Null}};
        state
            .collection::<Document>("collections")
            .update_many(doc! {}, forgotten)
            .await
            .unwrap();
    }
    ready_and_stopped().await;
    move_to(&a, 10, "shard1").await;
    write(&a).await;
    move_to(&a, 10, "shard0").await;
    let engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    expect_stopped(engine, "owners of shop.c changed on the source").await;
}
