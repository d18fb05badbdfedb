//! What the target's release refuses, made on the source while a run goes on: the run stops
//! and says what to do, and goes on once that is done.

use bson::{Document, doc};
use loadgen::cluster::ReplicaSet;
use mongodb::Client;

use super::set;
use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::expect_equal;

const DB: &str = "d";

/// What is made, what undoes it, and what the error names.
type Row = (Document, Document, &'static str);

fn rows() -> Vec<Row> {
    let index = |name: &str, more: Document| {
        let mut index = doc! {"key": {name: 1}, "name": name};
        index.extend(more);
        doc! {"createIndexes": "c", "indexes": [index]}
    };
    let dropped = |name: &str| doc! {"dropIndexes": "c", "index": name};
    let odd = doc! {"a": {"$regex": "a", "$options": "z"}};
    vec![
        (
            index(
                "near",
                doc! {"key": {"near": "geoHaystack", "t": 1}, "bucketSize": 5},
            ),
            dropped("near"),
            "of the indexes near of d.c drop there",
        ),
        (
            index("loose", doc! {"sparse": "yes", "unique": true}),
            dropped("loose"),
            "of the indexes loose of d.c drop there",
        ),
        (
            doc! {"collMod": "c", "validator": odd.clone()},
            doc! {"collMod": "c", "validator": {"a": {"$exists": true}}},
            "change d.c there by `collMod`",
        ),
        (
            doc! {"create": "new", "validator": odd},
            doc! {"drop": "new"},
            "drop d.new there",
        ),
    ]
}

async fn stops(engine: Engine, told: &str) {
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 6, "{log}");
    let error = log.split_once("error: ").expect("it says why").1;
    let (_, what_to_do) = error.split_once("what to do: ").expect(error);
    assert!(what_to_do.contains(told), "{error}");
}

async fn started(source: &ReplicaSet, target: &ReplicaSet) -> Engine {
    Engine::start(&source.uri(), &target.uri(), &[]).await
}

async fn insert(client: &Client, id: i32) {
    let row = doc! {"_id": id, "a": "a", "near": [id, 1], "t": id, "loose": id};
    run(client, DB, doc! {"insert": "c", "documents": [row]}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_release_refuses_stops_a_run_until_it_is_gone_from_the_source() {
    let (source, target) = tokio::join!(set("4.4", "a"), set("6.0", "b"));
    let client = source.client().await.unwrap();
    insert(&client, -1).await;
    let mut engine = started(&source, &target).await;
    for (id, (make, undo, told)) in (0..).zip(rows()) {
        engine.until_ready().await;
        run(&client, DB, make).await;
        insert(&client, id).await;
        stops(engine, told).await;
        // It finds the same.
        stops(started(&source, &target).await, told).await;
        run(&client, DB, undo).await;
        engine = started(&source, &target).await;
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
