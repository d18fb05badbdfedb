//! Collections that somebody makes straight on a shard of the source: no router shows them.

use bson::doc;
use shardlift::observe::phase::Phase;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_made_straight_on_a_shard_is_told_stops_the_run_and_is_over_when_it_is_dropped()
 {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    let (from, to) = (source.uri(), target.uri());
    let client = source.client().await.unwrap();
    run(
        &client,
        "admin",
        doc! {"enableSharding": "d", "primaryShard": "shard0"},
    )
    .await;
    fixture::insert(&client, "d", "c").await;
    let shard = &source.shard_clients().await.unwrap()[1];
    // A database that lives on another shard, and one that the config servers do not know.
    for db in ["d", "nowhere"] {
        let mut engine = Engine::start_to_wait("unshown:20000", &from, &to, &[]).await;
        engine.until_ready().await;
        fixture::insert(shard, db, "stray").await;
        let name = format!("{db}.stray");
        let told = |text: &String| text.contains(&name) && text.contains("still");
        engine
            .until("telling", |now| {
                now.phase != Phase::Ready && now.obstacles.iter().any(told)
            })
            .await;
        let outcome = engine.end().await;
        let log = outcome.log.text();
        assert_eq!(outcome.code, 6, "{log}");
        assert!(
            log.contains(&format!("{name} was created directly on shard shard1")),
            "{log}"
        );
        assert!(
            log.contains("then drop it on that shard, and run the same command"),
            "{log}"
        );
        run(shard, db, doc! {"drop": "stray"}).await;
    }
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&from, &to).await;
}
