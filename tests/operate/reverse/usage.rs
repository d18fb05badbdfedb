//! What users do, on either side, and what they find.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::fixture::run;

pub(super) async fn expiry_of(client: &Client) -> Option<i64> {
    let database = client.database("shop");
    let cursor = database.run_cursor_command(doc! {"listIndexes": "sessions"});
    let indexes: Vec<Document> = cursor.await.unwrap().try_collect().await.unwrap();
    let index = indexes
        .iter()
        .find(|i| i.get_str("name").is_ok_and(|name| name == "at"))?;
    let expiry = index.get("expireAfterSeconds")?;
    expiry.as_i64().or(expiry.as_i32().map(i64::from))
}

/// The expiries of that server have been looked for twice from now on.
pub(super) async fn expiries_have_run(client: &Client) {
    let passes = async || {
        let status = run(client, "admin", doc! {"serverStatus": 1}).await;
        let ttl = status.get_document("metrics").unwrap();
        ttl.get_document("ttl").unwrap().get_i64("passes").unwrap()
    };
    let before = passes().await;
    while passes().await < before + 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn prepared(a: &Client) {
    for coll in ["orders", "gone", "accounts"] {
        let documents: Vec<Document> = (0..50).map(|i| doc! {"_id": i, "x": i, "n": 0}).collect();
        run(a, "shop", doc! {"insert": coll, "documents": documents}).await;
    }
    let at = doc! {"key": {"at": 1}, "name": "at", "expireAfterSeconds": 3_600};
    let index = doc! {"createIndexes": "sessions", "indexes": [at]};
    run(a, "shop", index).await;
    let capped = doc! {"create": "log", "capped": true, "size": 8192};
    run(a, "shop", capped).await;
    let lines: Vec<Document> = (0..5).map(|i| doc! {"_id": i}).collect();
    run(a, "shop", doc! {"insert": "log", "documents": lines}).await;
}

/// A time series that expires, of 6.0.
pub(super) async fn series_made(client: &Client) {
    let series = doc! {"timeField": "at", "metaField": "sensor"};
    let create = doc! {"create": "weather", "timeseries": series, "expireAfterSeconds": 7_200};
    run(client, "shop", create).await;
    measured(client, 0).await;
}

/// Nothing of it expires while a test runs.
pub(super) async fn measured(client: &Client, turn: i32) {
    let rows = (0..20).map(|i| doc! {"at": DateTime::now(), "sensor": turn, "value": i});
    let rows: Vec<Document> = rows.collect();
    run(
        client,
        "shop",
        doc! {"insert": "weather", "documents": rows},
    )
    .await;
}

/// What users do on the target, in turn `turn`.
pub(super) async fn used(b: &Client, turn: i32) {
    let at = 1_000 * turn;
    let documents: Vec<Document> = (at..at + 20).map(|i| doc! {"_id": i, "x": i}).collect();
    for coll in ["orders", "log"] {
        let insert = doc! {"insert": coll, "documents": documents.clone()};
        run(b, "shop", insert).await;
    }
    let update = doc! {"q": {"x": {"$lt": 10}}, "u": {"$inc": {"n": turn}, "$set": {"of.turn": turn}}, "multi": true};
    run(b, "shop", doc! {"update": "orders", "updates": [update]}).await;
    let delete = doc! {"q": {"_id": {"$gte": at - 970, "$lt": at - 965}}, "limit": 0};
    run(b, "shop", doc! {"delete": "orders", "deletes": [delete]}).await;
    let mut session = b.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let accounts = b.database("shop").collection::<Document>("accounts");
    for (id, by) in [(1, -turn), (2, turn)] {
        let change = doc! {"$inc": {"n": by}};
        let update = accounts.update_one(doc! {"_id": id}, change);
        update.session(&mut session).await.unwrap();
    }
    session.commit_transaction().await.unwrap();
    let new = format!("new{turn}");
    run(b, "shop", doc! {"create": &new}).await;
    run(b, "shop", doc! {"insert": &new, "documents": [{"_id": 1}]}).await;
    let index = doc! {"key": {"x": 1, "n": turn}, "name": format!("xn{turn}")};
    for coll in [&new, "orders"] {
        let create = doc! {"createIndexes": coll, "indexes": [index.clone()]};
        run(b, "shop", create).await;
    }
}
