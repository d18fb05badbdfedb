//! Collections that are sharded where they are while a migration runs: all of them stays on
//! their shard, and the target's are sharded alike.

use bson::{Document, doc};
use mongodb::Client;

use crate::ddl_changes::refined::{Sides, add_some, refine, shard};
use crate::ddl_changes::renames::rename;
use crate::ddl_changes::{DB, fill, run_all};
use crate::fixture::run;

const FILLED: [&str; 9] = [
    "by k", "by id", "hashed", "unique", "copied", "down", "renamed", "dropped", "refined",
];

async fn before(client: &Client) {
    let home = doc! {"enableSharding": DB, "primaryShard": "shard1"};
    run(client, "admin", home).await;
    for coll in FILLED {
        fill(client, coll, 300).await;
    }
    run_all(client, [doc! {"create": "bare"}]).await;
}

/// By an index of its own, which a server asks for where there are documents.
async fn index_and_shard(client: &Client, coll: &str, key: Document) {
    let index = doc! {"key": key.clone(), "name": "carries"};
    run_all(client, [doc! {"createIndexes": coll, "indexes": [index]}]).await;
    shard(client, coll, key).await;
}

async fn shard_unique(client: &Client, coll: &str) {
    let index = doc! {"key": {"k": 1}, "name": "carries", "unique": true};
    run_all(client, [doc! {"createIndexes": coll, "indexes": [index]}]).await;
    let shard = doc! {"shardCollection": format!("d.{coll}"), "key": {"k": 1}, "unique": true};
    run(client, "admin", shard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sharded_where_it_is_is_followed() {
    let sides = Sides::start(before).await;
    let client = sides.source.client().await.unwrap();
    let rows = (1_000..9_000).map(|i| doc! {"_id": i, "k": i % 200, "note": "x".repeat(500)});
    let copied = client.database(DB).collection::<Document>("copied");
    copied.insert_many(rows).await.unwrap();
    let mut engine = sides.engine().await;
    engine.until("following", |now| !now.pairs.is_empty()).await;
    index_and_shard(&client, "copied", doc! {"k": 1}).await;
    add_some(&client, "copied", 20_000).await;
    engine.until_ready().await;
    index_and_shard(&client, "by k", doc! {"k": 1}).await;
    index_and_shard(&client, "hashed", doc! {"k": "hashed"}).await;
    shard(&client, "by id", doc! {"_id": 1}).await;
    shard(&client, "bare", doc! {"k": 1}).await;
    shard_unique(&client, "unique").await;
    for coll in ["by k", "hashed", "by id", "bare"] {
        add_some(&client, coll, 20_000).await;
    }
    for coll in ["copied", "by k", "bare", "unique"] {
        sides.until_sharded_by(coll, doc! {"k": 1}).await;
    }
    sides.until_sharded_by("hashed", doc! {"k": "hashed"}).await;
    sides.until_sharded_by("by id", doc! {"_id": 1}).await;
    engine.kill();
    index_and_shard(&client, "down", doc! {"k": 1}).await;
    index_and_shard(&client, "refined", doc! {"k": 1}).await;
    refine(&client, "refined", doc! {"k": 1, "note": 1}).await;
    add_some(&client, "down", 20_000).await;
    // Renamed first, and later.
    rename(&client, "renamed", "renamed by now", false).await;
    index_and_shard(&client, "renamed by now", doc! {"k": 1}).await;
    rename(&client, "by k", "by k by now", false).await;
    let mut engine = sides.engine().await;
    sides.until_sharded_by("down", doc! {"k": 1}).await;
    let refined = doc! {"k": 1, "note": 1};
    sides.until_sharded_by("refined", refined).await;
    sides
        .until_sharded_by("renamed by now", doc! {"k": 1})
        .await;
    for coll in ["down", "refined", "renamed by now", "by k by now"] {
        add_some(&client, coll, 30_000).await;
    }
    engine.until_ready().await;
    engine.kill();
    let engine = sides.engine().await;
    sides.end(engine).await;
}

/// After it was made, and after the pairs have recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sharded_where_it_is_is_met_again_after_a_crash() {
    let sides = Sides::start(before).await;
    let client = sides.source.client().await.unwrap();
    let mut engine = sides.engine_to_crash("sharded").await;
    engine.until_ready().await;
    index_and_shard(&client, "by k", doc! {"k": 1}).await;
    engine.crashed().await;
    // Refined before anyone knows that the target is sharded.
    refine(&client, "by k", doc! {"k": 1, "note": 1}).await;
    add_some(&client, "by k", 20_000).await;
    let engine = sides.engine_to_crash("sharded-recorded").await;
    engine.crashed().await;
    let mut engine = sides.engine_to_crash("sharded").await;
    engine.until_ready().await;
    index_and_shard(&client, "dropped", doc! {"k": 1}).await;
    engine.crashed().await;
    run_all(&client, [doc! {"drop": "dropped"}]).await;
    for _ in 0..2 {
        let mut engine = sides.engine().await;
        engine.until_ready().await;
        engine.kill();
    }
    add_some(&client, "by k", 30_000).await;
    let engine = sides.engine().await;
    sides.end(engine).await;
}
