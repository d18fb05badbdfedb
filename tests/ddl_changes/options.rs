//! `collMod` of collections and of indexes.

use std::time::Duration;

use bson::{Document, doc};
use loadgen::abilities::Abilities;
use mongodb::Client;
use shardlift::observe::status::Snapshot;

use crate::ddl_changes::{fill, follow, on_clusters, on_sets, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::releases::rig::{of, set};

const PLAIN: [&str; 7] = ["ttl", "hid", "dup", "val", "unval", "img", "old"];

pub(crate) async fn before(client: &Client) {
    for coll in PLAIN {
        fill(client, coll, 100).await;
    }
    let index = |key: &str, more: Document| {
        let mut index = doc! {"key": {key: 1}, "name": key};
        index.extend(more);
        index
    };
    run_all(
        client,
        [
            doc! {"createIndexes": "ttl", "indexes": [
                index("e", doc! {"expireAfterSeconds": 3_600}), index("f", doc! {"expireAfterSeconds": 60}), index("p", doc! {}),
            ]},
            doc! {"createIndexes": "hid", "indexes": [index("k", doc! {}), index("note", doc! {"hidden": true})]},
            doc! {"createIndexes": "dup", "indexes": [index("k", doc! {}), index("note", doc! {})]},
            doc! {"collMod": "unval", "validator": {"k": {"$gte": 0}}, "validationLevel": "moderate"},
            doc! {"create": "ring", "capped": true, "size": 1 << 20},
            doc! {"create": "counted", "capped": true, "size": 1 << 20, "max": 60},
            doc! {"create": "clu", "clusteredIndex": {"key": {"_id": 1}, "unique": true}, "expireAfterSeconds": 9_000},
            // On 6.0.5 every other `collMod` takes this back.
            doc! {"create": "imaged", "recordPreImages": true},
            doc! {"createIndexes": "imaged", "indexes": [index("e", doc! {"expireAfterSeconds": 3_600})]},
            doc! {"create": "shown", "recordPreImages": true},
            doc! {"createIndexes": "shown", "indexes": [index("k", doc! {})]},
            doc! {"create": "off", "clusteredIndex": {"key": {"_id": 1}, "unique": true}, "expireAfterSeconds": 9_000},
        ],
    )
    .await;
    fill(client, "ring", 100).await;
    fill(client, "counted", 100).await;
    fill(client, "clu", 100).await;
}

pub(crate) async fn changes(client: &Client) {
    let index = |coll: &str, index: Document| doc! {"collMod": coll, "index": index};
    run_all(
        client,
        [
            index("ttl", doc! {"name": "e", "expireAfterSeconds": 7_200}),
            index(
                "ttl",
                doc! {"keyPattern": {"p": 1}, "expireAfterSeconds": 100_000},
            ),
            index(
                "ttl",
                doc! {"name": "f", "expireAfterSeconds": 90, "hidden": true},
            ),
            index("hid", doc! {"name": "k", "hidden": true}),
            index("shown", doc! {"name": "k", "hidden": true}),
            index("hid", doc! {"name": "note", "hidden": false}),
            index("dup", doc! {"name": "note", "prepareUnique": true}),
            index("dup", doc! {"name": "k", "prepareUnique": true}),
            index("dup", doc! {"name": "k", "unique": true}),
            doc! {"collMod": "val", "validator": {"k": {"$gte": 0}}},
            doc! {"collMod": "val", "validationAction": "warn"},
            doc! {"collMod": "unval", "validator": {}},
            doc! {"collMod": "img", "changeStreamPreAndPostImages": {"enabled": true}},
            doc! {"collMod": "old", "recordPreImages": true},
            doc! {"collMod": "clu", "expireAfterSeconds": 5_000},
            doc! {"collMod": "off", "expireAfterSeconds": "off"},
            doc! {"collMod": "ring", "cappedSize": 4_096, "cappedMax": 20},
            doc! {"collMod": "counted", "cappedMax": 70},
        ],
    )
    .await;
    let more = (100..150).map(|i| doc! {"_id": i, "k": i, "note": format!("{i}")});
    for coll in ["ring", "counted", "clu", "dup"] {
        let rows = client.database("d").collection::<Document>(coll);
        rows.insert_many(more.clone()).await.unwrap();
    }
    // Smaller once more, and again as many as there are.
    run_all(
        client,
        [
            doc! {"collMod": "ring", "cappedMax": 7},
            doc! {"collMod": "counted", "cappedMax": -1},
        ],
    )
    .await;
    let last = (150..155).map(|i| doc! {"_id": i, "k": i});
    for coll in ["ring", "counted"] {
        let rows = client.database("d").collection::<Document>(coll);
        rows.insert_many(last.clone()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_changed_options_is_followed() {
    on_sets(before, changes, None).await;
}

/// The first change is made on the target and not recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_options_are_followed_again_after_a_crash() {
    on_sets(before, changes, Some("modified")).await;
}

/// Validation that came and went again, several times, is what it is at last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_are_taken_back_are_back() {
    let back = async |client: &Client| {
        run_all(
            client,
            [
                doc! {"collMod": "img", "changeStreamPreAndPostImages": {"enabled": true}},
                doc! {"collMod": "img", "changeStreamPreAndPostImages": {"enabled": false}},
                doc! {"collMod": "old", "recordPreImages": true},
                doc! {"collMod": "old", "recordPreImages": false},
                doc! {"collMod": "val", "validator": {"k": {"$gte": 0}}, "validationLevel": "off"},
                doc! {"collMod": "val", "validator": {}, "validationLevel": "strict"},
                doc! {"collMod": "clu", "expireAfterSeconds": "off"},
                doc! {"collMod": "clu", "expireAfterSeconds": 8_000},
            ],
        )
        .await;
    };
    on_sets(before, back, None).await;
}

/// A creation comes again after a crash, and the source lists what later changes made of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_was_changed_since_its_creation_is_made_again() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    fill(&client, "first", 10).await;
    let (source, target) = (source.uri(), target.uri());
    let clustered = doc! {"key": {"_id": 1}, "unique": true};
    let measured = doc! {"timeField": "at", "metaField": "k", "granularity": "seconds"};
    let rows = [
        (
            doc! {"create": "ring", "capped": true, "size": 1 << 20, "max": 500, "validator": {"k": 1}},
            vec![
                doc! {"collMod": "ring", "validator": {"k": {"$gte": 0}}, "validationLevel": "moderate"},
                doc! {"collMod": "ring", "cappedSize": 1 << 19, "cappedMax": 60},
                doc! {"collMod": "ring", "changeStreamPreAndPostImages": {"enabled": true}},
            ],
        ),
        (
            doc! {"create": "clu", "clusteredIndex": clustered, "expireAfterSeconds": 9_000, "recordPreImages": true},
            vec![
                doc! {"collMod": "clu", "expireAfterSeconds": 5_000},
                doc! {"collMod": "clu", "validator": {"k": {"$gte": 0}}, "validationAction": "warn"},
            ],
        ),
        (
            doc! {"create": "series", "timeseries": measured},
            vec![
                doc! {"collMod": "series", "timeseries": {"granularity": "hours"}},
                doc! {"collMod": "series", "expireAfterSeconds": 630_720_000},
            ],
        ),
    ];
    for (create, changes) in rows {
        let name = create.get_str("create").unwrap().to_owned();
        let place = "creation-made";
        let mut engine = Engine::start_to_crash(&source, &target, &[], place).await;
        engine.until_ready().await;
        run_all(&client, [create]).await;
        engine.crashed().await;
        run_all(&client, changes).await;
        if name != "series" {
            fill(&client, &name, 100).await;
        }
        let mut engine = Engine::start(&source, &target, &[]).await;
        engine.until_ready().await;
        engine.kill();
    }
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

/// On every shard that has the collection, the primary without a chunk among them or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_of_sharded_collections_are_followed() {
    let before = async |client: &Client| {
        for (name, key) in [("spread", doc! {"_id": "hashed"}), ("lone", doc! {"k": 1})] {
            let command = doc! {"shardCollection": format!("d.{name}"), "key": key};
            run(client, "admin", command).await;
            fill(client, name, 200).await;
            let index = doc! {"key": {"note": 1}, "name": "note"};
            run(
                client,
                "d",
                doc! {"createIndexes": name, "indexes": [index]},
            )
            .await;
        }
        fill(client, "plain", 50).await;
        let field = doc! {"path": "ssn", "bsonType": "string", "keyId": bson::Uuid::new()};
        let encrypted = doc! {"create": "secret", "encryptedFields": {"fields": [field]}};
        run(client, "d", encrypted).await;
        let shard = doc! {"shardCollection": "d.secret", "key": {"_id": "hashed"}};
        run(client, "admin", shard).await;
        fill(client, "secret", 50).await;
    };
    let changes = async |client: &Client| {
        for name in ["spread", "lone", "plain", "secret"] {
            let validator = doc! {"collMod": name, "validator": {"k": {"$gte": 0}}};
            run(client, "d", validator).await;
        }
        for name in ["spread", "lone"] {
            let hidden = doc! {"name": "note", "hidden": true};
            let expiry = doc! {"name": "note", "expireAfterSeconds": 100_000};
            run_all(
                client,
                [hidden, expiry].map(|index| doc! {"collMod": name, "index": index}),
            )
            .await;
        }
    };
    on_clusters(before, changes).await;
}

/// What each release before 6.0 takes.
pub(crate) mod earlier {
    use super::*;

    fn expiring() -> Document {
        doc! {"key": {"e": 1}, "name": "e", "expireAfterSeconds": 3_600}
    }

    pub(crate) async fn before(client: &Client, hidden_indexes: bool) {
        for coll in ["ttl", "val", "hid", "old"] {
            fill(client, coll, 50).await;
        }
        if hidden_indexes {
            // On the target every other `collMod` takes it back, and expiries come by one.
            run_all(client, [doc! {"create": "imaged", "recordPreImages": true}]).await;
            fill(client, "imaged", 100).await;
        }
        let plain = doc! {"key": {"k": 1}, "name": "k"};
        run_all(
            client,
            [
                doc! {"createIndexes": "ttl", "indexes": [expiring()]},
                doc! {"createIndexes": "hid", "indexes": [plain]},
            ],
        )
        .await;
    }

    pub(crate) async fn changes(client: &Client, hidden_indexes: bool) {
        run_all(
            client,
            [
                doc! {"collMod": "ttl", "index": {"name": "e", "expireAfterSeconds": 7_200}},
                doc! {"collMod": "val", "validator": {"k": {"$gte": 0}}, "validationAction": "warn"},
            ],
        )
        .await;
        if hidden_indexes {
            run_all(
                client,
                [
                    doc! {"collMod": "hid", "index": {"name": "k", "hidden": true}},
                    doc! {"collMod": "old", "recordPreImages": true},
                    doc! {"createIndexes": "imaged", "indexes": [expiring()]},
                ],
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_of_earlier_releases_are_followed() {
    for release in [of(4, 2), of(4, 4), of(5, 0)] {
        let (source, target) = tokio::join!(set("a", release), set("b", release));
        let hidden = Abilities::from(release).hidden_indexes;
        earlier::before(&source.client().await.unwrap(), hidden).await;
        let changes = async |client: &Client| earlier::changes(client, hidden).await;
        follow((&source.uri(), &target.uri()), changes, None).await;
    }
}

/// What somebody switched off on the target, and the target does not take: it is said, and it is
/// tried again. No run ends by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_cannot_be_repaired_yet_only_hold_the_cutover_back() {
    let test = ["--setParameter", "enableTestCommands=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &test)
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    run_all(&a, [doc! {"create": "imaged", "recordPreImages": true}]).await;
    fill(&a, "imaged", 10).await;
    let (from, to) = (source.uri(), target.uri());
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    let refuse = async |mode: &str| {
        let data = doc! {"failCommands": ["collMod"], "errorCode": 72};
        let fault = doc! {"configureFailPoint": "failCommand", "mode": mode, "data": data};
        run(&b, "admin", fault).await;
    };
    refuse("alwaysOn").await;
    let list = doc! {"listCollections": 1, "filter": {"name": "imaged"}};
    let listed = run(&b, "d", list).await;
    let row = listed
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    let info = row[0].as_document().unwrap().get_document("info").unwrap();
    let off = doc! {"collMod": "imaged", "recordPreImages": false};
    let op = doc! {"op": "c", "ns": "d.$cmd", "ui": info.get("uuid").unwrap(), "o": off};
    run(&b, "admin", doc! {"applyOps": [op]}).await;
    let is_told = |now: &Snapshot| {
        now.obstacles
            .iter()
            .any(|told| told.contains("d.imaged has options"))
    };
    engine.until("telling that they differ", is_told).await;
    while !engine
        .log()
        .text()
        .contains("options of d.imaged stay as they are")
    {
        assert!(engine.is_running(), "{}", engine.log().text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refuse("off").await;
    engine.until("repaired", |now| !is_told(now)).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&from, &to).await;
}
