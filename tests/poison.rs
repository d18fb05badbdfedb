//! A task that panics ends the whole run, in order and at once: none is left
//! half alive, waiting for what never comes.

use bson::doc;

use crate::engine::Engine;
use crate::fixture::{self, run};

/// Exit code of a defect of our own.
const INTERNAL: i32 = 70;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_ddl_across_pairs_ends_the_run() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    fixture::insert(&client, "d", "dropped").await;
    let mut engine =
        Engine::start_to_panic("drop-begun:1", &source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    run(&client, "d", doc! {"drop": "dropped"}).await;
    let ended = engine.end().await;
    assert_eq!(ended.code, INTERNAL);
    assert!(
        ended.log.text().contains("DDL across pairs"),
        "{}",
        ended.log.text()
    );

    // What it recorded is whole.
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
}
