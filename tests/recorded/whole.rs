//! A run that is wiped whole.

use super::*;

#[tokio::test]
async fn a_wipe_drops_what_the_run_made_and_nothing_else() {
    let cluster = fixture::cluster(2).await;
    let target = fixture::target(&cluster.uri()).await;
    let router = &target.entry;
    run(
        router,
        "admin",
        doc! {"enableSharding": "d", "primaryShard": "shard0"},
    )
    .await;
    for coll in ["bystander", "filled", "made", "replaced"] {
        fixture::insert(router, "d", coll).await;
    }
    run(router, "d", doc! {"create": "empty"}).await;
    run(
        router,
        "admin",
        doc! {"shardCollection": "d.sharded", "key": {"h": "hashed"}},
    )
    .await;
    for view in ["view", "other_view"] {
        run(router, "d", doc! {"create": view, "viewOn": "made"}).await;
    }

    // Two zones are the run's own: one is used by a collection that is not.
    for (shard, zone) in [("shard0", "before"), ("shard1", "ours"), ("shard1", "used")] {
        run(
            router,
            "admin",
            doc! {"addShardToZone": shard, "zone": zone},
        )
        .await;
    }
    run(
        router,
        "admin",
        doc! {"shardCollection": "d.zoned", "key": {"n": 1}},
    )
    .await;
    let range =
        doc! {"updateZoneKeyRange": "d.zoned", "min": {"n": 0}, "max": {"n": 9}, "zone": "used"};
    run(router, "admin", range).await;
    let all = names(&target).await;

    let (runs, shards) = (RunStore::new(&target.shards[0]), &target.shards);
    let pairs = [
        PairStore::new(&shards[0], RUN, 0),
        PairStore::new(&shards[1], RUN, 1),
    ];
    let sharded = bound("d.sharded", uuid_of(&target, "d.sharded").await);
    let plan = vec![
        bound("d.made", uuid_of(&target, "d.made").await),
        bound("d.replaced", Uuid::new()),
        bound("d.gone", Uuid::new()),
        // Interrupted before their UUIDs were known.
        collection("d.empty", vec![UnitState::Waiting]),
        collection("d.filled", vec![UnitState::Waiting]),
        sharded.clone(),
    ];

    // Past the point of return nothing may be dropped any more.
    runs.create(&run_state(Stage::Finishing, &target))
        .await
        .unwrap();
    pairs[0].create(&pair_state(plan.clone())).await.unwrap();
    pairs[1].create(&pair_state(vec![sharded])).await.unwrap();
    assert_eq!(wipe::wipe(&target).await.unwrap_err().kind, Kind::Refused);
    assert_eq!(names(&target).await, all);

    // Neither if what was made is not known.
    runs.remove().await.unwrap();
    pairs[0].create(&pair_state(plan)).await.unwrap();
    runs.create(&run_state(Stage::Moving, &target))
        .await
        .unwrap();
    for zone in ["ours", "used", "ours"] {
        runs.add_zones(&[("shard1".to_owned(), zone.to_owned())])
            .await
            .unwrap();
    }
    assert_eq!(runs.load_zones().await.unwrap().len(), 2);
    for (collection, format) in [
        ("run", 9),
        ("collections", 9),
        ("run", 1),
        ("collections", 1),
    ] {
        set(
            &shards[0],
            collection,
            doc! {},
            doc! {"$set": {"format": format}},
        )
        .await;
        if format == 9 {
            let error = wipe::wipe(&target).await.unwrap_err();
            assert!(error.kind == Kind::Unsupported && error.remedy.unwrap().contains("by hand"));
            assert_eq!(names(&target).await, all);
        }
    }

    // A plan that is being replaced still tells what it made.
    set(
        &shards[0],
        "pairs",
        doc! {},
        doc! {"$set": {"whole": false}},
    )
    .await;
    wipe::wipe(&target).await.unwrap();
    assert_eq!(
        names(&target).await,
        [
            "d.bystander",
            "d.filled",
            "d.other_view",
            "d.replaced",
            "d.zoned"
        ]
    );
    assert_eq!(
        catalog::shard_zones(&target).await.unwrap(),
        [["before"], ["used"]]
    );
    for shard in shards {
        assert!(collections_left(shard).await.is_empty());
    }
    wipe::wipe(&target).await.unwrap();

    // Interrupted after the pair stores went.
    runs.create(&run_state(Stage::Moving, &target))
        .await
        .unwrap();
    wipe::wipe(&target).await.unwrap();
    assert_eq!(runs.load().await.unwrap(), None);
}
