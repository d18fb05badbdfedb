//! Indexes through a whole migration: what arrives is compared byte by byte, whatever
//! came and went on the source while nobody followed, and whatever a build left behind.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use mongodb::{Client, Collection};
use shardlift::bson::element::{Element, document, elements, field, kind, string, string_value};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

mod rolled_back;
pub(crate) mod odd;

const DB: &str = "idx";
/// Sharding by `a` makes an index of this name, which then must stay as it is.
const PLAIN: &str = "a_1";
const FAULTY: [&str; 2] = ["--setParameter", "enableTestCommands=1"];

/// Indexes by name: every option, byte for byte, in an order of their own. Expiries apart,
/// which a server keeps in another type of number once they are changed.
async fn indexes(client: &Client, coll: &str) -> BTreeMap<Vec<u8>, Vec<(Vec<u8>, u8, Vec<u8>)>> {
    let cursor = client
        .database(DB)
        .run_cursor_command(doc! {"listIndexes": coll})
        .await
        .unwrap();
    let specs: Vec<RawDocumentBuf> = cursor.with_type().try_collect().await.unwrap();
    let options = |spec: &RawDocumentBuf| {
        let all = elements(spec).map(|e| (e.name.to_vec(), e.kind, e.value.to_vec()));
        let mut all: Vec<_> = all
            .filter(|(name, ..)| name != b"expireAfterSeconds")
            .collect();
        all.sort();
        all
    };
    let name = |spec: &RawDocumentBuf| {
        string(field(spec.as_bytes(), b"name").unwrap().value)
            .unwrap()
            .0
            .to_vec()
    };
    specs
        .iter()
        .map(|spec| (name(spec), options(spec)))
        .collect()
}

async fn expect_same_indexes(source: &Client, target: &Client, coll: &str) {
    let (a, b) = (indexes(source, coll).await, indexes(target, coll).await);
    let names = |of: &BTreeMap<Vec<u8>, _>| {
        of.keys()
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&a), names(&b), "of {coll}");
    assert!(a == b, "of {coll}: {a:?}\n{b:?}");
}

async fn create(client: &Client, coll: &str, specs: Vec<Document>) {
    let quorum = if specs.is_empty() { return } else { "majority" };
    run(
        client,
        DB,
        doc! {"createIndexes": coll, "indexes": specs, "commitQuorum": quorum},
    )
    .await;
}

async fn create_raw(client: &Client, coll: &str, spec: RawDocumentBuf) {
    let command = rawdoc! {"createIndexes": coll, "indexes": [spec]};
    client.database(DB).run_raw_command(command).await.unwrap();
}

async fn drop_index(client: &Client, coll: &str, name: &str) {
    run(client, DB, doc! {"dropIndexes": coll, "index": name}).await;
}

fn index(name: &str, more: Document) -> Document {
    let mut spec = doc! {"key": {"a": 1}, "name": name};
    spec.extend(more);
    spec
}

/// Several of one key that are legal beside each other.
fn of_one_key() -> Vec<Document> {
    vec![
        index(PLAIN, doc! {}),
        index("sparse", doc! {"sparse": true}),
        index("unique", doc! {"unique": true}),
        index("german", doc! {"collation": {"locale": "de"}}),
        index("french", doc! {"collation": {"locale": "fr"}}),
        index("part", doc! {"partialFilterExpression": {"z": 1}}),
    ]
}

async fn fill(client: &Client, coll: &str, count: i32) {
    let rows: Collection<Document> = client.database(DB).collection(coll);
    rows.insert_many((0..count).map(|n| doc! {"_id": n, "a": n, "b": n, "z": n % 3}))
        .await
        .unwrap();
}

async fn ready(source: &str, target: &str) -> Engine {
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    engine
}

async fn what_is_remade_meanwhile_is_as_on_the_source(source: &str, target: &str, sharded: bool) {
    let (a, b) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    let names = ["untouched", "remade", "swapped", "emptied"];
    for name in names {
        if sharded {
            // A unique index must begin with the shard key.
            run(
                &a,
                "admin",
                doc! {"shardCollection": format!("{DB}.{name}"), "key": {"a": 1}},
            )
            .await;
        }
        fill(&a, name, 500).await;
        create(&a, name, of_one_key()).await;
    }
    ready(source, target).await.kill();

    // Each with another difference, under the name it had.
    let again = [
        index("sparse", doc! {"sparse": true, "hidden": true}),
        index(
            "unique",
            doc! {"unique": true, "partialFilterExpression": {"z": 2}},
        ),
        index(
            "german",
            doc! {"collation": {"locale": "de", "strength": 1}},
        ),
        index(
            "part",
            doc! {"partialFilterExpression": {"z": 1.5}, "expireAfterSeconds": 864_000},
        ),
    ];
    for spec in again {
        drop_index(&a, "remade", spec.get_str("name").unwrap()).await;
        create(&a, "remade", vec![spec]).await;
    }
    if !sharded {
        drop_index(&a, "remade", PLAIN).await;
        create(
            &a,
            "remade",
            vec![index(PLAIN, doc! {"expireAfterSeconds": 864_000})],
        )
        .await;
    }
    // Names that pass around, and a key that goes to another name.
    for name in ["sparse", "german", "part"] {
        drop_index(&a, "swapped", name).await;
    }
    let around = vec![
        index("german", doc! {"sparse": true}),
        index("sparse", doc! {"collation": {"locale": "de"}}),
        index("another", doc! {"partialFilterExpression": {"z": 1}}),
    ];
    create(&a, "swapped", around).await;
    for name in ["sparse", "unique", "german", "french", "part"] {
        drop_index(&a, "emptied", name).await;
    }

    let engine = ready(source, target).await;
    engine.cut_over().await;
    for name in names {
        expect_same_indexes(&a, &b, name).await;
    }
    expect_equal(source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_remade_while_nobody_follows_cost_no_other_of_their_key_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    what_is_remade_meanwhile_is_as_on_the_source(&source.uri(), &target.uri(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_remade_while_nobody_follows_cost_no_other_of_their_key_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    what_is_remade_meanwhile_is_as_on_the_source(&source.uri(), &target.uri(), true).await;
}

/// A build goes on though the engine that asked for it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_left_behind_on_the_target_does_not_bring_back_what_the_source_dropped() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &FAULTY)
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a, "rows", 500).await;
    let stale = vec![
        index("stale", doc! {}),
        doc! {"key": {"b": 1}, "name": "kept"},
    ];
    create(&a, "rows", stale).await;
    let hang =
        |mode: &str| doc! {"configureFailPoint": "hangAfterStartingIndexBuild", "mode": mode};
    run(&b, "admin", hang("alwaysOn")).await;
    let engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let building = || async {
        let listed = run(
            &b,
            DB,
            doc! {"listIndexes": "rows", "includeBuildUUIDs": true},
        )
        .await;
        listed
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()
            .len()
            == 3
    };
    let under_way = || async {
        b.database(DB)
            .list_collection_names()
            .await
            .unwrap()
            .contains(&"rows".to_owned())
            && building().await
    };
    while !under_way().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.kill();
    drop_index(&a, "rows", "stale").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    // It has listed, and builds: what is left behind is not done before.
    let asked = || async {
        let builds = doc! {"currentOp": 1, "active": true, "command.createIndexes": "rows", "command.indexes": {"$size": 1}};
        let found = run(&b, "admin", builds).await;
        let clients = found
            .get_array("inprog")
            .unwrap()
            .iter()
            .filter_map(|op| op.as_document());
        clients.filter(|op| op.contains_key("client")).count()
    };
    while asked().await == 0 {
        assert!(engine.is_running());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run(&b, "admin", hang("off")).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_same_indexes(&a, &b, "rows").await;
}

/// Made, indexed, unindexed and dropped while nobody follows: nothing of it is ever made
/// on the target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn index_ddl_on_a_collection_that_was_never_made_is_nothing() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a, "rows", 10).await;
    ready(&source.uri(), &target.uri()).await.kill();
    create(
        &a,
        "short",
        vec![index("one", doc! {}), index("two", doc! {"unique": true})],
    )
    .await;
    drop_index(&a, "short", "one").await;
    run(&a, DB, doc! {"drop": "short"}).await;
    fill(&a, "more", 10).await;
    let engine = ready(&source.uri(), &target.uri()).await;
    engine.cut_over().await;
    expect_same_indexes(&a, &b, "more").await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Values that pass around under a unique index are read again in one transaction, which
/// inserts what the source may keep and would not take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_duplicates_under_prepare_unique_do_not_stop_what_is_read_again() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let rows: Collection<Document> = a.database(DB).collection("rows");
    rows.insert_many((0..4).map(|i| doc! {"_id": i, "k": 0, "e": i}))
        .await
        .unwrap();
    create(
        &a,
        "rows",
        vec![doc! {"key": {"e": 1}, "name": "e", "unique": true}],
    )
    .await;
    create(
        &a,
        "rows",
        vec![doc! {"key": {"k": 1}, "name": "k", "expireAfterSeconds": 864_000}],
    )
    .await;
    run(
        &a,
        DB,
        doc! {"collMod": "rows", "index": {"name": "k", "prepareUnique": true}},
    )
    .await;
    ready(&source.uri(), &target.uri()).await.kill();

    for i in 0..4 {
        rows.update_one(doc! {"_id": i}, doc! {"$set": {"e": -1 - i}})
            .await
            .unwrap();
    }
    for i in 0..4 {
        rows.update_one(doc! {"_id": i}, doc! {"$set": {"e": (i + 1) % 4}})
            .await
            .unwrap();
    }
    let engine = ready(&source.uri(), &target.uri()).await;
    engine.kill();
    let again = [
        "restart",
        "--source",
        &source.uri(),
        "--target",
        &target.uri(),
        "--shard",
        "a",
        "--ns",
        "idx.rows",
    ];
    let restarted = std::process::Command::new(env!("CARGO_BIN_EXE_shardlift"))
        .args(again)
        .output()
        .unwrap();
    assert!(restarted.status.success(), "{restarted:?}");
    let engine = ready(&source.uri(), &target.uri()).await;
    engine.cut_over().await;
    expect_same_indexes(&a, &b, "rows").await;
    let listed = run(&b, DB, doc! {"listIndexes": "rows"}).await.to_string();
    assert!(
        listed.contains("\"prepareUnique\": true") && listed.contains("864000"),
        "{listed}"
    );
    let double = b
        .database(DB)
        .collection::<Document>("rows")
        .insert_one(doc! {"_id": 9, "k": 0, "e": 9})
        .await;
    assert!(
        double.is_err(),
        "new duplicates are refused after the cutover"
    );
}
