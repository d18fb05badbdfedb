//! Changes of options and of views while a migration runs: each kind that a release has, with
//! the engine killed right after it and resumed, too.

mod across;
mod in_place;
mod met_again;
mod refined;
pub(crate) mod options;
pub(crate) mod renames;
mod sharded;
mod sharding;
pub(crate) mod views;

use bson::{Document, doc};
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

const DB: &str = "d";

async fn fill(client: &Client, coll: &str, count: i32) {
    let rows = (0..count).map(|i| doc! {"_id": i, "k": i, "note": "x".repeat(200)});
    let coll = client.database(DB).collection::<Document>(coll);
    coll.insert_many(rows).await.unwrap();
}

/// Commands of one database, one after the other.
async fn run_all(client: &Client, commands: impl IntoIterator<Item = Document>) {
    for command in commands {
        run(client, DB, command).await;
    }
}

/// Migrates `before`, does `changes` once while it runs, and compares. With a `place` the
/// engine crashes there, and another one goes on.
async fn follow(
    (source, target): (&str, &str),
    changes: impl AsyncFnOnce(&Client),
    place: Option<&str>,
) {
    let client = Client::with_uri_str(source).await.unwrap();
    let mut engine = match place {
        Some(place) => Engine::start_to_crash(source, target, &[], place).await,
        None => Engine::start(source, target, &[]).await,
    };
    engine.until_ready().await;
    changes(&client).await;
    if place.is_some() {
        engine.crashed().await;
        engine = Engine::start(source, target, &[]).await;
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(source, target).await;
}

/// Two sets of one release, for `before` and `changes`.
async fn on_sets(
    before: impl AsyncFnOnce(&Client),
    changes: impl AsyncFnOnce(&Client),
    place: Option<&str>,
) {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    before(&source.client().await.unwrap()).await;
    follow((&source.uri(), &target.uri()), changes, place).await;
}

async fn on_clusters(before: impl AsyncFnOnce(&Client), changes: impl AsyncFnOnce(&Client)) {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    before(&source.client().await.unwrap()).await;
    follow((&source.uri(), &target.uri()), changes, None).await;
}
