//! Documents in which a field name occurs twice, over a restart: the process that goes
//! on has not seen them, and a pipeline update of one aborts the target's server.

use std::time::Duration;

use bson::{Document, RawArrayBuf, RawDocumentBuf, Uuid, cstr, doc, rawdoc};
use mongodb::Client;
use shardlift::cluster::catalog::{self, Namespace};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

fn twice(id: &str) -> RawDocumentBuf {
    let mut document = rawdoc! {"_id": id, "a": 1, "b": 2};
    document.append(cstr!("a"), 3);
    document.append(cstr!("a"), "four");
    document
}

/// Changes every field of that name, as the oplog's deltas do: `$set` would change the
/// first one only.
async fn change_each(client: &Client, uuid: Uuid, id: &str, value: i32) {
    let delta = doc! {
        "op": "u", "ns": "d.c", "ui": uuid, "o": {"$v": 2, "diff": {"u": {"a": value}}}, "o2": {"_id": id},
    };
    run(
        client,
        "admin",
        doc! {"applyOps": [delta], "allowAtomic": false, "alwaysUpsert": false},
    )
    .await;
}

async fn set(client: &Client, id: &str, change: Document) {
    run(
        client,
        "d",
        doc! {"update": "c", "updates": [{"q": {"_id": id}, "u": change}]},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_with_a_field_name_twice_are_followed_after_a_crash() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let (at_source, at_target) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let documents = ["each", "one", "gone"].map(twice);
    let insert = rawdoc! {"insert": "c", "documents": RawArrayBuf::from_iter(documents), "writeConcern": {"w": "majority"}};
    at_source
        .database("d")
        .run_raw_command(insert)
        .await
        .unwrap();
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let uuid = catalog::local_uuid(&fixture::source(&source_uri).await.shards[0], &ns)
        .await
        .unwrap()
        .unwrap();

    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    // Recorded as copied whole: the next process does not read them again.
    let state = at_target.database("__shardlift");
    let recorded = async |coll: &str, filter: Document| {
        while state
            .collection::<Document>(coll)
            .find_one(filter.clone())
            .await
            .unwrap()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    recorded(
        "collections",
        doc! {"ns.coll": "c", "duplicate_names": true},
    )
    .await;
    recorded("units", doc! {"settled": true}).await;
    engine.kill();

    for value in [7, 8] {
        change_each(&at_source, uuid, "each", value).await;
        set(
            &at_source,
            "one",
            doc! {"$set": {"b": value, format!("new {value}"): {"x": 1}}},
        )
        .await;
    }
    set(&at_source, "one", doc! {"$unset": {"new 7": 1}}).await;
    run(
        &at_source,
        "d",
        doc! {"delete": "c", "deletes": [{"q": {"_id": "gone"}, "limit": 1}]},
    )
    .await;

    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    change_each(&at_source, uuid, "one", 9).await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}
