//! Views that come, change and go.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;

use crate::ddl_changes::{fill, on_clusters, on_sets, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

fn view(name: &str, on: &str) -> Document {
    doc! {"create": name, "viewOn": on, "pipeline": [{"$match": {"k": {"$gt": 3}}}]}
}

fn german(name: &str, on: &str) -> Document {
    let mut view = view(name, on);
    view.insert("collation", doc! {"locale": "de"});
    view
}

pub(crate) async fn before(client: &Client) {
    fill(client, "base", 100).await;
    run_all(
        client,
        [
            view("stays", "base"),
            view("changes", "stays"),
            view("goes", "changes"),
            view("turns", "base"),
        ],
    )
    .await;
    run(client, "all_go", view("one", "nothing")).await;
    run(client, "all_go", view("two", "one")).await;
    run(
        client,
        "dropped",
        doc! {"insert": "rows", "documents": [{"a": 1}]},
    )
    .await;
    run(client, "dropped", view("one", "rows")).await;
}

pub(crate) async fn changes(client: &Client) {
    run_all(
        client,
        [
            view("late", "stays"),
            // On one that is made after it.
            view("dangling", "later"),
            view("later", "base"),
            german("straße", "base"),
            german("on straße", "straße"),
            doc! {"drop": "on straße"},
            doc! {"drop": "straße"},
            // The same names with another collation.
            view("straße", "base"),
            view("on straße", "straße"),
            doc! {"collMod": "changes", "viewOn": "base", "pipeline": []},
            doc! {"drop": "goes"},
            // A view becomes a collection, and a collection a view.
            doc! {"drop": "turns"},
            doc! {"create": "turns"},
            doc! {"create": "turned"},
            doc! {"drop": "turned"},
            view("turned", "turns"),
        ],
    )
    .await;
    run(client, "all_go", doc! {"drop": "system.views"}).await;
    run(client, "all_go", view("three", "nothing")).await;
    client.database("dropped").drop().await.unwrap();
    run(client, "dropped", view("two", "rows")).await;
    run(client, "only_views", view("one", "nothing")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_come_change_and_go_on_a_replica_set() {
    on_sets(before, changes, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_followed_again_after_a_crash() {
    on_sets(before, changes, Some("views-followed")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_come_change_and_go_on_a_sharded_cluster() {
    on_clusters(before, changes).await;
}

/// Somebody's collection has its name there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_the_target_refuses_for_a_while_ends_no_run() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (client, there) = (source.client().await, target.client().await);
    let (client, there) = (client.unwrap(), there.unwrap());
    fill(&client, "rows", 100).await;
    let (source, target) = (source.uri(), target.uri());
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    run(&there, "d", doc! {"create": "view"}).await;
    run(&client, "d", view("view", "rows")).await;
    // Far longer than it took to give it up.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(engine.is_running(), "{}", engine.log().text());
    run(&there, "d", doc! {"drop": "view"}).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}
