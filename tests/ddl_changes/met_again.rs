//! Renames that a start, a crash or a command of the operator comes in between.

use bson::{Document, doc};
use mongodb::Client;

use crate::ddl_changes::renames::{add, rename};
use crate::ddl_changes::{fill, on_sets, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;
use crate::releases::rig::{of, set};

/// They trade their names, by a third.
async fn trade(client: &Client, one: &str, other: &str, by: &str) {
    rename(client, one, by, false).await;
    rename(client, other, one, false).await;
    rename(client, by, other, false).await;
}

/// A name that was used in between is another's by the time the renames are met again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renames_in_a_ring_are_not_made_again_once_a_name_of_it_is_taken() {
    let before = async |client: &Client| {
        fill(client, "one", 300).await;
        fill(client, "other", 200).await;
    };
    let changes = async |client: &Client| {
        trade(client, "one", "other", "first").await;
        trade(client, "one", "other", "second").await;
        fill(client, "second", 20).await;
        add(client, "one", 1_000).await;
        add(client, "other", 1_001).await;
    };
    on_sets(before, changes, Some("creation-recorded")).await;
}

/// With options of their own, and not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_and_views_are_changed_between_plan_and_the_end_of_the_layout() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    let german = doc! {"create": "german", "collation": {"locale": "de"}};
    run_all(&client, [german]).await;
    for coll in ["german", "plain", "from", "over", "under", "changed"] {
        fill(&client, coll, 300).await;
    }
    let view = doc! {"create": "view", "viewOn": "plain", "pipeline": []};
    run_all(&client, [view]).await;
    let (source, target) = (source.uri(), target.uri());
    let engine = Engine::start_to_crash(&source, &target, &[], "layout-made").await;
    engine.crashed().await;
    trade(&client, "german", "plain", "between").await;
    rename(&client, "from", "to", false).await;
    run(
        &client,
        "d",
        doc! {"create": "from", "viewOn": "to", "pipeline": []},
    )
    .await;
    rename(&client, "over", "under", true).await;
    let changed = doc! {"collMod": "changed", "validator": {"k": {"$gte": 0}}};
    let shown = doc! {"collMod": "view", "viewOn": "changed", "pipeline": []};
    run_all(&client, [changed, shown]).await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    for coll in ["german", "plain", "to", "under", "changed"] {
        add(&client, coll, 1_000).await;
    }
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

/// While no process runs; by then its recorded name is that of a view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_finds_collections_under_other_names() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    fill(&client, "rows", 300).await;
    let (source, target) = (source.uri(), target.uri());
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();
    rename(&client, "rows", "renamed", false).await;
    run(
        &client,
        "d",
        doc! {"create": "rows", "viewOn": "renamed", "pipeline": []},
    )
    .await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

/// Before 6.0 by its name, since no command takes a UUID.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_whose_rename_is_not_recorded_is_emptied_before_it_is_copied_again() {
    let release = of(5, 0);
    let (source, target) = tokio::join!(set("a", release), set("b", release));
    let client = source.client().await.unwrap();
    fill(&client, "rows", 300).await;
    let on_target = target.client().await.unwrap();
    let (source, target) = (source.uri(), target.uri());
    let mut engine = Engine::start_to_crash(&source, &target, &[], "renamed").await;
    engine.until_ready().await;
    rename(&client, "rows", "renamed", false).await;
    engine.crashed().await;
    let stray = doc! {"insert": "renamed", "documents": [{"_id": "a stray"}]};
    run(&on_target, "d", stray).await;
    let recopy = ["recopy", "--shard", "a", "--ns", "d.renamed"];
    let sides = ["--source", &source, "--target", &target];
    let (code, text) = shardlift(&[&recopy[..], &sides].concat(), None).await;
    assert_eq!(code, Some(0), "{text}");
    let left = on_target.database("d").collection::<Document>("renamed");
    assert_eq!(left.count_documents(doc! {}).await.unwrap(), 0, "{text}");
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}
