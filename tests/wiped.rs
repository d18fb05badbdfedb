//! A run is begun anew, whatever its last attempt left on the target unrecorded.

use bson::doc;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_unrecorded_on_the_target_goes_with_the_run() {
    // One of a new database, and one whose name was another collection's before.
    for (db, coll) in [("new", "c"), ("d", "again")] {
        let (source, target) = tokio::join!(
            fixture::replica_set("a", &[]),
            fixture::replica_set("b", &[])
        );
        let (source_uri, target_uri) = (source.uri(), target.uri());
        let from = source.client().await.unwrap();
        fixture::insert(&from, "d", "again").await;
        let mut engine =
            Engine::start_to_crash(&source_uri, &target_uri, &[], "creation-made").await;
        engine.until_ready().await;
        run(&from, "d", doc! {"drop": "again"}).await;
        fixture::insert(&from, db, coll).await;
        engine.crashed().await;
        let there = target
            .client()
            .await
            .unwrap()
            .database(db)
            .list_collection_names()
            .await
            .unwrap();
        assert!(
            there.contains(&coll.to_owned()),
            "the crash came after it was made"
        );

        let mut engine = Engine::start(&source_uri, &target_uri, &["--restart"]).await;
        engine.until_ready().await;
        engine.cut_over().await;
        expect_equal(&source_uri, &target_uri).await;
    }
}
