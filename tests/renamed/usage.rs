//! What users of a source do whose names are others on the target.

use bson::{DateTime, Document, doc};
use mongodb::Client;

use crate::fixture::run;

pub(super) async fn insert(client: &Client, ns: &str, ids: std::ops::Range<i32>) {
    let (db, coll) = ns.split_once('.').unwrap();
    let documents: Vec<Document> = ids.map(|id| doc! {"_id": id, "u": id, "n": 0}).collect();
    run(client, db, doc! {"insert": coll, "documents": documents}).await;
}

pub(super) async fn set_all(client: &Client, ns: &str, to: i32) {
    let (db, coll) = ns.split_once('.').unwrap();
    let all = doc! {"q": {}, "u": {"$set": {"n": to}}, "multi": true};
    run(client, db, doc! {"update": coll, "updates": [all]}).await;
    let one = doc! {"q": {"_id": to}, "limit": 1};
    run(client, db, doc! {"delete": coll, "deletes": [one]}).await;
}

pub(super) async fn index(client: &Client, ns: &str, key: &str) {
    let (db, coll) = ns.split_once('.').unwrap();
    let index = doc! {"key": {key: 1}, "name": key, "unique": key == "u"};
    run(client, db, doc! {"createIndexes": coll, "indexes": [index]}).await;
}

pub(super) async fn rename(client: &Client, from: &str, to: &str) {
    run(client, "admin", doc! {"renameCollection": from, "to": to}).await;
}

/// Reads `coll`, and `coll` again by each stage that names one.
pub(super) async fn view(client: &Client, db: &str, name: &str, coll: &str) {
    let inner = doc! {"$graphLookup": {
        "from": coll, "startWith": "$u", "connectFromField": "u", "connectToField": "n", "as": "g",
    }};
    let lookup =
        doc! {"$lookup": {"from": coll, "let": {"u": "$u"}, "pipeline": [inner], "as": "l"}};
    let pipeline = [doc! {"$match": {"from": "x.orders"}}, lookup];
    let create = doc! {"create": name, "viewOn": coll, "pipeline": pipeline.to_vec()};
    run(client, db, create).await;
}

pub(super) async fn measure(client: &Client, db: &str, series: &str, from: i64) {
    let at = |i| DateTime::from_millis(1_767_225_600_000 + i * 60_000);
    let rows: Vec<Document> = (from..from + 500)
        .map(|i| doc! {"at": at(i), "s": i % 3})
        .collect();
    run(client, db, doc! {"insert": series, "documents": rows}).await;
}

pub(super) async fn series(client: &Client, db: &str, name: &str) {
    let of = doc! {"timeField": "at", "metaField": "s"};
    run(client, db, doc! {"create": name, "timeseries": of}).await;
    measure(client, db, name, 0).await;
}

/// A capped collection that holds more than its size, where updates may make documents longer.
pub(super) async fn grown(client: &Client, ns: &str) {
    let (db, coll) = ns.split_once('.').unwrap();
    run(
        client,
        db,
        doc! {"create": coll, "capped": true, "size": 8_192},
    )
    .await;
    insert(client, ns, 0..30).await;
    let longer = doc! {"$set": {"note": "y".repeat(2_000)}};
    let all = doc! {"q": {}, "u": longer, "multi": true};
    run(client, db, doc! {"update": coll, "updates": [all]}).await;
}

pub(super) async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.retain(|name| !name.starts_with("system."));
    names.sort();
    names
}

/// `indexed`: a unique index on `u`, where collections may have one.
pub(super) async fn populate(source: &Client, indexed: &str) {
    for ns in [
        "a.plain",
        "a.dropped",
        "gone.rows",
        "x.orders",
        "x.swap",
        "x.moved",
        "x.stays",
        "w.part",
        "w.rest",
    ] {
        insert(source, ns, 0..400).await;
        index(source, ns, indexed).await;
    }
    insert(source, "x.other", 1_000..1_100).await;
    run(
        source,
        "a",
        doc! {"create": "ring", "capped": true, "size": 1 << 20},
    )
    .await;
    insert(source, "a.ring", 0..50).await;
    insert(source, "y.own", 0..10).await;
    view(source, "a", "over_plain", "plain").await;
    view(source, "x", "over_orders", "orders").await;
    view(source, "x", "orders_again", "over_orders").await;
    view(source, "x", "view_0", "orders").await;
    view(source, "w", "over_rest", "rest").await;
}

/// DDL of every kind, twice: before a crash and after.
pub(super) async fn change(source: &Client, turn: i32) {
    let new = format!("a.new_{turn}");
    insert(source, &new, 0..200).await;
    index(source, &new, "n").await;
    rename(source, &new, &format!("a.newer_{turn}")).await;
    for ns in ["a.plain", "x.orders", "x.swap", "x.other", "x.moved"] {
        set_all(source, ns, turn).await;
    }
    index(source, "x.orders", &format!("k{turn}")).await;
    index(source, "x.moved", &format!("k{turn}")).await;
    let valid = doc! {"collMod": "orders", "validator": {"n": {"$lt": 100 + turn}}};
    run(source, "x", valid.clone()).await;
    let of_another_database = doc! {"collMod": "plain", "validator": valid.get("validator")};
    run(source, "a", of_another_database).await;
    let out = [
        doc! {"$match": {"n": {"$gte": 0}}},
        doc! {"$out": "outcome"},
    ];
    let out = doc! {"aggregate": "plain", "pipeline": out.to_vec(), "cursor": {}};
    run(source, "a", out).await;
    view(source, "x", &format!("view_{turn}"), "orders").await;
    run(source, "x", doc! {"drop": format!("view_{}", turn - 1)}).await;
    insert(source, "a.ring", turn * 100..turn * 100 + 20).await;
    source.database("gone").drop().await.unwrap();
    insert(source, "gone.rows", 0..turn).await;
    run(source, "a", doc! {"drop": "dropped"}).await;
    insert(source, "a.dropped", 0..turn).await;
    // The name that another has on the target, and its own, come and go.
    run(source, "x", doc! {"drop": "swap"}).await;
    insert(source, "x.swap", turn * 10..turn * 10 + 5).await;
}

/// In one transaction, over several of them and one that is made in it.
pub(super) async fn transact(source: &Client, turn: i32) {
    let mut session = source.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for name in ["a.plain", "x.orders", "x.moved", "a.made"] {
        let (db, coll) = name.split_once('.').unwrap();
        let rows = source.database(db).collection::<Document>(coll);
        let row = doc! {"_id": 5_000 + turn, "u": 5_000 + turn, "n": turn};
        rows.insert_one(row).session(&mut session).await.unwrap();
    }
    session.commit_transaction().await.unwrap();
}
