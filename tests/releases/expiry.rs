//! Expiring indexes of targets whose `collMod` cannot make one of a plain index: until the
//! cutover they delete nothing.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;
use shardlift::control::validate::Verdict;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::releases::rig::{of, set, set_with};
use crate::validate_warnings::check;

/// 1973. What is older than 1970 may go while the index is made.
const OLD: i64 = 100_000_000_000;

async fn expiry_of(client: &Client, index: &str) -> Option<f64> {
    let database = client.database("d");
    let cursor = database.run_cursor_command(doc! {"listIndexes": "c"});
    let indexes: Vec<Document> = cursor.await.unwrap().try_collect().await.unwrap();
    let index = indexes
        .iter()
        .find(|i| i.get_str("name").is_ok_and(|name| name == index));
    let expiry = index.unwrap().get("expireAfterSeconds");
    expiry.and_then(|expiry| {
        expiry
            .as_f64()
            .or(expiry.as_i64().map(|s| s as f64))
            .or(expiry.as_i32().map(f64::from))
    })
}

/// The monitors of the source do not run: the documents are expired on both sides, and the
/// one on the target would delete them every second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_expires_before_the_cutover_and_all_does_after_it() {
    for release in [of(4, 2), of(4, 4), of(5, 0)] {
        let often = ["--setParameter", "ttlMonitorSleepSecs=1"];
        let (source, target) = tokio::join!(set("a", release), set_with("b", release, &often));
        let (from, to) = (
            source.client().await.unwrap(),
            target.client().await.unwrap(),
        );
        let off = doc! {"setParameter": 1, "ttlMonitorEnabled": false};
        run(&from, "admin", off.clone()).await;
        let dates = [OLD, 1_000_000_000_000, 1_600_000_000_000];
        let documents: Vec<_> = dates
            .iter()
            .map(|ms| doc! {"d": DateTime::from_millis(*ms), "x": 1})
            .collect();
        run(
            &from,
            "d",
            doc! {"insert": "c", "documents": documents.clone()},
        )
        .await;
        let index = |name: &str, seconds: i32| {
            let mut key = Document::new();
            key.insert(name, 1);
            doc! {"createIndexes": "c", "indexes": [{"key": key, "name": name, "expireAfterSeconds": seconds}]}
        };
        run(&from, "d", index("d", 3_600)).await;
        let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
        engine.until_ready().await;
        // While it runs, too.
        run(&from, "d", index("e", 60)).await;
        run(
            &from,
            "d",
            doc! {"insert": "c", "documents": [{"e": DateTime::from_millis(OLD)}]},
        )
        .await;
        engine.until_ready().await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let there = to.database("d").collection::<Document>("c");
        let count = there.count_documents(doc! {}).await.unwrap();
        assert_eq!(count, 4, "{release}: documents expired before the cutover");
        run(&to, "admin", off).await;
        engine.cut_over().await;
        assert_eq!(expiry_of(&to, "d").await, Some(3_600.0), "{release}");
        assert_eq!(expiry_of(&to, "e").await, Some(60.0), "{release}");
        expect_equal(&source.uri(), &target.uri()).await;
    }
}

/// Passes of the monitor that deletes what is expired.
async fn passes(client: &Client) -> i64 {
    let status = run(client, "admin", doc! {"serverStatus": 1}).await;
    let ttl = status
        .get_document("metrics")
        .and_then(|metrics| metrics.get_document("ttl"));
    ttl.unwrap().get_i64("passes").unwrap()
}

/// Returns when the monitor has begun and ended a pass.
async fn has_looked(client: &Client) {
    let begun = passes(client).await;
    while passes(client).await < begun + 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Longer than what 5.0 and 6.0 keep (2147483647): these make that of it, by which documents
/// dated before 1958 expire.
const FOR_EVER: i64 = 9_000_000_000_000_000_000;
/// 1936.
const VERY_OLD: i64 = -1_073_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_that_the_target_would_shorten_deletes_nothing_there() {
    for (from, to) in [(of(4, 2), of(5, 0)), (of(4, 4), of(6, 0))] {
        let often = ["--setParameter", "ttlMonitorSleepSecs=1"];
        let (source, target) = tokio::join!(set_with("a", from, &often), set_with("b", to, &often));
        let (a, b) = (
            source.client().await.unwrap(),
            target.client().await.unwrap(),
        );
        let index = |name: &str| doc! {"key": {name: 1}, "name": name, "expireAfterSeconds": 3_600};
        let for_ever = |name: &str| doc! {"collMod": "c", "index": {"name": name, "expireAfterSeconds": FOR_EVER}};
        run(
            &a,
            "d",
            doc! {"createIndexes": "c", "indexes": [index("d")]},
        )
        .await;
        run(&a, "d", for_ever("d")).await;
        let rows = [VERY_OLD, OLD].map(|ms| doc! {"d": DateTime::from_millis(ms), "e": 1});
        run(&a, "d", doc! {"insert": "c", "documents": rows.to_vec()}).await;

        let sides = (
            fixture::source(&source.uri()).await,
            fixture::target(&target.uri()).await,
        );
        let told = check(&sides.0, &sides.1, "expiries kept").await;
        assert_eq!(told.verdict, Verdict::Warning, "{told:?}");
        assert!(told.found.contains("d of d.c (longer than"), "{told:?}");

        let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
        engine.until_ready().await;
        // While it runs, too: made short, and changed then.
        run(
            &a,
            "d",
            doc! {"createIndexes": "c", "indexes": [index("e")]},
        )
        .await;
        run(&a, "d", for_ever("e")).await;
        has_looked(&b).await;
        engine.until_ready().await;
        let outcome = engine.cut_over().await;
        has_looked(&a).await;
        has_looked(&b).await;
        for client in [&a, &b] {
            let rows = client.database("d").collection::<Document>("c");
            assert_eq!(rows.count_documents(doc! {}).await.unwrap(), 2, "{to}");
        }
        let log = outcome.log.text();
        assert!(log.contains("keeps no expiry above 2147483647 s"), "{log}");
        assert_eq!(expiry_of(&b, "d").await, None, "{to}");
        assert_eq!(expiry_of(&b, "e").await, None, "{to}");
        assert_eq!(expiry_of(&a, "d").await, Some(FOR_EVER as f64), "{from}");
    }
}
