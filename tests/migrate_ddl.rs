//! Collections and indexes that come and go while a migration runs, and moves, which stop
//! it.

use shardlift::observe::phase::Phase;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// A pause in which the engine sees some of what happened, not all.
const BREATH: Duration = Duration::from_millis(60);

async fn insert_some(client: &Client, ns: (&str, &str), count: i32) {
    let rows: Collection<Document> = client.database(ns.0).collection(ns.1);
    let documents = (0..count).map(|i| doc! {"k": i, "u": format!("{i}"), "note": "x".repeat(200)});
    rows.insert_many(documents).await.unwrap();
}

async fn shard(client: &Client, name: &str, key: Document) {
    run(
        client,
        "admin",
        doc! {"shardCollection": format!("ddl.{name}"), "key": key},
    )
    .await;
}

async fn drop(client: &Client, name: &str) {
    run(client, "ddl", doc! {"drop": name}).await;
}

/// Made before the engine starts, some to be dropped while it runs.
pub(crate) async fn before(client: &Client, sharded: bool) {
    run(client, "ddl", doc! {"create": "kept"}).await;
    for stage in ["copying", "following"] {
        let names = ["whole", "spread_a", "spread_b", "indexed", "lone"]
            .map(|name| format!("{name}_{stage}"));
        if sharded {
            // By range and unsplit: it lives on the primary shard only.
            shard(client, &names[0], doc! {"k": 1}).await;
            shard(client, &names[1], doc! {"_id": "hashed"}).await;
            shard(client, &names[2], doc! {"_id": "hashed"}).await;
            shard(client, &names[3], doc! {"u": "hashed"}).await;
        }
        for name in &names {
            insert_some(client, ("ddl", name), 2_000).await;
        }
        insert_some(client, (&format!("gone_{stage}"), "rows"), 500).await;
    }
}

/// Every change of collections and indexes that is carried over.
pub(crate) async fn changes(client: &Client, other: &Client, stage: &str, sharded: bool) {
    let name = |name: &str| format!("{name}_{stage}");
    let (a, b) = (name("spread_a"), name("spread_b"));
    // Both at once, from two clients: shards may log them in different order.
    tokio::join!(drop(client, &a), drop(other, &b));
    drop(client, &name("whole")).await;
    again_and_again(client, &name("again")).await;
    unique_on_live(client, other, &name("indexed"), sharded).await;
    if sharded {
        shard(client, &name("new"), doc! {"_id": "hashed"}).await;
        insert_some(client, ("ddl", &name("new")), 300).await;
        shard(client, &name("new_range"), doc! {"k": 1, "u": 1}).await;
        insert_some(client, ("ddl", &name("new_range")), 300).await;
        // The same name, now of another kind.
        insert_some(client, ("ddl", &a), 200).await;
    }
    client.database(&name("gone")).drop().await.unwrap();
    insert_some(client, (&name("fresh"), "rows"), 100).await;
    insert_some(client, (&name("gone"), "other rows"), 100).await;
}

/// Create, fill and drop of one name in quick succession; the last one stays.
async fn again_and_again(client: &Client, name: &str) {
    for round in 0..6 {
        if 0 < round {
            drop(client, name).await;
        }
        run(client, "ddl", doc! {"create": name}).await;
        insert_some(client, ("ddl", name), 20 + round).await;
        let index = doc! {"key": {"k": 1}, "name": format!("round {round}")};
        run(
            client,
            "ddl",
            doc! {"createIndexes": name, "indexes": [index]},
        )
        .await;
        if round % 2 == 1 {
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// Indexes come and go while documents trade the unique value.
async fn unique_on_live(client: &Client, other: &Client, name: &str, sharded: bool) {
    let rows: Collection<Document> = other.database("ddl").collection(name);
    let busy = async {
        for i in 0..150 {
            rows.delete_one(doc! {"u": format!("{i}")}).await.unwrap();
            rows.insert_one(doc! {"u": format!("{i}"), "k": -i})
                .await
                .unwrap();
        }
    };
    let build = async {
        // A unique index of a sharded collection begins with its key, which a
        // hashed one cannot.
        let unique = if sharded {
            doc! {"key": {"k": 1}, "name": "u"}
        } else {
            unique("u")
        };
        let plain = doc! {"key": {"note": 1}, "name": "note", "sparse": true};
        let indexes = vec![unique.clone(), plain];
        run(
            client,
            "ddl",
            doc! {"createIndexes": name, "indexes": indexes},
        )
        .await;
        run(client, "ddl", doc! {"dropIndexes": name, "index": "note"}).await;
        run(client, "ddl", doc! {"dropIndexes": name, "index": "u"}).await;
        run(
            client,
            "ddl",
            doc! {"createIndexes": name, "indexes": [unique]},
        )
        .await;
        let again = doc! {"key": {"note": 1, "k": -1}, "name": "note"};
        run(
            client,
            "ddl",
            doc! {"createIndexes": name, "indexes": [again]},
        )
        .await;
    };
    tokio::join!(busy, build);
}

fn unique(field: &str) -> Document {
    doc! {"key": {field: 1}, "name": field, "unique": true}
}

async fn ddl_is_carried_over(source: &str, target: &str, sharded: bool) {
    let client = Client::with_uri_str(source).await.unwrap();
    let other = Client::with_uri_str(source).await.unwrap();
    before(&client, sharded).await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine
        .until("copying", |now| {
            matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
        })
        .await;
    changes(&client, &other, "copying", sharded).await;
    engine.until_ready().await;
    changes(&client, &other, "following", sharded).await;
    engine.cut_over().await;
    expect_equal(source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_and_indexes_come_and_go_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    ddl_is_carried_over(&source.uri(), &target.uri(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_and_indexes_come_and_go_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    ddl_is_carried_over(&source.uri(), &target.uri(), false).await;
}

/// Sharded collections dropped side by side, many times: no pair may wait for
/// another that waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_collections_dropped_at_the_same_time_never_block_each_other() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let (a, b) = (
        source.client().await.unwrap(),
        source.client().await.unwrap(),
    );
    for i in 0..16 {
        shard(&a, &format!("c{i}"), doc! {"_id": "hashed"}).await;
        insert_some(&a, ("ddl", &format!("c{i}")), 10).await;
    }
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    for i in (0..16).step_by(2) {
        let (one, two) = (format!("c{i}"), format!("c{}", i + 1));
        tokio::join!(drop(&a, &one), drop(&b, &two));
    }
    insert_some(&a, ("ddl", "c0"), 10).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_moves_during_the_run_is_an_error() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let client = source.client().await.unwrap();
    shard(&client, "rows", doc! {"k": 1}).await;
    insert_some(&client, ("ddl", "rows"), 100).await;
    run(
        &client,
        "admin",
        doc! {"split": "ddl.rows", "middle": {"k": 50}},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    // A split alone moves nothing and is no error.
    run(
        &client,
        "admin",
        doc! {"split": "ddl.rows", "middle": {"k": 20}},
    )
    .await;
    let owner = owner(&client, "ddl.rows").await;
    let to = if owner == "shard0" {
        "shard1"
    } else {
        "shard0"
    };
    run(
        &client,
        "admin",
        doc! {"moveChunk": "ddl.rows", "find": {"k": 60}, "to": to},
    )
    .await;
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 6);
    let log = outcome.log.text();
    assert!(
        log.contains("owners of ddl.rows changed on the source")
            && log.contains("keep the balancers off")
    );
}

/// The shard of the first chunk.
async fn owner(client: &Client, ns: &str) -> String {
    let config = client.database("config");
    let collection = config
        .collection::<Document>("collections")
        .find_one(doc! {"_id": ns})
        .await
        .unwrap()
        .unwrap();
    let chunks = config.collection::<Document>("chunks");
    let chunk = chunks
        .find_one(doc! {"uuid": collection.get("uuid")})
        .sort(doc! {"min": 1})
        .await
        .unwrap()
        .unwrap();
    chunk.get_str("shard").unwrap().to_owned()
}

/// What a pair sends to its target shard goes over connections that tell its
/// incarnation: the next one waits until they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn index_ddl_goes_over_the_incarnations_connections() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    insert_some(&from, ("ddl", "rows"), 100).await;
    let index = |name: &str| doc! {"key": {name: 1}, "name": name};
    run(
        &from,
        "ddl",
        doc! {"createIndexes": "rows", "indexes": [index("k"), index("u")]},
    )
    .await;
    run(&to, "ddl", doc! {"profile": 2}).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    run(&from, "ddl", doc! {"dropIndexes": "rows", "index": "u"}).await;
    run(
        &from,
        "ddl",
        doc! {"createIndexes": "rows", "indexes": [index("note")]},
    )
    .await;
    // It is after those in the log.
    run(&from, "ddl", doc! {"create": "last"}).await;
    let names = || async { to.database("ddl").list_collection_names().await.unwrap() };
    while !names().await.contains(&"last".to_owned()) {
        tokio::time::sleep(BREATH).await;
    }
    engine.until_ready().await;
    for command in ["createIndexes", "dropIndexes"] {
        let profile = to.database("ddl").collection::<Document>("system.profile");
        let sent = profile
            .find(doc! {format!("command.{command}"): "rows"})
            .await
            .unwrap();
        let sent: Vec<Document> = sent.try_collect().await.unwrap();
        assert!(!sent.is_empty(), "{command}");
        let fenced = |op: &Document| {
            op.get_str("appName")
                .is_ok_and(|name| name.starts_with("shardlift/"))
        };
        assert!(sent.iter().all(fenced), "{sent:?}");
    }
    run(&to, "ddl", doc! {"profile": 0}).await;
    engine.cut_over().await;
}
