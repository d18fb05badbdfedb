//! Whole migrations of sharded clusters before 6.0 with what the load has not: orphans, DDL
//! on sharded collections and views, and a chunk that moves meanwhile.

use bson::{Document, doc};
use loadgen::cluster::orphans;

use super::clusters::{admin, cluster};
use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::{expect_equal, wipe};
use crate::watch::{expect_stopped, fill, move_to, write};

/// `fcv`: of both sides, if it is not the release's own.
async fn moves_and_stops(release: &str, fcv: Option<&str>) {
    let (source, target) = tokio::join!(cluster(release, "shard"), cluster(release, "other"));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    for client in [&a, &b].into_iter().filter(|_| fcv.is_some()) {
        admin(client, doc! {"setFeatureCompatibilityVersion": fcv}).await;
    }
    fill(&a).await;
    admin(&a, doc! {"split": "shop.c", "middle": {"k": 250}}).await;
    move_to(&a, 250, "shard1").await;
    let orphans = orphans::count(&source, "shop.c").await.unwrap();
    assert_eq!(orphans, 250);
    run(
        &a,
        "shop",
        doc! {"create": "few", "viewOn": "c", "pipeline": [{"$match": {"k": {"$lt": 9}}}]},
    )
    .await;

    let (from, to) = (source.uri(), target.uri());
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    for command in [
        doc! {"collMod": "c", "validator": {"k": {"$exists": true}}, "validationLevel": "moderate"},
        doc! {"createIndexes": "c", "indexes": [
            {"key": {"n": 1}, "name": "n", "sparse": true},
            {"key": {"d": 1}, "name": "d", "expireAfterSeconds": 3_600},
        ]},
        doc! {"createIndexes": "c", "indexes": [{"key": {"gone": 1}, "name": "gone"}]},
        doc! {"dropIndexes": "c", "index": "gone"},
        doc! {"collMod": "c", "index": {"name": "d", "expireAfterSeconds": 60}},
        doc! {"collMod": "few", "viewOn": "c", "pipeline": [{"$match": {"k": {"$lt": 99}}}]},
        doc! {"create": "later", "viewOn": "few", "pipeline": []},
        doc! {"create": "plain"},
        doc! {"insert": "plain", "documents": [{"_id": 1}]},
    ] {
        run(&a, "shop", command).await;
    }
    write(&a).await;
    let outcome = engine.cut_over().await;
    assert_eq!(outcome.summary["documents_orphaned"], 250);
    // Routers up to 4.4 miss that a name was dropped and made again.
    let is_told = outcome.log.text().contains("flushRouterConfig");
    assert_eq!(is_told, release < "5.0");
    expect_equal(&from, &to).await;

    wipe(&b).await;
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    move_to(&a, 10, "shard1").await;
    let moved = a.database("shop").collection::<Document>("c");
    let change = doc! {"$set": {"n": 7}};
    moved.update_one(doc! {"k": 11}, change).await.unwrap();
    let _ = engine.ask_for_cutover().await;
    expect_stopped(engine, "owners of shop.c changed on the source").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_4_2_with_orphans_and_ddl_moves_and_stops_for_a_chunk() {
    moves_and_stops("4.2", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_5_0_as_4_4_with_orphans_and_ddl_moves_and_stops_for_a_chunk() {
    moves_and_stops("5.0", Some("4.4")).await;
}
