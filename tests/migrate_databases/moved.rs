//! A database that gets another primary shard.

use super::*;

/// `d.old`, which pair 0 still holds, and `d.new` of the same database made anew on another
/// shard, which pair 1 meets.
async fn a_database_moves_only_when_its_older_collections_are_dropped(is_sharded: bool) {
    let (a, b) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    let [old, new] = ["old", "new"].map(|coll| Namespace {
        db: "d".to_owned(),
        coll: coll.to_owned(),
    });
    for side in [&source.entry, &target.entry] {
        run(
            side,
            "admin",
            doc! {"enableSharding": "d", "primaryShard": "shard0"},
        )
        .await;
        if is_sharded {
            run(
                side,
                "admin",
                doc! {"shardCollection": "d.old", "key": {"_id": 1}},
            )
            .await;
        }
        fixture::insert(side, "d", "old").await;
    }
    let (uuid, made) = (uuid_of(&source, &old).await, uuid_of(&target, &old).await);
    source.entry.database("d").drop().await.unwrap();
    run(
        &source.entry,
        "admin",
        doc! {"enableSharding": "d", "primaryShard": "shard1"},
    )
    .await;
    fixture::insert(&source.entry, "d", "new").await;

    let sides = Sides {
        source: Arc::new(source),
        target: Arc::new(target),
        pairs: vec![0, 1],
    };
    let states = [state(vec![held(&old, uuid, made)]), state(Vec::new())];
    let views = Views::new(sides.clone(), sides.target.shards.clone());
    let listers = Lister::of_all(&sides.source, "test", fixture::TIMEOUT);
    let coordinator = Coordinator::new(
        sides.clone(),
        views,
        listers,
        &states,
        HashSet::new(),
        fixture::TIMEOUT,
    );
    let (requests, received) = mpsc::channel(4);
    tokio::spawn(coordinator.clone().run(received));
    // Pair 1 meets the creation, pair 0 is far behind: it has the drop still before it.
    let (reply, mut created) = oneshot::channel();
    let uuid_new = uuid_of(&sides.source, &new).await;
    requests
        .send(Request::Create {
            pair: 1,
            ns: new.clone(),
            uuid: uuid_new,
            reply,
        })
        .await
        .unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(3), &mut created).await;
    assert!(waits.is_err(), "it must wait for the drop: {waits:?}");
    assert_eq!(
        uuid_of(&sides.target, &old).await,
        made,
        "nothing of it was moved"
    );
    assert_eq!(
        catalog::primary_of(&sides.target, "d").await.unwrap(),
        Some(0),
        "nor was its database"
    );

    let drop = async |pair, ns: &Namespace, uuid| {
        let (reply, dropped) = oneshot::channel();
        requests
            .send(Request::Drop {
                pair,
                ns: ns.clone(),
                uuid,
                reply,
            })
            .await
            .unwrap();
        dropped.await.unwrap().unwrap();
    };
    drop(0, &old, uuid).await;
    assert!(matches!(created.await.unwrap().unwrap(), Creation::Made(_)));
    assert!(
        catalog::read_one(&sides.target, &old)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        catalog::primary_of(&sides.target, "d").await.unwrap(),
        Some(1)
    );

    // Once the cutover is over, databases are their users'.
    coordinator.drop_no_more().await.unwrap();
    sides.source.entry.database("d").drop().await.unwrap();
    drop(1, &new, uuid_new).await;
    coordinator.drop_emptied().await.unwrap();
    assert!(
        catalog::read_one(&sides.target, &new)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        catalog::primary_of(&sides.target, "d").await.unwrap(),
        Some(1),
        "it stays, empty as it is"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_to_its_new_primary_only_when_its_older_collections_are_dropped() {
    a_database_moves_only_when_its_older_collections_are_dropped(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_to_its_new_primary_only_when_its_older_sharded_collections_are_dropped() {
    a_database_moves_only_when_its_older_collections_are_dropped(true).await;
}
