//! Splitting, moving, zones and orphans: the chunk map says what was done, and
//! the documents are where it says.

use bson::{Bson, Document, doc};
use loadgen::cluster::{orphans, shared};

use crate::{admin, chunks, fill, held, shard};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranged_chunks_split_and_move() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "ranged", doc! { "k": 1 }).await;
    fill(&client, "ranged", 300).await;
    admin(
        &cluster,
        doc! { "split": "ranged.c", "middle": { "k": 100 } },
    )
    .await;
    admin(&cluster, doc! { "split": "ranged.c", "find": { "k": 200 } }).await;
    admin(
        &cluster,
        doc! { "moveChunk": "ranged.c", "find": { "k": 150 }, "to": "shard1" },
    )
    .await;
    let chunks = chunks(&client, "ranged").await;
    let owners: Vec<&str> = chunks.iter().map(|(_, _, shard)| shard.as_str()).collect();
    assert_eq!(owners, ["shard0", "shard1", "shard0"]);
    assert_eq!(chunks[1].0, doc! { "k": 100 });
    assert_eq!(chunks[0].0, doc! { "k": Bson::MinKey });
    let c = client.database("ranged").collection::<Document>("c");
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 300);
    let moved = chunks[1].1.get_i32("k").unwrap() - 100;
    assert_eq!(held(&cluster, 1, "ranged").await, moved as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashed_chunks_split_and_move() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "hashed", doc! { "k": "hashed" }).await;
    fill(&client, "hashed", 400).await;
    let before = chunks(&client, "hashed").await;
    admin(&cluster, doc! { "split": "hashed.c", "find": { "k": 5 } }).await;
    let after = chunks(&client, "hashed").await;
    assert_eq!(after.len(), before.len() + 1);
    let (min, max, _) = after
        .iter()
        .find(|(_, _, shard)| shard == "shard0")
        .unwrap();
    let bounds = [min.clone(), max.clone()].to_vec();
    admin(
        &cluster,
        doc! { "moveChunk": "hashed.c", "bounds": bounds, "to": "shard1" },
    )
    .await;
    let moved = chunks(&client, "hashed").await;
    assert!(
        moved
            .iter()
            .any(|(m, _, shard)| m == min && shard == "shard1")
    );
    let c = client.database("hashed").collection::<Document>("c");
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_come_and_go() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "zoned", doc! { "k": 1 }).await;
    admin(&cluster, doc! { "addShardToZone": "shard1", "zone": "far" }).await;
    let range = doc! { "updateZoneKeyRange": "zoned.c", "min": { "k": 0 }, "max": { "k": 9 } };
    let with = |zone: Bson| {
        let mut command = range.clone();
        command.insert("zone", zone);
        command
    };
    admin(&cluster, with("far".into())).await;
    let tags = client.database("config").collection::<Document>("tags");
    let of_zone = doc! { "ns": "zoned.c" };
    assert_eq!(
        tags.find_one(of_zone.clone())
            .await
            .unwrap()
            .unwrap()
            .get_str("tag")
            .unwrap(),
        "far"
    );
    admin(&cluster, with(Bson::Null)).await;
    assert!(tags.find_one(of_zone).await.unwrap().is_none());
    admin(
        &cluster,
        doc! { "removeShardFromZone": "shard1", "zone": "far" },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_ranges_leave_orphans() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "orphaned", doc! { "k": 1 }).await;
    fill(&client, "orphaned", 100).await;
    let made = orphans::make(
        &cluster,
        "orphaned.c",
        doc! { "k": 20 },
        Some(doc! { "k": 50 }),
        "shard1",
    )
    .await;
    assert_eq!(made.unwrap(), 30);
    assert_eq!(
        (
            held(&cluster, 0, "orphaned").await,
            held(&cluster, 1, "orphaned").await
        ),
        (100, 30)
    );
    let c = client.database("orphaned").collection::<Document>("c");
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 100);
}
