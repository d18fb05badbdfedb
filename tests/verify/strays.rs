//! Documents on a shard that does not own them.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_do_not_count_and_strays_do() {
    let (cluster, other) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let router = cluster.client().await.unwrap();
    fixture::run(
        &router,
        "admin",
        doc! { "enableSharding": "t", "primaryShard": "shard0" },
    )
    .await;
    fixture::run(
        &router,
        "admin",
        doc! { "shardCollection": "t.c", "key": { "k.x": 1 } },
    )
    .await;
    fixture::run(
        &router,
        "admin",
        doc! { "shardCollection": "t.h", "key": { "k": "hashed" } },
    )
    .await;
    let documents: Vec<_> = (0..2000)
        .map(|at| rawdoc! { "_id": at, "k": { "x": at % 100 } })
        .collect();
    for coll in ["c", "h"] {
        assert_eq!(insert(&router, coll, &documents).await, []);
    }
    fixture::run(
        &router,
        "admin",
        doc! { "split": "t.c", "middle": { "k.x": 50 } },
    )
    .await;
    let made = orphans::make(&cluster, "t.c", doc! { "k.x": 50 }, None, "shard1")
        .await
        .unwrap();
    assert_eq!(made, 1000);

    let (source, target) = (
        fixture::source(&cluster.uri()).await,
        fixture::target(&other.uri()).await,
    );
    let catalog = catalog::read(&source).await.unwrap();
    let mut per_shard = Vec::new();
    for collection in &catalog.collections {
        for shard in 0..2 {
            let ownership = Ownership::of(collection.sharded.as_ref().unwrap(), shard).unwrap();
            let all = find(
                &source.shards[shard].client,
                &collection.ns.coll,
                &rawdoc! {},
            )
            .await;
            let owned: Vec<_> = all.into_iter().filter(|d| ownership.owns(d)).collect();
            assert_eq!(
                insert(&target.shards[shard].client, &collection.ns.coll, &owned).await,
                []
            );
            per_shard.push(owned.len());
        }
    }
    assert_eq!(per_shard[..2], [1000, 1000]);
    assert_eq!(per_shard[2] + per_shard[3], 2000);
    assert!(
        per_shard[2..].iter().all(|&n| 500 < n),
        "{per_shard:?}: both shards own hashed chunks"
    );
    for depth in [Depth::Counts, Depth::Digests] {
        let report = verify(&source, &target, depth).await;
        assert!(report.equal, "{report:?}");
        assert_eq!(report.documents, 4000);
    }

    // The orphan on the target, and a document of a collection that lives elsewhere.
    insert(&target.shards[0].client, "c", &[documents[50].clone()]).await;
    insert(&source.shards[0].client, "plain", &[rawdoc! { "_id": 1 }]).await;
    insert(&target.shards[0].client, "plain", &[rawdoc! { "_id": 1 }]).await;
    insert(&target.shards[1].client, "plain", &[rawdoc! { "_id": 2 }]).await;
    for depth in [Depth::Counts, Depth::Digests] {
        let mut differences = verify(&source, &target, depth).await.differences;
        differences.sort();
        let extra = "is on the target but not on the source";
        assert_eq!(
            differences,
            [
                format!("t.c: _id 50 {extra}"),
                format!("t.plain: _id 2 {extra}")
            ]
        );
    }
}
