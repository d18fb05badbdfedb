//! Expiring indexes of targets whose `collMod` cannot make one of a plain index: until the
//! cutover they delete nothing.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::expect_equal;
use crate::releases::rig::{of, set, set_with};

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
