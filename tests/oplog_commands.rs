//! Commands of the source's oplog that are no DDL: a user's own `applyOps`, what members
//! write to compare themselves, what changes nothing; and those that stop the run.

use std::time::Duration;

use bson::{Document, Timestamp, doc};
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;

async fn insert(client: &Client, coll: &str, count: i32) {
    let documents = (0..count).map(|i| doc! {"_id": i, "n": i, "u": i, "note": "x".repeat(200)});
    client
        .database("d")
        .collection::<Document>(coll)
        .insert_many(documents)
        .await
        .unwrap();
}

fn update(coll: &str, id: i32, o: Document) -> Document {
    doc! {"op": "u", "ns": format!("d.{coll}"), "o": o, "o2": {"_id": id}}
}

/// Every form in which `applyOps` takes an update, on documents that are there and on
/// such that are not; and inserts that are not stored as they are logged.
fn operations(coll: &str, id: i32, missing: i32) -> Vec<Document> {
    let zero = Timestamp {
        time: 0,
        increment: 0,
    };
    let insert = |o: Document| doc! {"op": "i", "ns": format!("d.{coll}"), "o": o};
    let delta = |set: Document| doc! {"$v": 2, "diff": {"u": set}};
    let mut with_b = update(coll, missing + 5, doc! {"$set": {"by": "b"}});
    with_b.insert("b", true);
    vec![
        update(coll, id, doc! {"$set": {"by": "set", "in.an.array.0": 1}}),
        update(coll, id, doc! {"$inc": {"n": 5}}),
        update(coll, id + 1, doc! {"$v": 1, "$set": {"by": "v1"}}),
        update(
            coll,
            id + 2,
            doc! {"$unset": {"note": 1}, "$push": {"list": 7}},
        ),
        update(coll, id + 3, delta(doc! {"by": "delta"})),
        update(coll, id + 4, doc! {"_id": id + 4, "by": "replacement"}),
        doc! {"op": "d", "ns": format!("d.{coll}"), "o": {"_id": id + 5}},
        update(coll, missing, doc! {"$set": {"by": "upsert"}}),
        update(coll, missing + 1, doc! {"$inc": {"n": 1}}),
        update(coll, missing + 2, delta(doc! {"by": "delta of none"})),
        update(
            coll,
            missing + 3,
            doc! {"_id": missing + 3, "by": "replacement of none"},
        ),
        update(coll, missing + 3, doc! {"$set": {"then": "set"}}),
        with_b,
        insert(doc! {"_id": missing + 6, "by": "insert"}),
        insert(doc! {"by": "insert, _id last", "_id": missing + 7}),
        insert(doc! {"_id": missing + 8, "zero": zero}),
        insert(doc! {"_id": id + 6, "by": "insert over another"}),
        insert(doc! {"_id": id + 7, "zero over another": zero}),
    ]
}

async fn apply_ops(client: &Client, ops: Vec<Document>) {
    let reply = run(client, "admin", doc! {"applyOps": ops}).await;
    assert_eq!(reply.get_f64("ok").unwrap(), 1.0, "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_users_apply_ops_makes_of_documents_arrives_whatever_its_form() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let a = source.client().await.unwrap();
    let german = doc! {"create": "collated", "collation": {"locale": "de", "strength": 1}};
    run(&a, "d", german).await;
    for coll in ["plain", "collated"] {
        insert(&a, coll, 8_000).await;
    }
    let unique = doc! {"key": {"u": 1}, "name": "u", "unique": true, "sparse": true};
    run(
        &a,
        "d",
        doc! {"createIndexes": "plain", "indexes": [unique]},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let round = async |round: i32| {
        for coll in ["plain", "collated"] {
            apply_ops(&a, operations(coll, 100 * round, 10_000 + 100 * round)).await;
            // Ops that follow are on what it made.
            let update = doc! {"q": {"_id": 10_000 + 100 * round}, "u": {"$set": {"later": round}}};
            run(&a, "d", doc! {"update": coll, "updates": [update]}).await;
        }
    };
    for number in 0..40 {
        round(number).await;
    }
    engine.until_ready().await;
    for number in 40..60 {
        round(number).await;
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// It is logged as it was asked for: an end with `writes_missed` would be a false alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_apply_ops_that_deletes_what_is_not_there_misses_nothing() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    insert(&a, "plain", 10).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let delete = |id: i32| doc! {"op": "d", "ns": "d.plain", "o": {"_id": id}};
    let of_none = doc! {"op": "d", "ns": "d.never", "o": {"_id": 1}};
    apply_ops(&a, vec![delete(3), delete(30), of_none]).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_change_no_data_are_passed_by() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    insert(&a, "c", 500).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    for of in [bson::Bson::from("c"), bson::Bson::from(1)] {
        // Its reply has no number at `ok`, which the driver does not take.
        let _ = a.database("d").run_command(doc! {"dbCheck": of}).await;
    }
    run(&a, "d", doc! {"collMod": "c"}).await;
    apply_ops(
        &a,
        vec![doc! {"op": "n", "ns": "", "o": {"msg": "nothing"}}],
    )
    .await;
    let oplog = a.database("local").collection::<Document>("oplog.rs");
    for (of, kind) in [
        ("d.c", "batch"),
        ("admin.$cmd", "start"),
        ("admin.$cmd", "stop"),
    ] {
        while oplog
            .find_one(doc! {"o.dbCheck": of, "o.type": kind})
            .await
            .unwrap()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// The error that a run ends with.
async fn stopped_by(source: &str, target: &str, what: impl Future<Output = ()>) -> String {
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    what.await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 6, "{log}");
    log.split_once("error: ").expect("it says why").1.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_feature_compatibility_version_stops_the_run_and_the_same_command_goes_on() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    insert(&a, "c", 500).await;
    let change = async |fcv: &str| {
        run(&a, "admin", doc! {"setFeatureCompatibilityVersion": fcv}).await;
    };
    let error = stopped_by(&source.uri(), &target.uri(), change("5.0")).await;
    assert!(
        error.contains("a change of the feature compatibility version"),
        "{error}"
    );
    let refused = Engine::start(&source.uri(), &target.uri(), &[])
        .await
        .end()
        .await;
    assert_eq!(refused.code, 4, "{}", refused.log.text());
    change("6.0").await;
    insert(&a, "after", 500).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_of_capped_collections_is_told_and_its_remedy_helps() {
    let tests = ["--setParameter", "enableTestCommands=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &tests),
        fixture::replica_set("b", &[])
    );
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let a = source.client().await.unwrap();
    run(
        &a,
        "d",
        doc! {"create": "log", "capped": true, "size": 1 << 20},
    )
    .await;
    insert(&a, "log", 300).await;
    let emptied = async { drop(run(&a, "d", doc! {"emptycapped": "log"}).await) };
    let error = stopped_by(&source_uri, &target_uri, emptied).await;
    assert!(
        error.contains("`emptycapped`") && error.contains("shardlift recopy --shard"),
        "{error}"
    );
    let restart = [
        "restart",
        "--source",
        &source_uri,
        "--target",
        &target_uri,
        "--shard",
        "a",
    ];
    let (code, text) = shardlift(&restart, None).await;
    assert_eq!(code, Some(0), "{text}");

    insert(&a, "log", 200).await;
    let updated = apply_ops(&a, vec![update("log", 7, doc! {"$set": {"n": 70}})]);
    let error = stopped_by(&source_uri, &target_uri, updated).await;
    assert!(
        error.contains("capped collection d.log") && error.contains("applyOps"),
        "{error}"
    );
    let (code, text) = shardlift(&restart, None).await;
    assert_eq!(code, Some(0), "{text}");
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}
