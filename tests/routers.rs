//! What a router answers and does not: refusals with codes of all kinds and with none,
//! answers that are lost or never come, drops that it takes for made, several routers
//! behind one address, or of two clusters.

use std::time::Duration;

use bson::{Bson, Document, Uuid, doc, rawdoc};
use futures_util::future::join_all;
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use loadgen::proxy::{Fault, Proxy};
use mongodb::Client;
use shardlift::cluster::catalog::{self, Chunk, Collection, Namespace, Sharded};
use shardlift::cluster::connect;
use shardlift::cluster::deployment::{Deployment, Side};
use shardlift::cluster::ownership::joined;
use shardlift::control::layout::databases;
use shardlift::control::layout::dropping::drop_collection;
use shardlift::control::recorded::cancel;
use shardlift::control::{balancer, layout};
use shardlift::error::Kind;
use tokio::net::{TcpListener, TcpStream};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// With our own router, which takes orders for faults.
async fn cluster() -> ShardedCluster {
    let options = ShardedOptions {
        cache_gb: 0.25,
        oplog_mb: Some(64),
        stand_in_only: true,
        ..Default::default()
    };
    let cluster = ShardedCluster::start(options)
        .await
        .expect("a local sharded cluster starts");
    cluster.admin(doc! {"balancerStop": 1}).await.unwrap();
    cluster
}

fn ns(coll: &str) -> Namespace {
    Namespace {
        db: "d".to_owned(),
        coll: coll.to_owned(),
    }
}

/// Orders a fault of the router, for the next command of that name.
async fn order(router: &Client, command: &str, mut fault: Document) {
    fault.insert("failCommands", [command]);
    let order = doc! {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": fault};
    run(router, "admin", order).await;
}

/// Whether the fault that was ordered last has come.
async fn has_come(router: &Client) -> bool {
    let off = run(
        router,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": "off"},
    )
    .await;
    off.get_i32("left").unwrap() == 0
}

/// `d.model`, sharded by `k`: below 0 and from 10 on shard0, between on shard1.
async fn model(cluster: &ShardedCluster, target: &Deployment) -> Collection {
    for command in [
        doc! {"enableSharding": "d", "primaryShard": "shard0"},
        doc! {"shardCollection": "d.model", "key": {"k": 1}},
        doc! {"split": "d.model", "middle": {"k": 0}},
        doc! {"split": "d.model", "middle": {"k": 10}},
        doc! {"moveChunk": "d.model", "find": {"k": 5}, "to": "shard1"},
    ] {
        cluster.admin(command).await.unwrap();
    }
    catalog::read_one(target, &ns("model"))
        .await
        .unwrap()
        .unwrap()
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_router_says_without_a_code_is_told_and_what_it_never_says_is_not_waited_for() {
    let cluster = cluster().await;
    let target = fixture::target(&cluster.uri()).await;
    model(&cluster, &target).await;
    let split = rawdoc! {"split": "d.model", "middle": {"k": 10}};
    let error = target
        .entry
        .send("admin", &split, fixture::TIMEOUT)
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Server, None));
    assert!(error.message.contains("boundary key"), "{error}");

    order(
        &cluster.client().await.unwrap(),
        "listShards",
        doc! {"hang": true},
    )
    .await;
    let list = rawdoc! {"listShards": 1};
    let error = target
        .entry
        .send("admin", &list, Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Transient, "{error}");
    target
        .entry
        .send("admin", &list, fixture::TIMEOUT)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_chunk_moves_under_a_document() {
    let cluster = cluster().await;
    let target = fixture::target(&cluster.uri()).await;
    let model = model(&cluster, &target).await;
    let wanted = Collection {
        ns: ns("c"),
        ..model
    };
    let router = cluster.client().await.unwrap();
    run(
        &router,
        "admin",
        doc! {"shardCollection": "d.c", "key": {"k": 1}},
    )
    .await;
    run(&router, "d", doc! {"insert": "c", "documents": [{"k": 5}]}).await;
    let error = layout::create_collection(&target, &wanted, &[0, 1])
        .await
        .unwrap_err();
    assert!(
        error.kind == Kind::Refused && error.message.contains("holds documents"),
        "{error}"
    );
    let there = catalog::read_one(&target, &wanted.ns)
        .await
        .unwrap()
        .unwrap();
    assert!(
        there
            .sharded
            .unwrap()
            .chunks
            .iter()
            .all(|chunk| chunk.shard == 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_that_a_router_takes_for_made_is_looked_after() {
    let cluster = cluster().await;
    let target = fixture::target(&cluster.uri()).await;
    model(&cluster, &target).await;
    // Not this one: it stays, and that is no error.
    let model = catalog::read_one(&target, &ns("model"))
        .await
        .unwrap()
        .unwrap();
    let another = |ns: Namespace| Collection {
        ns,
        uuid: Some(Uuid::new()),
        ..model.clone()
    };
    drop_collection(&target, &another(ns("model")))
        .await
        .unwrap();
    assert!(
        catalog::read_one(&target, &ns("model"))
            .await
            .unwrap()
            .is_some()
    );
    drop_collection(&target, &another(ns("absent")))
        .await
        .unwrap();
    let nowhere = Namespace {
        db: "nowhere".to_owned(),
        coll: "c".to_owned(),
    };
    drop_collection(&target, &another(nowhere)).await.unwrap();

    // The database's primary shard, which is asked alone, lacks it.
    for command in [
        doc! {"shardCollection": "d.elsewhere", "key": {"k": 1}},
        doc! {"moveChunk": "d.elsewhere", "find": {"k": 5}, "to": "shard1"},
    ] {
        cluster.admin(command).await.unwrap();
    }
    let elsewhere = catalog::read_one(&target, &ns("elsewhere"))
        .await
        .unwrap()
        .unwrap();
    run(
        &cluster.shards()[0].client().await.unwrap(),
        "d",
        doc! {"drop": "elsewhere"},
    )
    .await;
    let error = drop_collection(&target, &elsewhere).await.unwrap_err();
    assert_eq!(error.code, Some(361), "{error}");
    assert!(error.remedy.unwrap().contains("by hand"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_is_read_through_routers_behind_one_address() {
    let cluster = cluster().await;
    let other = cluster.another_router().await.unwrap();
    let target = fixture::target(&cluster.uri()).await;
    run(
        &target.entry,
        "admin",
        doc! {"shardCollection": "d.many", "key": {"k": 1}},
    )
    .await;
    for middle in 0..150 {
        cluster
            .admin(doc! {"split": "d.many", "middle": {"k": middle}})
            .await
            .unwrap();
    }
    let first = cluster
        .uri()
        .trim_start_matches("mongodb://")
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let address = by_turns([first, other.host()]).await;
    let balanced = fixture::target(&format!("mongodb://{address}/")).await;
    for _ in 0..5 {
        // Side by side, so that a cursor goes on over another connection.
        for read in join_all((0..8).map(|_| catalog::read(&balanced))).await {
            let chunks = read.unwrap().collections[0]
                .sharded
                .as_ref()
                .unwrap()
                .chunks
                .len();
            assert_eq!(chunks, 151);
        }
    }
}

/// A balancer of connections: each goes to the next of these hosts.
async fn by_turns(hosts: [String; 2]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for host in hosts.iter().cycle() {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(host).await.unwrap();
            tokio::spawn(
                async move { tokio::io::copy_bidirectional(&mut client, &mut server).await },
            );
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_of_two_clusters_are_refused() {
    let (a, b) = tokio::join!(cluster(), cluster());
    let host = |cluster: &ShardedCluster| {
        cluster
            .uri()
            .trim_start_matches("mongodb://")
            .split('/')
            .next()
            .unwrap()
            .to_owned()
    };
    let both = format!("mongodb://{},{}/", host(&a), host(&b));
    let error = connect::connect(Side::Source, &both, fixture::TIMEOUT)
        .await
        .unwrap_err();
    assert!(
        error.kind == Kind::Refused && error.message.contains("two clusters"),
        "{error}"
    );
    let another = a.another_router().await.unwrap();
    let one = format!("mongodb://{},{}/", host(&a), another.host());
    connect::connect(Side::Source, &one, fixture::TIMEOUT)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_cannot_be_asked_may_still_drop_a_database() {
    let cluster = cluster().await;
    let other = cluster.another_router().await.unwrap();
    let target = fixture::target(&format!(
        "mongodb://{},{}/",
        cluster.router_host(),
        other.host()
    ))
    .await;
    databases::none_is_being_dropped(&target).await.unwrap();
    let alone = Client::with_uri_str(format!("mongodb://{}/", other.host()))
        .await
        .unwrap();
    order(&alone, "aggregate", doc! {"errorCode": 91}).await;
    let told = databases::none_is_being_dropped(&target).await.unwrap_err();
    assert!(
        told.kind == Kind::Transient && told.message.contains(&other.host()),
        "{told}"
    );
    databases::none_is_being_dropped(&target).await.unwrap();
    // Nobody is there any more.
    drop(other);
    databases::none_is_being_dropped(&target).await.unwrap();
}

/// Orders that the router never answers the next command of that name.
async fn mute(router: &Client, command: &str) {
    order(router, command, doc! {"hang": true}).await;
}

/// Makes a sharded collection on the source and waits until it is on the target.
async fn made_during(source: &ShardedCluster, to: &Client) {
    source
        .admin(doc! {"shardCollection": "d.during", "key": {"k": 1}})
        .await
        .unwrap();
    let from = source.client().await.unwrap();
    run(
        &from,
        "d",
        doc! {"insert": "during", "documents": [{"k": 1}, {"k": 2}]},
    )
    .await;
    let made = async {
        while to
            .database("d")
            .collection::<Document>("during")
            .count_documents(doc! {})
            .await
            .unwrap()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), made)
        .await
        .expect("it is made in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_a_router_never_answers_is_given_again_at_a_start_in_ddl_and_in_a_drop() {
    let (a, b) = tokio::join!(cluster(), cluster());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    a.admin(doc! {"shardCollection": "d.before", "key": {"k": 1}})
        .await
        .unwrap();
    run(
        &from,
        "d",
        doc! {"insert": "before", "documents": [{"k": 1}, {"k": 2}]},
    )
    .await;
    fixture::insert(&from, "gone", "c").await;
    mute(&from, "aggregate").await;
    let mut engine = Engine::start_to_wait("answer:2000", &a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    assert!(has_come(&from).await, "at the start");

    mute(&to, "dropDatabase").await;
    run(&from, "gone", doc! {"dropDatabase": 1}).await;
    let gone = async {
        let known = to.database("config").collection::<Document>("databases");
        while known
            .find_one(doc! {"_id": "gone"})
            .await
            .unwrap()
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .expect("it is dropped in the end");
    assert!(has_come(&to).await, "in the drop of a database");
    engine.until_ready().await;

    mute(&from, "aggregate").await;
    made_during(&a, &to).await;
    assert!(has_come(&from).await, "in DDL, or in what is watched");
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&a.uri(), &b.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_with_another_router_when_one_freezes() {
    let (a, b) = tokio::join!(cluster(), cluster());
    let another = a.another_router().await.unwrap();
    let port = a.router_host().rsplit(':').next().unwrap().parse().unwrap();
    let freezing = Proxy::start(port).unwrap();
    let both = format!("mongodb://{},{}/", freezing.host(), another.host());
    let from = a.client().await.unwrap();
    fixture::insert(&from, "d", "before").await;
    let mut engine = Engine::start_to_wait("answer:2000", &both, &b.uri(), &[]).await;
    engine.until_ready().await;
    freezing.set(Fault::BlackHole);
    made_during(&a, &b.client().await.unwrap()).await;
    freezing.clear();
    engine.until_ready().await;
    // The driver takes the router for one that answers for up to 20 s more.
    freezing.set(Fault::BlackHole);
    engine.cut_over().await;
    expect_equal(&a.uri(), &b.uri()).await;
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
