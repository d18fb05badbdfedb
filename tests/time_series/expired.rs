//! Series of which the source expires something while it is followed, and one that goes by
//! its buckets.

use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use loadgen::server::version::Release;
use mongodb::Client;

use super::{create, measure, options};
use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::expect_equal;
use crate::releases::rig::{of, set_with};

/// 2020: long past, a day apart.
const PAST_MS: i64 = 1_577_836_800_000;
const DAY_MS: i64 = 86_400_000;
const PAST_DAYS: i64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

async fn measure_past(client: &Client, series: &str) {
    let documents: Vec<Document> = (0..PAST_DAYS)
        .map(|day| doc! {"at": DateTime::from_millis(PAST_MS + day * DAY_MS), "sensor": {"id": day % 7}, "value": day})
        .collect();
    run(client, "d", doc! {"insert": series, "documents": documents}).await;
}

async fn past(client: &Client, series: &str) -> u64 {
    let rows = client.database("d").collection::<Document>(series);
    let before = DateTime::from_millis(PAST_MS + PAST_DAYS * DAY_MS);
    let filter = doc! {"at": {"$lt": before}};
    rows.count_documents(filter).await.unwrap()
}

async fn until_expired(client: &Client, series: &str, whose: &str) {
    let began = Instant::now();
    while 0 < past(client, series).await {
        assert!(began.elapsed() < PATIENCE, "nothing expires on the {whose}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn monitor(client: &Client, on: bool) {
    let set = doc! {"setParameter": 1, "ttlMonitorEnabled": on};
    run(client, "admin", set).await;
}

async fn expires_while_followed(release: Release) {
    let often = ["--setParameter", "ttlMonitorSleepSecs=1"];
    let (a, b) = tokio::join!(
        set_with("a", release, &often),
        set_with("b", release, &often)
    );
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    for series in ["weather", "dropped"] {
        create(&from, "d", series, doc! {}).await;
        measure_past(&from, series).await;
        measure(&from, "d", series, 0, 500).await;
    }
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    assert_eq!(past(&to, "weather").await, PAST_DAYS as u64);
    let expiry = doc! {"collMod": "weather", "expireAfterSeconds": kept_s()};
    run(&from, "d", expiry).await;
    until_expired(&from, "weather", "source").await;
    // By the source's log: the target has no expiry yet.
    until_expired(&to, "weather", "target").await;
    let held_back = options(&to, "weather").await.unwrap();
    assert!(!held_back.contains_key("expireAfterSeconds"), "{held_back}");
    // What the source keeps though it is due, the target keeps too.
    monitor(&from, false).await;
    measure_past(&from, "weather").await;
    run(&from, "d", doc! {"drop": "system.buckets.dropped"}).await;
    engine.until_ready().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    monitor(&to, false).await;
    engine.cut_over().await;
    // A pass of the source's monitor that was under way may have taken some of them.
    assert_eq!(past(&to, "weather").await, past(&from, "weather").await);
    assert_eq!(
        options(&to, "weather").await,
        options(&from, "weather").await
    );
    for name in ["dropped", "system.buckets.dropped"] {
        assert_eq!(options(&to, name).await, None, "{name}");
    }
    expect_equal(&a.uri(), &b.uri()).await;
}

/// An expiry of which the past is beyond and what `measure` made is not, whatever the date.
fn kept_s() -> i64 {
    let now = DateTime::now().timestamp_millis();
    let middle = (PAST_MS + super::START_MS) / 2;
    (now - middle) / 1_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_series_of_6_0_expires_while_it_is_followed_goes() {
    expires_while_followed(of(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_series_of_5_0_expires_while_it_is_followed_goes() {
    expires_while_followed(of(5, 0)).await;
}
