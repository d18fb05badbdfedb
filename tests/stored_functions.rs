//! Databases with stored functions (`system.js`), a collection that `drop` refuses.

use bson::{Document, doc};
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

pub(crate) async fn insert(client: &Client, db: &str, coll: &str, ids: &[&str]) {
    let documents: Vec<Document> = ids
        .iter()
        .map(|id| doc! {"_id": id, "value": format!("function {id}")})
        .collect();
    run(client, db, doc! {"insert": coll, "documents": documents}).await;
}

async fn drop_database(client: &Client, db: &str) {
    run(client, db, doc! {"dropDatabase": 1}).await;
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    client.database(db).list_collection_names().await.unwrap()
}

async fn come_and_go(source: &str, target: &str) {
    let (a, b) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    for db in ["gone", "again", "kept", "lonely"] {
        insert(&a, db, "system.js", &["f", "g"]).await;
    }
    for db in ["gone", "again", "kept"] {
        insert(&a, db, "rows", &["1", "2"]).await;
    }
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    for db in ["gone", "again", "lonely"] {
        drop_database(&a, db).await;
    }
    insert(&a, "again", "system.js", &["h"]).await;
    insert(&a, "again", "rows", &["3"]).await;
    // Made and dropped again before anything of it is made on the target, perhaps.
    insert(&a, "short", "system.js", &["f"]).await;
    drop_database(&a, "short").await;
    insert(&a, "kept", "system.js", &["h"]).await;
    while !names(&b, "gone").await.is_empty() || !names(&b, "lonely").await.is_empty() {
        assert!(engine.is_running());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    engine.until_ready().await;

    // What a run made of them is wiped as all else.
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
    drop_database(&a, "kept").await;
    let mut engine = Engine::start(source, target, &["--restart"]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(source, target).await;
    assert!(names(&b, "kept").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_with_stored_functions_come_and_go_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    come_and_go(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_with_stored_functions_come_and_go_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    come_and_go(&source.uri(), &target.uri()).await;
}
