//! Entries marked `fromMigrate` that are no chunk's move: they are data like any other.

use bson::{Document, doc};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_cloned_as_capped_during_the_run_arrives_equal() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    let rows = client.database("shop").collection::<Document>("c");
    rows.insert_many((0..500).map(|i| doc! {"_id": i, "text": "x".repeat(100)}))
        .await
        .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--verify", "none"]).await;
    engine.until_ready().await;
    run(
        &client,
        "shop",
        doc! {"cloneCollectionAsCapped": "c", "toCollection": "k", "size": 1 << 20},
    )
    .await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
