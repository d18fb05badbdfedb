//! What a router answers and does not: refusals with codes of all kinds and with none,
//! answers that are lost or never come, drops that it takes for made, several routers
//! behind one address, or of two clusters.

use std::time::Duration;

use bson::{Bson, Document, Uuid, doc, rawdoc};
use futures_util::future::join_all;
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use loadgen::proxy::{Fault, Proxy};
use mongodb::Client;
use shardlift::cluster::catalog::{self, Chunk, Collection, Namespace, Sharded, Zone};
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

mod frozen;
mod laid_out;

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
