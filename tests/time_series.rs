//! Time series: their buckets move as they are, and the series are what they were.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use loadgen::cluster::ReplicaSet;
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// 2026-01-01, in milliseconds: nothing of it expires by itself before the cutover.
const START_MS: i64 = 1_767_225_600_000;
/// 20 years.
const EXPIRY_S: i64 = 630_720_000;

/// Measurements of some sensors from `from` on, a minute apart.
async fn measure(client: &Client, db: &str, series: &str, from: i64, count: i64) {
    let measurement = |i: i64| {
        let at = DateTime::from_millis(START_MS + i * 60_000);
        doc! {"at": at, "sensor": {"id": i % 7, "place": "roof"}, "value": i as f64 / 3.0, "text": format!("t{i}")}
    };
    let documents: Vec<Document> = (from..from + count).map(measurement).collect();
    run(client, db, doc! {"insert": series, "documents": documents}).await;
}

async fn create(client: &Client, db: &str, series: &str, more: Document) {
    let mut command = doc! {"create": series, "timeseries": {"timeField": "at", "metaField": "sensor", "granularity": "minutes"}};
    command.extend(more);
    run(client, db, command).await;
}

async fn index(client: &Client, series: &str) {
    let index = doc! {"key": {"sensor.id": 1, "at": -1}, "name": "by_sensor"};
    run(
        client,
        "d",
        doc! {"createIndexes": series, "indexes": [index]},
    )
    .await;
}

async fn drop_one(client: &Client, name: &str) {
    run(client, "d", doc! {"drop": name}).await;
}

async fn options(client: &Client, name: &str) -> Option<Document> {
    let list = doc! {"listCollections": 1, "filter": {"name": name}};
    let reply = run(client, "d", list).await;
    let rows = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    let row = rows.first().and_then(Bson::as_document)?;
    Some(row.get_document("options").unwrap().clone())
}

/// Updates and deletes of measurements, which 6.0 has.
async fn change_by_sensor(client: &Client) {
    let moved =
        doc! {"q": {"sensor.id": 3}, "u": {"$set": {"sensor.place": "cellar"}}, "multi": true};
    run(client, "d", doc! {"update": "weather", "updates": [moved]}).await;
    let gone = doc! {"q": {"sensor.id": 5}, "limit": 0};
    run(client, "d", doc! {"delete": "weather", "deletes": [gone]}).await;
}

pub(crate) async fn populate(source: &Client) {
    create(
        source,
        "d",
        "weather",
        doc! {"expireAfterSeconds": EXPIRY_S},
    )
    .await;
    create(source, "d", "german", doc! {"collation": {"locale": "de"}}).await;
    create(source, "d", "gone", doc! {}).await;
    create(source, "d", "empty", doc! {}).await;
    create(source, "left", "all", doc! {}).await;
    for (db, series) in [
        ("d", "weather"),
        ("d", "german"),
        ("d", "gone"),
        ("left", "all"),
    ] {
        measure(source, db, series, 0, 3_000).await;
    }
    index(source, "weather").await;
    fixture::insert(source, "d", "ordinary").await;
    let view = doc! {"create": "warm", "viewOn": "weather", "pipeline": [{"$match": {"value": {"$gte": 9}}}]};
    run(source, "d", view).await;
}

/// What happens while the engine follows.
pub(crate) async fn change(source: &Client, series: &str, changes_by_sensor: bool) {
    measure(source, "d", "weather", 1_500, 2_500).await;
    measure(source, "d", "german", 3_000, 50).await;
    if changes_by_sensor {
        change_by_sensor(source).await;
    }
    create(source, "d", series, doc! {"expireAfterSeconds": EXPIRY_S}).await;
    measure(source, "d", series, 0, 500).await;
    index(source, series).await;
    measure(source, "d", series, 400, 500).await;
    let mut changes = vec![
        doc! {"collMod": series, "expireAfterSeconds": 2 * EXPIRY_S},
        doc! {"collMod": series, "timeseries": {"granularity": "hours"}},
        doc! {"collMod": "german", "expireAfterSeconds": EXPIRY_S},
        doc! {"collMod": "weather", "expireAfterSeconds": "off"},
        doc! {"collMod": "weather", "expireAfterSeconds": EXPIRY_S + 60},
    ];
    if changes_by_sensor {
        changes.push(doc! {"collMod": series, "index": {"name": "by_sensor", "hidden": true}});
    }
    for change in changes {
        run(source, "d", change).await;
    }
    measure(source, "d", series, 900, 100).await;
    let short = format!("{series}_short");
    create(source, "d", &short, doc! {}).await;
    measure(source, "d", &short, 0, 10).await;
    drop_one(source, &short).await;
}

/// Names pass from time series to collections and back.
pub(crate) async fn swap(source: &Client) {
    drop_one(source, "gone").await;
    fixture::insert(source, "d", "gone").await;
    drop_one(source, "ordinary").await;
    create(source, "d", "ordinary", doc! {}).await;
    measure(source, "d", "ordinary", 0, 100).await;
    drop_one(source, "empty").await;
    create(source, "d", "empty", doc! {}).await;
    measure(source, "d", "empty", 0, 100).await;
    source.database("left").drop().await.unwrap();
}

async fn set(name: &str, release: &str) -> ReplicaSet {
    fixture::loaded_replica_set_of(name, release.parse().unwrap()).await
}

async fn arrive_equal(source_release: &str, target_release: &str) {
    let (a, b) = tokio::join!(set("a", source_release), set("b", target_release));
    let by_sensor = source_release.starts_with('6');
    arrive_equal_on(&a.uri(), &b.uri(), by_sensor).await;
}

async fn arrive_equal_on(source: &str, target: &str, by_sensor: bool) {
    let (from, to) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    populate(&from).await;

    let mut engine = Engine::start_to_crash(source, target, &[], "unit-batch-written").await;
    while engine.is_running() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    let held_back = options(&to, "weather").await.unwrap();
    assert!(!held_back.contains_key("expireAfterSeconds"), "{held_back}");
    change(&from, "first", by_sensor).await;
    engine.kill();
    change(&from, "second", by_sensor).await;
    swap(&from).await;
    let mut engine = Engine::start_to_crash(source, target, &[], "drop-made").await;
    while engine.is_running() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    change(&from, "third", by_sensor).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(source, target).await;
    assert_eq!(
        options(&to, "weather").await,
        options(&from, "weather").await
    );
    assert_eq!(options(&to, "first_short").await, None);

    // They are what they were to those who use them.
    for client in [&from, &to] {
        measure(client, "d", "weather", 10_000, 10).await;
        measure(client, "d", "ordinary", 10_000, 10).await;
    }
    for series in ["weather", "german", "ordinary", "empty", "third"] {
        let count = async |client: &Client| {
            let rows = client.database("d").collection::<Document>(series);
            rows.count_documents(doc! {}).await.unwrap()
        };
        assert_eq!(count(&from).await, count(&to).await, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_of_6_0_arrive_equal() {
    arrive_equal("6.0", "6.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_of_5_0_arrive_equal() {
    arrive_equal("5.0", "5.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_of_5_0_arrive_equal_on_6_0() {
    arrive_equal("5.0", "6.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_arrive_equal_on_a_sharded_cluster() {
    let (a, b) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    arrive_equal_on(&a.uri(), &b.uri(), false).await;
}

/// The newer one makes another validator of buckets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_of_6_0_arrive_equal_on_a_later_patch() {
    arrive_equal("6.0.5", "6.0.27").await;
}

async fn shard(client: &Client, series: &str, key: Document) {
    let made = doc! {"timeField": "at", "metaField": "sensor", "granularity": "seconds"};
    let ns = format!("d.{series}");
    let sharded = doc! {"shardCollection": ns, "key": key, "timeseries": made};
    run(client, "admin", sharded).await;
}

/// From here on it is on both shards.
async fn spread(client: &Client, series: &str, middle: Document) {
    let ns = format!("d.system.buckets.{series}");
    let split = doc! {"split": &ns, "middle": &middle};
    run(client, "admin", split).await;
    move_chunk(client, &ns, middle).await;
}

async fn move_chunk(client: &Client, ns: &str, find: Document) {
    let moved = doc! {"moveChunk": ns, "find": find, "to": "shard1", "_waitForDelete": true};
    run(client, "admin", moved).await;
}

/// Its database's primary shard has no chunk of it, and so not what is changed from then on.
async fn change_away_from_the_primary(client: &Client) {
    shard(client, "away", doc! {"sensor.id": 1}).await;
    let buckets = "d.system.buckets.away";
    move_chunk(client, buckets, doc! {"meta.id": 3_i64}).await;
    for change in [
        doc! {"collMod": "away", "expireAfterSeconds": EXPIRY_S},
        doc! {"collMod": "away", "timeseries": {"granularity": "minutes"}},
    ] {
        run(client, "d", change).await;
    }
    measure(client, "d", "away", 0, 100).await;
}

const SHARDED: [&str; 4] = ["by_meta", "by_time", "by_both", "hashed"];

async fn shard_all(client: &Client, prefix: &str) {
    let keys = [
        doc! {"sensor.id": 1},
        doc! {"at": 1},
        doc! {"sensor.id": 1, "at": 1},
        doc! {"sensor": "hashed"},
    ];
    for (what, key) in SHARDED.into_iter().zip(keys) {
        shard(client, &format!("{prefix}_{what}"), key).await;
    }
}

async fn measure_all(client: &Client, prefix: &str, from: i64) {
    for what in SHARDED {
        measure(client, "d", &format!("{prefix}_{what}"), from, 600).await;
    }
}

/// Of those with this prefix.
async fn change_sharded(client: &Client, prefix: &str) {
    for what in SHARDED {
        let name = format!("{prefix}_{what}");
        index(client, &name).await;
        for change in [
            doc! {"collMod": &name, "expireAfterSeconds": EXPIRY_S},
            doc! {"collMod": &name, "timeseries": {"granularity": "minutes"}},
        ] {
            run(client, "d", change).await;
        }
        measure(client, "d", &name, 900, 300).await;
    }
    let gone = doc! {"q": {"sensor.id": 5_i64}, "limit": 0};
    let delete = doc! {"delete": format!("{prefix}_by_meta"), "deletes": [gone]};
    run(client, "d", delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_time_series_arrive_equal() {
    let (a, b) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    let (source, target) = (&a.uri(), &b.uri());
    let from = a.client().await.unwrap();
    shard_all(&from, "old").await;
    let start = DateTime::from_millis(START_MS + 200 * 60_000);
    let both = doc! {"meta.id": 4_i64, "control.min.at": start};
    spread(&from, "old_by_meta", doc! {"meta.id": 3_i64}).await;
    spread(&from, "old_by_time", doc! {"control.min.at": start}).await;
    spread(&from, "old_by_both", both).await;
    measure_all(&from, "old", 0).await;
    change_away_from_the_primary(&from).await;
    shard(&from, "short", doc! {"sensor": "hashed"}).await;
    measure(&from, "d", "short", 0, 100).await;
    let engine = Engine::start_to_crash(source, target, &[], "unit-batch-written").await;
    engine.crashed().await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    measure_all(&from, "old", 300).await;
    change_sharded(&from, "old").await;
    engine.until_ready().await;
    engine.kill();
    shard_all(&from, "new").await;
    measure_all(&from, "new", 0).await;
    drop_one(&from, "short").await;
    let engine = Engine::start_to_crash(source, target, &[], "drop-made").await;
    engine.crashed().await;
    // The name is another's.
    shard(&from, "short", doc! {"at": 1}).await;
    measure(&from, "d", "short", 0, 50).await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    change_sharded(&from, "new").await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(source, target).await;
    let to = b.client().await.unwrap();
    for client in [&from, &to] {
        measure(client, "d", "old_by_both", 10_000, 10).await;
    }
    for series in ["old_by_meta", "old_by_both", "new_hashed", "short"] {
        let count = async |client: &Client| {
            let rows = client.database("d").collection::<Document>(series);
            let rows = rows.aggregate([doc! {"$count": "n"}]).await.unwrap();
            rows.try_collect::<Vec<_>>().await.unwrap()
        };
        assert_eq!(count(&from).await, count(&to).await, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_go_with_a_run_that_is_wiped() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    for series in ["kept", "dropped"] {
        create(&from, "d", series, doc! {}).await;
        measure(&from, "d", series, 0, 100).await;
    }
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
    drop_one(&from, "dropped").await;
    let mut engine = Engine::start(&source, &target, &["--restart"]).await;
    engine.until_ready().await;
    assert_eq!(options(&to, "dropped").await, None);
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}
