//! Balancers stopped, what still moves awaited, and put back as found.

use std::time::Duration;

use bson::{Bson, doc};
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use shardlift::cluster::admin;
use shardlift::codes;
use shardlift::control::balancer::{self, Found};

use crate::fixture::{self, run};

#[tokio::test]
async fn a_balancer_stops_when_the_last_migration_ends_and_is_put_back_as_found() {
    let cluster = ShardedCluster::start(ShardedOptions {
        set_parameters: vec![("enableTestCommands".to_owned(), "1".to_owned())],
        cache_gb: 0.25,
        ..ShardedOptions::default()
    });
    let cluster = cluster.await.unwrap();
    let source = fixture::source(&cluster.uri()).await;

    let found = balancer::found(&source).await.unwrap();
    assert_eq!(
        found,
        Found {
            enabled: Some(true),
            settings: Some(Vec::new())
        }
    );
    // A router up to 4.4 gives up before a config server that is still at it.
    let data = doc! {"failCommands": ["balancerStop"], "errorCode": codes::GAVE_UP, "gaveUp": true};
    let give_up = doc! {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data};
    run(&source.entry, "admin", give_up).await;
    balancer::stop(&source).await.unwrap();
    let left = doc! {"configureFailPoint": "failCommand", "mode": "off"};
    let left = run(&source.entry, "admin", left).await.get_i32("left");
    assert_eq!(left.unwrap(), 0);
    let off = balancer::found(&source).await.unwrap();
    assert_eq!(off.enabled, Some(false));

    // A migration by hand, which a stopped balancer does not prevent.
    run(
        &source.entry,
        "admin",
        doc! {"enableSharding": "d", "primaryShard": "shard0"},
    )
    .await;
    run(
        &source.entry,
        "admin",
        doc! {"shardCollection": "d.c", "key": {"n": 1}},
    )
    .await;
    hang(&source.shards[0].client, true).await;
    let router = source.entry.clone();
    let moving = tokio::spawn(async move {
        let min = doc! {"n": Bson::MinKey};
        run(
            &router,
            "admin",
            doc! {"moveRange": "d.c", "toShard": "shard1", "min": min},
        )
        .await;
    });
    while balancer::running(&source).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let running = balancer::running(&source).await.unwrap();
    assert_eq!(
        running,
        ["migration of a chunk of d.c from shard0 to shard1"]
    );
    let waits = tokio::time::timeout(Duration::from_secs(1), balancer::stop(&source)).await;
    assert!(waits.is_err(), "it must wait for the migration: {waits:?}");
    hang(&source.shards[0].client, false).await;
    balancer::stop(&source).await.unwrap();
    assert!(balancer::running(&source).await.unwrap().is_empty());
    moving.await.unwrap();

    for (found, is_off) in [(off, true), (found, false)] {
        balancer::restore(&source, &found).await.unwrap();
        assert_eq!(
            admin::balancer_status(&source.entry)
                .await
                .unwrap()
                .is_off(),
            is_off
        );
        assert_eq!(balancer::found(&source).await.unwrap(), found);
    }
}

/// Lets migrations off this shard hang where their documents are cloned.
async fn hang(donor: &mongodb::Client, on: bool) {
    let mode = if on { "alwaysOn" } else { "off" };
    run(
        donor,
        "admin",
        doc! {"configureFailPoint": "moveChunkHangAtStep4", "mode": mode},
    )
    .await;
}
