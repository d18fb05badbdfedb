//! What `shardlift validate` says where not everything can be asked, or not at the start: of a
//! run that is taken up, and by logins and releases that do not tell.

use std::time::Duration;

use bson::doc;

use crate::engine::Engine;
use crate::fixture::{self, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_taken_up_warns_of_what_its_sides_have_become_and_goes_on() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    const SHORT: &str = "source keeps its history: a for 5 s";
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    assert!(!engine.log().text().contains(SHORT));
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);

    let history = doc! {"setParameter": 1, "minSnapshotHistoryWindowInSeconds": 5};
    run(&a, "admin", history).await;
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    while !engine.log().text().contains(SHORT) {
        assert!(engine.is_running());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What a start alone is judged by.
    assert!(!engine.log().text().contains("source oplog window"));
    engine.cut_over().await;
}
