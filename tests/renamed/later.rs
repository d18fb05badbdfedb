//! What the source makes during a run, and the target cannot have under its other names.

use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use mongodb::Client;
use shardlift::cluster::catalog::versions;
use shardlift::observe::status::Snapshot;
use shardlift::scope::filters::Filters;

use super::usage::{insert, names, rename, set_all};
use super::{asked, expect_equal, flags, shard};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::recorded::shardlift;

const POLL: Duration = Duration::from_millis(20);

async fn until_in_the_way(engine: &mut Engine, text: &str) {
    let told = |now: &Snapshot| now.obstacles.iter().any(|found| found.contains(text));
    engine.until("told what is in the way", told).await;
}

async fn until_there(target: &Client, count: u64) {
    let bills = target.database("z").collection::<Document>("bills");
    while bills.count_documents(doc! {}).await.unwrap() != count {
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_later_and_the_target_cannot_have_is_told_until_it_is_dropped() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    for ns in ["x.orders", "x.kept", "a.rows"] {
        insert(&from, ns, 0..100).await;
    }
    let renames = ["x.orders=z.bills", "a=c"];
    let flags = flags(&renames);
    let start = || Engine::start_to_wait("views:0", &source, &target, &flags);
    let mut engine = start().await;
    engine.until_ready().await;
    let view = doc! {"create": "report", "viewOn": "orders", "pipeline": []};
    run(&from, "x", view).await;
    let text = "the view x.report of the target would read z.bills (x.orders of the source)";
    until_in_the_way(&mut engine, text).await;
    engine.kill();

    // Another attempt goes on with all else.
    insert(&from, "x.orders", 100..200).await;
    let mut engine = start().await;
    until_in_the_way(&mut engine, text).await;
    until_in_the_way(&mut engine, "drop the view on the source").await;
    until_there(&to, 200).await;
    run(&from, "x", doc! {"drop": "report"}).await;
    engine.until_ready().await;

    // The source takes it: it has no `c`.
    insert(&from, "C.rows", 0..10).await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    let text = "C.rows of the source is to be in database C of the target, which has c";
    assert!(outcome.code == 6 && log.contains(text), "{log}");
    assert!(log.contains("drop C.rows on the source"), "{log}");
    from.database("C").drop().await.unwrap();
    let mut engine = start().await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target, &renames).await;
}

/// Neither a rename nor an `$out` there keeps a UUID.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rename_takes_across_databases_of_the_target_costs_that_collection() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    for ns in ["d.one", "d.kept"] {
        insert(&from, ns, 0..100).await;
    }
    let renames = ["d.one=e.one"];
    let flags = flags(&renames);
    let stops = async |engine: Engine| {
        let outcome = engine.end().await;
        let log = outcome.log.text();
        let texts = [
            "another database, on the target",
            "`shardlift recopy --ns <its name on the target now>`",
        ];
        let is_told = texts.iter().all(|text| log.contains(text));
        assert!(outcome.code == 6 && is_told, "{log}");
    };
    let recopy = async |ns: &str| {
        let of = ["recopy", "--shard", "a", "--ns", ns];
        let sides = ["--source", &source, "--target", &target];
        let (code, text) = shardlift(&[&of[..], &sides].concat(), None).await;
        assert_eq!(code, Some(0), "{text}");
        text
    };
    let mut engine = Engine::start(&source, &target, &flags).await;
    engine.until_ready().await;
    rename(&from, "d.one", "d.four").await;
    stops(engine).await;
    insert(&from, "d.four", 100..200).await;
    let text = recopy("d.four").await;
    assert!(text.contains("made anew: 1, new: 0"), "{text}");
    assert_eq!(names(&to, "e").await, [""; 0], "it has one name");

    let mut engine = Engine::start(&source, &target, &flags).await;
    set_all(&from, "d.four", 1).await;
    engine.until_ready().await;
    let out = doc! {"aggregate": "kept", "pipeline": [{"$out": "one"}], "cursor": {}};
    run(&from, "d", out).await;
    stops(engine).await;
    recopy("e.one").await;
    let mut engine = Engine::start(&source, &target, &flags).await;
    set_all(&from, "d.one", 2).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target, &renames).await;
}

/// `p` shares a database of the target with `q`. Of `n`, whose name is another's there, the
/// source has the name alone, on another shard.
pub(super) async fn a_moved_primary_stops_the_run(a: &ShardedCluster, b: &ShardedCluster) {
    let (source, target) = (a.uri(), b.uri());
    let from = a.client().await.unwrap();
    for (db, primary) in [
        ("m", "shard0"),
        ("n", "shard1"),
        ("p", "shard0"),
        ("q", "shard0"),
    ] {
        let made = doc! {"enableSharding": db, "primaryShard": primary};
        run(&from, "admin", made).await;
    }
    for ns in ["m.rows", "p.rows"] {
        shard(&from, ns, doc! {"_id": 1}).await;
    }
    let config = a.config().client().await.unwrap().database("config");
    let pin = doc! {"$set": {"noBalance": true}};
    config
        .collection::<Document>("collections")
        .update_one(doc! {"_id": "m.rows"}, pin)
        .await
        .unwrap();
    for ns in ["m.rows", "p.rows", "q.own"] {
        insert(&from, ns, 0..100).await;
    }
    let renames = ["m=n", "q.own=p.thing"];
    let only = ["m.*", "n.*", "p.*", "q.*"].map(|all| ["--include", all]);
    let flags = [&flags(&renames)[..], only.as_flattened(), &["--restart"]].concat();
    let mut engine = Engine::start(&source, &target, &flags).await;
    engine.until_ready().await;
    let warnings = engine.status().await.unwrap().warnings.join("\n");
    let told = "balancing is disabled on the source for n.rows;";
    assert!(warnings.contains(told), "what to do there: {warnings}");
    let moved = doc! {"movePrimary": "p", "to": "shard1"};
    run(&from, "admin", moved).await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    // The new primary makes its collections: that may be met first.
    let texts = [
        "the primary shard of database p moved on the source",
        "of different primary shards: p on shard1 and q on shard0",
    ];
    assert!(
        [4, 6].contains(&outcome.code) && texts.iter().any(|text| log.contains(text)),
        "{log}"
    );

    let side = fixture::source(&source).await;
    let side = side.asked(&Filters::default(), &asked(&renames));
    let versions = versions::read(&side).await.unwrap();
    let primary = |db: &str| side.shards[versions.databases[db].primary].id.as_str();
    assert_eq!(["p", "q"].map(primary), ["shard1", "shard0"]);
}
