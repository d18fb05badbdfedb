//! Names that pass between collections of one shard and of several, some of which are far ahead.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::{Client, ClientSession};

use crate::ddl_changes::renames::rename;
use crate::ddl_changes::{DB, fill, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// How long the shard that is ahead is given to make what it must not.
const AHEAD: Duration = Duration::from_secs(4);

/// No index of it is made on the target until this ends.
pub(super) async fn locked(shards: &[Client], coll: &str) -> ClientSession {
    for shard in shards {
        let rows = shard.database(DB).collection::<Document>(coll);
        if rows.find_one(doc! {}).await.unwrap().is_none() {
            continue;
        }
        let mut session = shard.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        let ours = doc! {"_id": "locked"};
        rows.insert_one(ours).session(&mut session).await.unwrap();
        return session;
    }
    panic!("{coll} is on no shard");
}

pub(super) async fn has(client: &Client, coll: &str) -> bool {
    let names = client.database(DB).list_collection_names().await.unwrap();
    names.iter().any(|name| name == coll)
}

/// The primary shard has yet to give it to another one, and to take it away again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_collection_that_comes_is_not_made_before_its_name_was_another_ones() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let client = source.client().await.unwrap();
    fill(&client, "rows", 300).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let shards = target.shard_clients().await.unwrap();
    let mut session = locked(&shards, "rows").await;
    let index = doc! {"key": {"k": 1}, "name": "k"};
    run_all(
        &client,
        [doc! {"createIndexes": "rows", "indexes": [index]}],
    )
    .await;
    rename(&client, "rows", "passed", false).await;
    rename(&client, "passed", "rows of old", false).await;
    let shard = doc! {"shardCollection": "d.passed", "key": {"_id": "hashed"}};
    run(&client, "admin", shard).await;
    fill(&client, "passed", 100).await;
    let on_target = target.client().await.unwrap();
    let end = Instant::now() + AHEAD;
    while Instant::now() < end && !has(&on_target, "passed").await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    session.abort_transaction().await.unwrap();
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
