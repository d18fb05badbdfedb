//! A layout that is made through faulty routers.

use super::*;

fn owners(collection: &Collection) -> String {
    format!("{:?}", joined(collection.sharded.as_ref().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layout_is_made_whatever_a_router_answers_on_the_way() {
    let cluster = cluster().await;
    let target = fixture::target(&cluster.uri()).await;
    let model = model(&cluster, &target).await;
    let wanted = Collection {
        ns: ns("c"),
        ..model
    };
    let router = cluster.client().await.unwrap();
    let code = |code: i32| doc! {"errorCode": code};
    let lost = || doc! {"loseAnswer": true};
    // Where it is sharded already, in one chunk: by splits and moves.
    let mut faults: Vec<(bool, &str, Document)> = Vec::new();
    faults
        .extend([96, 91331, 150, 11601, 202, 12587, 357, 0].map(|c| (true, "moveChunk", code(c))));
    faults.extend([(true, "split", code(150)), (true, "split", code(0))]);
    faults.extend([(true, "split", lost()), (true, "moveChunk", lost())]);
    // Where it is not there.
    faults.extend(
        ["create", "shardCollection", "updateZoneKeyRange"].map(|name| (false, name, lost())),
    );
    faults.extend([
        (false, "create", code(91331)),
        (false, "shardCollection", code(150)),
    ]);
    for (there, command, fault) in faults {
        let what = format!("{command} {fault}");
        run(&router, "d", doc! {"drop": "c"}).await;
        if there {
            run(
                &router,
                "admin",
                doc! {"shardCollection": "d.c", "key": {"k": 1}},
            )
            .await;
        }
        order(&router, command, fault).await;
        layout::create_collection(&target, &wanted, &[0, 1])
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let made = catalog::read_one(&target, &wanted.ns)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(owners(&made), owners(&wanted), "{what}");
        assert!(has_come(&router).await, "{what}");
    }
}

/// By turns on both shards.
fn striped(model: &Collection, intervals: i32) -> Collection {
    let bound = |k: i32| match k {
        0 => rawdoc! {"k": bson::RawBson::MinKey},
        k if k == intervals => rawdoc! {"k": bson::RawBson::MaxKey},
        k => rawdoc! {"k": k},
    };
    let chunk = |k: i32| Chunk {
        min: bound(k),
        max: bound(k + 1),
        shard: (k % 2) as usize,
    };
    let sharded = model.sharded.as_ref().unwrap();
    let sharded = Sharded {
        chunks: (0..intervals).map(chunk).collect(),
        ..sharded.clone()
    };
    Collection {
        ns: ns("c"),
        sharded: Some(sharded),
        ..model.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_made_in_their_place_and_moved_only_where_they_are_there_already() {
    const INTERVALS: i32 = 200;
    let cluster = cluster().await;
    let target = fixture::target(&cluster.uri()).await;
    let wanted = striped(&model(&cluster, &target).await, INTERVALS);
    let router = cluster.client().await.unwrap();
    let moved = async || {
        let changes = router
            .database("config")
            .collection::<Document>("changelog");
        let moved = doc! {"ns": "d.c", "what": "moveChunk.commit"};
        changes.count_documents(moved).await.unwrap()
    };
    for (there, expect) in [(false, 0), (true, INTERVALS as u64 / 2)] {
        if there {
            run(&router, "d", doc! {"drop": "c"}).await;
            run(
                &router,
                "admin",
                doc! {"shardCollection": "d.c", "key": {"k": 1}},
            )
            .await;
        }
        let began = std::time::Instant::now();
        layout::create_collection(&target, &wanted, &[0, 1])
            .await
            .unwrap();
        println!(
            "{INTERVALS} intervals, sharded before: {there}, laid out in {:?}",
            began.elapsed()
        );
        let made = catalog::read_one(&target, &wanted.ns)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(owners(&made), owners(&wanted));
        assert_eq!(moved().await, expect);
        assert!(made.sharded.unwrap().zones.is_empty());
    }
}

/// Names of zones that are not users' own, on ranges and on shards.
async fn temporary(target: &Client) -> Vec<String> {
    use futures_util::TryStreamExt;
    let config = target.database("config");
    let ranges: Vec<Document> = config
        .collection("tags")
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let shards: Vec<Document> = config
        .collection("shards")
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let of_ranges = ranges
        .iter()
        .map(|row| row.get_str("tag").unwrap().to_owned());
    let of_shard = |row: &Document| row.get_array("tags").cloned().unwrap_or_default();
    let of_shards = shards
        .iter()
        .flat_map(of_shard)
        .filter_map(|tag: Bson| tag.as_str().map(str::to_owned));
    of_ranges
        .chain(of_shards)
        .filter(|name| name.starts_with("__shardlift"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporary_zones_go_however_a_layout_ends() {
    let (a, b) = tokio::join!(cluster(), cluster());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    model(&a, &fixture::source(&a.uri()).await).await;
    a.admin(doc! {"addShardToZone": "shard1", "zone": "north"})
        .await
        .unwrap();
    let range =
        doc! {"updateZoneKeyRange": "d.model", "min": {"k": 2}, "max": {"k": 7}, "zone": "north"};
    a.admin(range).await.unwrap();
    let documents: Vec<Document> = (-20..20).map(|k| doc! {"k": k}).collect();
    run(&from, "d", doc! {"insert": "model", "documents": documents}).await;

    let crashed = Engine::start_to_crash(&a.uri(), &b.uri(), &[], "layout-placed").await;
    crashed.crashed().await;
    assert!(
        !temporary(&to).await.is_empty(),
        "else this test shows nothing"
    );
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    cancel::cancel(&source, &target, None).await.unwrap();
    assert_eq!(temporary(&to).await, [""; 0]);

    let crashed =
        Engine::start_to_crash(&a.uri(), &b.uri(), &["--restart"], "layout-sharded").await;
    crashed.crashed().await;
    assert!(!temporary(&to).await.is_empty());
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    assert_eq!(temporary(&to).await, [""; 0]);

    // As a layout on the fly has them that is under way when the run is cancelled.
    b.admin(doc! {"addShardToZone": "shard1", "zone": "__shardlift shard1"})
        .await
        .unwrap();
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
    assert_eq!(temporary(&to).await, [""; 0]);

    let mut engine = Engine::start(&a.uri(), &b.uri(), &["--restart"]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    assert_eq!(temporary(&to).await, [""; 0]);
    expect_equal(&a.uri(), &b.uri()).await;
    assert!(balancer::running(&target).await.unwrap().is_empty());
}

/// It is tried again for as long as the source's is sharded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_sharding_in_place_leaves_no_temporary_zone_and_the_source_s_zones() {
    let cluster = cluster().await;
    let target = fixture::target(&cluster.uri()).await;
    let router = cluster.client().await.unwrap();
    cluster
        .admin(doc! {"addShardToZone": "shard0", "zone": "north"})
        .await
        .unwrap();
    let mut wanted = striped(&model(&cluster, &target).await, 1);
    let zone = Zone {
        min: rawdoc! {"k": 2},
        max: rawdoc! {"k": 7},
        name: "north".to_owned(),
    };
    wanted.sharded.as_mut().unwrap().zones = vec![zone];
    run(&router, "d", doc! {"insert": "c", "documents": [{"k": 5}]}).await;
    let index = doc! {"key": {"k": 1}, "name": "k_1"};
    run(
        &router,
        "d",
        doc! {"createIndexes": "c", "indexes": [index]},
    )
    .await;
    for is_refused in [true, false] {
        if is_refused {
            order(&router, "shardCollection", doc! {"errorCode": 67}).await;
        }
        let made = layout::shard_in_place(&target, &wanted, 0).await;
        assert_eq!(made.is_err(), is_refused, "{made:?}");
        assert!(has_come(&router).await);
        assert_eq!(temporary(&router).await, [""; 0], "{is_refused}");
        let zones = catalog::zones_of(&target, &wanted.ns).await.unwrap();
        let names: Vec<&str> = zones.iter().map(|zone| &*zone.name).collect();
        assert_eq!(names, ["north"], "{is_refused}");
    }
}
