//! Time series: their buckets move as they are, and the series are what they were.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use loadgen::cluster::ReplicaSet;
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;

mod expired;
mod sharded;

/// 2026-01-01, in milliseconds: nothing of it expires by itself before the cutover.
const START_MS: i64 = 1_767_225_600_000;
/// 20 years.
const EXPIRY_S: i64 = 630_720_000;

/// Measurements of some sensors from `from` on, a minute apart.
async fn measure(client: &Client, db: &str, series: &str, from: i64, count: i64) {
    let measurement = |i: i64| {
        let at = DateTime::from_millis(START_MS + i * 60_000);
        doc! {"at": at, "sensor": {"id": i % 7, "place": "roof"}, "value": i as f64 / 3.0, "text": format!("t{i}"), "spot": [i % 90, 1]}
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

/// By what only measurements have, which 6.0 takes.
async fn index_measurements(client: &Client, series: &str) {
    let indexes = [
        doc! {"key": {"value": 1}, "name": "value", "hidden": true},
        doc! {"key": {"spot": "2dsphere"}, "name": "spot"},
        doc! {"key": {"sensor.id": 1, "at": 1}, "name": "some", "partialFilterExpression": {"sensor.id": {"$gt": 1}}},
    ];
    let create = doc! {"createIndexes": series, "indexes": indexes.to_vec()};
    run(client, "d", create).await;
}

/// How the servers make the series of their buckets.
async fn views(client: &Client) -> Vec<Document> {
    let find = doc! {"find": "system.views", "sort": {"_id": 1}};
    let reply = run(client, "d", find).await;
    let rows = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch");
    let rows = rows.unwrap().iter();
    rows.map(|row| row.as_document().unwrap().clone()).collect()
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
    if changes_by_sensor {
        index_measurements(source, series).await;
    }
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
    // Another release makes them otherwise.
    if source_release == target_release {
        let (a, b) = (a.client().await.unwrap(), b.client().await.unwrap());
        assert_eq!(views(&a).await, views(&b).await);
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_whose_buckets_were_renamed_costs_that_series_once_it_has_its_name_again() {
    let (a, b) = tokio::join!(set("a", "6.0.27"), set("b", "6.0.27"));
    let (source, target) = (a.uri(), b.uri());
    let from = a.client().await.unwrap();
    for series in ["wind", "rain"] {
        create(&from, "d", series, doc! {}).await;
        measure(&from, "d", series, 0, 300).await;
    }
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    let (wind, gust) = ("d.system.buckets.wind", "d.system.buckets.gust");
    let rename = async |from_name: &str, to: &str| {
        let rename = doc! {"renameCollection": from_name, "to": to};
        run(&from, "admin", rename).await;
    };
    rename(wind, gust).await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    let texts = [
        "`renameCollection` of a time series",
        "rename its buckets back",
    ];
    assert!(
        outcome.code == 6 && texts.iter().all(|text| log.contains(text)),
        "{log}"
    );
    rename(gust, wind).await;
    measure(&from, "d", "wind", 300, 100).await;
    let recopy = ["recopy", "--shard", "a", "--ns", "d.wind"];
    let sides = ["--source", &source, "--target", &target];
    let (code, text) = shardlift(&[&recopy[..], &sides].concat(), None).await;
    let emptied = "emptied on the target: 1, made anew: 0";
    assert!(code == Some(0) && text.contains(emptied), "{text}");
    let mut engine = Engine::start(&source, &target, &[]).await;
    measure(&from, "d", "wind", 400, 100).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
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
