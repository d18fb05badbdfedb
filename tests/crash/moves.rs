//! Chunks that somebody moves on either side while an engine runs, of a collection
//! that nothing else touches.
//!
//! Knows nothing about what the engine makes of it.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use loadgen::owner::chunk_filter;
use mongodb::Client;

const DATABASE: &str = "moved";
const NAMESPACE: &str = "moved.c";
/// A move leaves documents that keep its chunk from coming back: each moves once.
const CHUNKS: i64 = 8;
const KEYS_PER_CHUNK: i64 = 25;

/// Whose chunk is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// The collection on a sharded source, all of it on one shard.
pub(crate) async fn make(source: &str) {
    let client = Client::with_uri_str(source).await.unwrap();
    run(
        &client,
        "admin",
        doc! {"enableSharding": DATABASE, "primaryShard": "shard0"},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"shardCollection": NAMESPACE, "key": {"k": 1}},
    )
    .await;
    for chunk in 1..CHUNKS {
        run(
            &client,
            "admin",
            doc! {"split": NAMESPACE, "middle": {"k": chunk * KEYS_PER_CHUNK}},
        )
        .await;
    }
    let documents: Vec<Document> = (0..CHUNKS * KEYS_PER_CHUNK)
        .map(|k| doc! {"_id": k, "k": k})
        .collect();
    run(
        &client,
        DATABASE,
        doc! {"insert": "c", "documents": documents},
    )
    .await;
}

/// Moves the chunk of that number to the other shard, and then writes to it on the source.
pub(crate) async fn move_one(source: &str, target: &str, side: Side, number: usize) {
    let (source, target) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    let client = if side == Side::Source {
        &source
    } else {
        &target
    };
    let k = (number as i64 % CHUNKS) * KEYS_PER_CHUNK + 1;
    let to = if owner(client, k).await == "shard0" {
        "shard1"
    } else {
        "shard0"
    };
    run(
        client,
        "admin",
        doc! {"moveChunk": NAMESPACE, "find": {"k": k}, "to": to},
    )
    .await;
    let changes = [
        doc! {"update": "c", "updates": [{"q": {"_id": k, "k": k}, "u": {"$inc": {"n": 1}}}]},
        doc! {"insert": "c", "documents": [{"_id": format!("new {number}"), "k": k}]},
        doc! {"delete": "c", "deletes": [{"q": {"_id": k + 1, "k": k + 1}, "limit": 1}]},
    ];
    for change in changes {
        run(&source, DATABASE, change).await;
    }
}

async fn owner(client: &Client, k: i64) -> String {
    let config = client.database("config");
    let row = config
        .collection::<Document>("collections")
        .find_one(doc! {"_id": NAMESPACE})
        .await
        .unwrap()
        .unwrap();
    let mut holds = chunk_filter(NAMESPACE, &row);
    holds.extend(doc! {"min": {"$lte": {"k": k}}, "max": {"$gt": {"k": k}}});
    let chunks = config
        .collection::<Document>("chunks")
        .find(holds)
        .await
        .unwrap();
    let chunks: Vec<Document> = chunks.try_collect().await.unwrap();
    chunks[0].get_str("shard").unwrap().to_owned()
}

async fn run(client: &Client, database: &str, command: Document) {
    let text = command.to_string();
    client
        .database(database)
        .run_command(command)
        .await
        .unwrap_or_else(|e| panic!("{text}: {e}"));
}
