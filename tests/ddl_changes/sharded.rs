//! Sharded collections that are renamed: each shard has the rename in its own oplog.

use bson::doc;
use mongodb::Client;

use crate::ddl_changes::fill;
use crate::ddl_changes::renames::{add, rename};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

async fn before(client: &Client) {
    for coll in ["rows", "over", "under", "one", "other"] {
        let key = doc! {"_id": "hashed"};
        let shard = doc! {"shardCollection": format!("d.{coll}"), "key": key};
        run(client, "admin", shard).await;
        fill(client, coll, 200).await;
    }
    fill(client, "plain", 200).await;
}

async fn changes(client: &Client) {
    rename(client, "rows", "renamed", false).await;
    add(client, "renamed", 1_000).await;
    rename(client, "renamed", "renamed again", false).await;
    rename(client, "over", "under", true).await;
    add(client, "under", 1_001).await;
    for (from, to) in [("one", "by"), ("other", "one"), ("by", "other")] {
        rename(client, from, to, false).await;
        add(client, to, 1_002).await;
    }
    // What is not sharded takes the name of what was.
    rename(client, "plain", "rows", false).await;
    add(client, "rows", 1_003).await;
}

/// With a `place` the engine crashes there, and another one goes on.
async fn follow(place: Option<&str>) {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let client = source.client().await.unwrap();
    before(&client).await;
    let (source, target) = (source.uri(), target.uri());
    let mut engine = match place {
        Some(place) => Engine::start_to_crash(&source, &target, &[], place).await,
        None => Engine::start(&source, &target, &[]).await,
    };
    engine.until_ready().await;
    changes(&client).await;
    if place.is_some() {
        engine.crashed().await;
        engine = Engine::start(&source, &target, &[]).await;
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_collections_are_renamed() {
    follow(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_rename_that_was_made_is_seen_after_a_crash() {
    follow(Some("renamed")).await;
}

/// By one of the pairs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_rename_that_one_pair_recorded_is_seen_after_a_crash() {
    follow(Some("rename-recorded")).await;
}
