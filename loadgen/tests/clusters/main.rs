//! loadgen's own clusters, against real servers: they do what a cluster does,
//! and they leave nothing behind.

mod chunks;
mod faults;
mod lifecycle;
mod older;
mod proxied;
mod releases;
mod routing;
mod strict;
mod transactions;

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use mongodb::Client;

/// Runs an admin command through the router.
async fn admin(cluster: &ShardedCluster, command: Document) -> Document {
    cluster
        .admin(command.clone())
        .await
        .unwrap_or_else(|e| panic!("{command}: {e}"))
}

/// Creates a collection `db.c` sharded by `key`, its database on shard0.
async fn shard(cluster: &ShardedCluster, db: &str, key: Document) {
    admin(
        cluster,
        doc! { "enableSharding": db, "primaryShard": "shard0" },
    )
    .await;
    admin(
        cluster,
        doc! { "shardCollection": format!("{db}.c"), "key": key },
    )
    .await;
}

/// `(min, max, shard)` of every chunk of `db.c`, as the config server has them.
async fn chunks(client: &Client, db: &str) -> Vec<(Document, Document, String)> {
    use futures_util::TryStreamExt;
    let config = client.database("config");
    let collections = config.collection::<Document>("collections");
    let row = collections
        .find_one(doc! { "_id": format!("{db}.c") })
        .await
        .unwrap()
        .unwrap();
    let chunks = config.collection::<Document>("chunks");
    let find = chunks.find(doc! { "uuid": row.get("uuid").unwrap() });
    let rows: Vec<Document> = find
        .sort(doc! { "min": 1 })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let document = |row: &Document, key| row.get_document(key).unwrap().clone();
    let of = |row: &Document| {
        (
            document(row, "min"),
            document(row, "max"),
            row.get_str("shard").unwrap().to_owned(),
        )
    };
    rows.iter().map(of).collect()
}

/// Documents of `db.c` that a shard holds, orphans too, by reading them.
async fn held(cluster: &ShardedCluster, shard: usize, db: &str) -> u64 {
    let client = cluster.shards()[shard].client().await.unwrap();
    client
        .database(db)
        .collection::<Document>("c")
        .count_documents(doc! {})
        .await
        .unwrap()
}

/// Inserts `{_id: n, k: n}` for each n below `count` into `db.c`.
async fn fill(client: &Client, db: &str, count: i32) {
    let docs = (0..count).map(|n| doc! { "_id": n, "k": n });
    client
        .database(db)
        .collection("c")
        .insert_many(docs)
        .await
        .unwrap();
}
