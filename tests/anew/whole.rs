//! A collection of which documents have other owners by now is laid out anew and copied again on
//! all shards, and all else goes on where it is.

use loadgen::cluster::ShardedCluster;
use shardlift::cluster::catalog;

use super::*;
use crate::state::ns;
use crate::watch::{cluster, fill, move_to};

struct Sides {
    source: ShardedCluster,
    target: ShardedCluster,
}

impl Sides {
    async fn start() -> Self {
        let (source, target) = tokio::join!(cluster(), cluster());
        Sides { source, target }
    }

    async fn engine(&self) -> Engine {
        Engine::start(&self.source.uri(), &self.target.uri(), &[]).await
    }

    async fn ready(&self) -> Engine {
        let mut engine = self.engine().await;
        engine.until_ready().await;
        engine
    }

    /// Exit code (None: it crashed at `place`) and what it said.
    async fn recopy(&self, ns: &str, place: Option<&str>) -> (Option<i32>, String) {
        let (source, target) = (self.source.uri(), self.target.uri());
        let recopy = [
            "recopy", "--ns", ns, "--source", &source, "--target", &target,
        ];
        shardlift(&recopy, place).await
    }

    async fn laid_out_anew(&self, ns: &str, what: &str) {
        let (code, text) = self.recopy(ns, None).await;
        let told = format!("on all shards of the target: {what}");
        assert!(code == Some(0) && text.contains(&told), "{code:?} {text}");
    }

    /// Of a collection on the target.
    async fn made(&self, name: &str) -> bson::Uuid {
        let target = fixture::target(&self.target.uri()).await;
        let found = catalog::read_one(&target, &ns(name)).await.unwrap();
        found.expect("it is there").uuid.unwrap()
    }

    async fn cut_over(&self, mut engine: Engine) {
        engine.until_ready().await;
        engine.cut_over().await;
        expect_equal(&self.source.uri(), &self.target.uri()).await;
    }
}

/// The run ends at `what`, and says how to get past it.
async fn stopped(engine: Engine, what: &str) {
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 6, "{log}");
    assert!(log.contains(what) && log.contains("recopy --ns"), "{log}");
}

/// No attempt begins before the command that broke off is done.
async fn is_left_half_done(sides: &Sides) {
    stopped(sides.engine().await, "did not end, run it again").await;
}

/// In the chunk of `k`: one insert, one update, one delete.
async fn change(client: &Client, coll: &str, k: i32) {
    let rows = client.database("shop").collection::<Document>(coll);
    rows.insert_one(doc! {"_id": 10_000 + k, "k": k})
        .await
        .unwrap();
    rows.update_one(doc! {"k": k + 1}, doc! {"$inc": {"n": 1}})
        .await
        .unwrap();
    rows.delete_one(doc! {"k": k + 2}).await.unwrap();
}

async fn shard_by_k(client: &Client, coll: &str) {
    let shard = doc! {"shardCollection": format!("shop.{coll}"), "key": {"k": 1}};
    run(client, "admin", shard).await;
    insert(client, ("shop", coll), 100).await;
}

async fn move_all(client: &Client, coll: &str, to: &str) {
    let chunk = doc! {"moveChunk": format!("shop.{coll}"), "find": {"k": 1}, "to": to};
    run(client, "admin", chunk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_moved_on_either_side_costs_its_collection_and_no_other() {
    let sides = Sides::start().await;
    let a = client(&sides.source.uri()).await;
    let b = client(&sides.target.uri()).await;
    fill(&a).await;
    insert(&a, ("shop", "other"), 500).await;
    let mut engine = sides.ready().await;
    let other = sides.made("shop.other").await;
    let moved = sides.made("shop.c").await;

    change(&a, "c", 10).await;
    move_to(&a, 10, "shard1").await;
    change(&a, "c", 20).await;
    let _ = engine.ask_for_cutover().await;
    stopped(engine, "owners of shop.c changed on the source").await;
    let places = [
        "whole-marked",
        "whole-dropped",
        "whole-made",
        "whole-recorded",
    ];
    for (place, k) in places.into_iter().zip((30..).step_by(10)) {
        let (code, text) = sides.recopy("shop.c", Some(place)).await;
        assert_eq!(code, None, "{place}: {text}");
        if place != "whole-marked" {
            is_left_half_done(&sides).await;
        }
        change(&a, "c", k).await;
        delete(&a, ("shop", "other"), k).await;
    }
    sides
        .laid_out_anew("shop.c", "1, gone from the source: 0")
        .await;
    change(&a, "c", 110).await;
    engine = sides.ready().await;
    let anew = sides.made("shop.c").await;
    assert_ne!(anew, moved);

    move_to(&b, 120, "shard0").await;
    change(&a, "c", 120).await;
    let _ = engine.ask_for_cutover().await;
    stopped(engine, "owners of shop.c changed on the target").await;
    sides
        .laid_out_anew("shop.c", "1, gone from the source: 0")
        .await;
    engine = sides.ready().await;
    change(&a, "c", 130).await;
    delete(&a, ("shop", "other"), 100).await;
    assert_ne!(sides.made("shop.c").await, anew);
    assert_eq!(sides.made("shop.other").await, other, "it went on");
    sides.cut_over(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_came_to_a_shard_that_had_none_is_not_taken_for_a_new_collection() {
    let sides = Sides::start().await;
    let a = client(&sides.source.uri()).await;
    fill(&a).await;
    shard_by_k(&a, "one").await;
    let mut engine = sides.ready().await;
    change(&a, "one", 10).await;
    move_all(&a, "one", "shard1").await;
    change(&a, "one", 20).await;
    let _ = engine.ask_for_cutover().await;
    stopped(engine, "owners of shop.one changed on the source").await;
    for place in ["whole-marked", "whole-recorded"] {
        let (code, text) = sides.recopy("shop.one", Some(place)).await;
        assert_eq!(code, None, "{place}: {text}");
        is_left_half_done(&sides).await;
    }
    sides
        .laid_out_anew("shop.one", "1, gone from the source: 0")
        .await;
    engine = sides.ready().await;
    engine.kill();

    // One that nobody has recorded.
    shard_by_k(&a, "new").await;
    move_all(&a, "new", "shard1").await;
    let what = "a chunk of the new collection shop.new moved on the source";
    stopped(sides.engine().await, what).await;
    let (code, text) = sides.recopy("shop.new", Some("whole-recorded")).await;
    assert_eq!(code, None, "{text}");
    is_left_half_done(&sides).await;
    sides
        .laid_out_anew("shop.new", "1, gone from the source: 0")
        .await;
    let (code, text) = sides.recopy("shop.typo", None).await;
    let why = "neither the recorded run nor the source has shop.typo";
    assert!(code == Some(4) && text.contains(why), "{code:?} {text}");
    let engine = sides.engine().await;
    for coll in ["one", "new"] {
        change(&a, coll, 30).await;
    }
    sides.cut_over(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_moved_costs_its_database_and_no_other() {
    let sides = Sides::start().await;
    let a = client(&sides.source.uri()).await;
    fill(&a).await;
    insert(&a, ("shop", "unsharded"), 100).await;
    insert(&a, ("apart", "rows"), 500).await;
    let view = doc! {"create": "view", "viewOn": "unsharded", "pipeline": []};
    run(&a, "shop", view).await;
    let mut engine = sides.ready().await;
    let apart = sides.made("apart.rows").await;
    run(&a, "admin", doc! {"movePrimary": "shop", "to": "shard1"}).await;
    let _ = engine.ask_for_cutover().await;
    let what = "the primary shard of database shop moved on the source";
    stopped(engine, what).await;
    delete(&a, ("shop", "unsharded"), 5).await;
    let (code, text) = sides.recopy("shop.unsharded", None).await;
    assert!(
        code == Some(4) && text.contains("recopy --ns 'shop.*'"),
        "{code:?} {text}"
    );
    let (code, text) = sides.recopy("shop.*", Some("whole-dropped")).await;
    assert_eq!(code, None, "{text}");
    sides
        // The drop of the old one may have been met before the run stopped.
        .laid_out_anew("shop.*", "2, gone")
        .await;
    engine = sides.ready().await;
    delete(&a, ("shop", "unsharded"), 6).await;
    change(&a, "c", 10).await;
    delete(&a, ("apart", "rows"), 7).await;
    assert_eq!(sides.made("apart.rows").await, apart, "it went on");
    sides.cut_over(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_on_the_source_while_it_is_half_done_goes_from_the_target() {
    let sides = Sides::start().await;
    let a = client(&sides.source.uri()).await;
    let b = client(&sides.target.uri()).await;
    fill(&a).await;
    shard_by_k(&a, "left").await;
    sides.ready().await.kill();

    // Made on the target, and recorded by none.
    let (code, text) = sides.recopy("shop.left", Some("whole-made")).await;
    assert_eq!(code, None, "{text}");
    run(&a, "shop", doc! {"drop": "left"}).await;
    sides
        .laid_out_anew("shop.left", "0, gone from the source: 1")
        .await;
    let target = fixture::target(&sides.target.uri()).await;
    let left = catalog::read_one(&target, &ns("shop.left")).await.unwrap();
    assert!(left.is_none(), "{left:?}");

    // By one pair of two. The drop that is met is that of what was made last.
    let (code, text) = sides.recopy("shop.c", Some("whole-recorded")).await;
    assert_eq!(code, None, "{text}");
    run(&a, "shop", doc! {"drop": "c"}).await;
    sides.ready().await.kill();

    // Somebody else's.
    shard_by_k(&a, "series").await;
    let series = doc! {"create": "series", "timeseries": {"timeField": "t"}};
    run(&b, "shop", series).await;
    let (code, text) = sides.recopy("shop.series", None).await;
    let why = "shop.series is on the target, and this run did not make it";
    assert!(code == Some(4) && text.contains(why), "{code:?} {text}");
    run(&b, "shop", doc! {"drop": "series"}).await;
    sides
        .laid_out_anew("shop.series", "1, gone from the source: 0")
        .await;
    sides.cut_over(sides.engine().await).await;
}
