//! Databases that come and go while a migration runs: one that its collections
//! have left is no more on the target than on the source, and is in nobody's way.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bson::{Uuid, doc};
use mongodb::Client;
use shardlift::cluster::catalog::{self, Namespace};
use shardlift::cluster::deployment::Deployment;
use shardlift::control::across::ddl::Coordinator;
use shardlift::control::across::views::Views;
use shardlift::control::layout::databases;
use shardlift::control::sides::Sides;
use shardlift::error::Kind;
use shardlift::pair::ddl::request::{Creation, Request};
use shardlift::pair::oplog::proven::Lister;
use shardlift::position::{Mark, Position};
use shardlift::state::{CollectionState, PairState};
use tokio::sync::{mpsc, oneshot};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

mod moved;

/// Users' databases, by name.
async fn names_of_databases(client: &Client) -> Vec<String> {
    let mut names = client.list_database_names().await.unwrap();
    names.retain(|name| !["admin", "config", "local"].contains(&name.as_str()));
    names.sort();
    names
}

async fn dropped_databases_are_in_nobodys_way(source: &str, target: &str) {
    let (a, b) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    // Emptied, and of another spelling than one that comes; it may be known to the server still.
    fixture::insert(&b, "Left", "rows").await;
    run(&b, "Left", doc! {"drop": "rows"}).await;
    fixture::insert(&a, "left", "rows").await;
    fixture::insert(&a, "Shop", "orders").await;
    fixture::insert(&a, "gone", "rows").await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    for name in ["Shop", "gone"] {
        a.database(name).drop().await.unwrap();
    }
    fixture::insert(&a, "shop", "orders").await;
    fixture::insert(&a, "SHOp2", "orders").await;
    a.database("SHOp2").drop().await.unwrap();
    fixture::insert(&a, "shop2", "orders").await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(source, target).await;
    assert_eq!(names_of_databases(&b).await, ["left", "shop", "shop2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_dropped_on_a_sharded_cluster_are_gone_and_in_nobodys_way() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    dropped_databases_are_in_nobodys_way(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_dropped_on_a_replica_set_are_gone_and_in_nobodys_way() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    dropped_databases_are_in_nobodys_way(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_wiped_leaves_no_database_behind() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (source, target) = (source.uri(), target.uri());
    let (a, b) = (
        Client::with_uri_str(&source).await.unwrap(),
        Client::with_uri_str(&target).await.unwrap(),
    );
    fixture::insert(&a, "Shop", "orders").await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
    a.database("Shop").drop().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    let mut engine = Engine::start(&source, &target, &["--restart"]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
    assert_eq!(names_of_databases(&b).await, ["shop"]);
}

fn held(ns: &Namespace, uuid: Uuid, target: Uuid) -> CollectionState {
    CollectionState {
        dead: false,
        target_uuid: Some(target),
        ..CollectionState::dead(uuid, ns)
    }
}

fn state(collections: Vec<CollectionState>) -> PairState {
    let resume = Mark {
        position: Position::default(),
        term: 1,
    };
    PairState {
        resume,
        applied: resume,
        catalog_position: Position::default(),
        collections,
    }
}

async fn uuid_of(deployment: &Deployment, ns: &Namespace) -> Uuid {
    catalog::read_one(deployment, ns)
        .await
        .unwrap()
        .unwrap()
        .uuid
        .unwrap()
}

/// How long a server sits on the drop of a database before it begins.
const DROP_HELD: Duration = Duration::from_secs(6);
/// By when whoever waits for that drop gives up.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_while_the_drop_of_a_database_may_still_come() {
    let test = ["--setParameter", "enableTestCommands=1"];
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &test)
    );
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    let ns = |coll: &str| Namespace {
        db: "d".to_owned(),
        coll: coll.to_owned(),
    };
    let hold = doc! {"failCommands": ["dropDatabase"], "blockConnection": true, "blockTimeMS": DROP_HELD.as_millis() as i64};
    let b = b.client().await.unwrap();
    run(
        &b,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": hold},
    )
    .await;

    let sides = Sides {
        source: Arc::new(source),
        target: Arc::new(target),
        pairs: vec![0],
    };
    let dropped = CollectionState::dead(Uuid::new(), &ns("old"));
    let views = Views::new(sides.clone(), sides.target.shards.clone());
    let listers = Lister::of_all(&sides.source, "test", fixture::TIMEOUT);
    let coordinator = Coordinator::new(
        sides.clone(),
        views,
        listers,
        &[state(vec![dropped])],
        HashSet::new(),
        fixture::TIMEOUT,
    );
    // As a cutover that runs out of time does.
    let given_up = tokio::time::timeout(PATIENCE, coordinator.drop_emptied()).await;
    assert!(given_up.is_err(), "the server sits on it: {given_up:?}");
    let over = coordinator.drop_no_more().await;
    assert_eq!(
        over.unwrap_err().kind,
        Kind::Transient,
        "no cutover ends while it may come"
    );
    let running = databases::none_is_being_dropped(&sides.target).await;
    assert_eq!(
        running.unwrap_err().kind,
        Kind::Transient,
        "the next attempt waits for it"
    );

    fixture::insert(&sides.source.entry, "d", "new").await;
    let uuid = uuid_of(&sides.source, &ns("new")).await;
    let (requests, received) = mpsc::channel(4);
    let ended = tokio::spawn(coordinator.run(received));
    let (reply, created) = oneshot::channel();
    requests
        .send(Request::Create {
            pair: 0,
            ns: ns("new"),
            uuid,
            reply,
        })
        .await
        .unwrap();
    let created = created.await.unwrap();
    assert_eq!(
        created.err().map(|e| e.kind),
        Some(Kind::Transient),
        "it would have gone with the database"
    );
    assert_eq!(
        ended.await.unwrap().kind,
        Kind::Transient,
        "the attempt ends"
    );
    tokio::time::sleep(DROP_HELD).await;
    databases::none_is_being_dropped(&sides.target)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_nobody_waits_for_any_more_is_not_made() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    let ns = |coll: &str| Namespace {
        db: "d".to_owned(),
        coll: coll.to_owned(),
    };
    fixture::insert(&source.entry, "d", "c").await;
    fixture::insert(&target.entry, "d", "c").await;
    let (uuid, made) = (
        uuid_of(&source, &ns("c")).await,
        uuid_of(&target, &ns("c")).await,
    );
    let sides = Sides {
        source: Arc::new(source),
        target: Arc::new(target),
        pairs: vec![0],
    };
    // The older collection of the name, whose drop is still to be met.
    let older = state(vec![held(&ns("c"), Uuid::new(), made)]);
    let views = Views::new(sides.clone(), sides.target.shards.clone());
    let listers = Lister::of_all(&sides.source, "test", fixture::TIMEOUT);
    let coordinator = Coordinator::new(
        sides.clone(),
        views,
        listers,
        std::slice::from_ref(&older),
        HashSet::new(),
        fixture::TIMEOUT,
    );
    let (requests, received) = mpsc::channel(4);
    tokio::spawn(coordinator.clone().run(received));
    let (reply, created) = oneshot::channel();
    requests
        .send(Request::Create {
            pair: 0,
            ns: ns("c"),
            uuid,
            reply,
        })
        .await
        .unwrap();
    // It is listed, and waits for its name.
    tokio::time::sleep(PATIENCE).await;
    // Its pair meets its drop, which is made and forgotten, before the name is free.
    drop(created);
    let dropping = async |uuid| {
        let (reply, dropped) = oneshot::channel();
        requests
            .send(Request::Drop {
                pair: 0,
                ns: ns("c"),
                uuid,
                reply,
            })
            .await
            .unwrap();
        dropped.await.unwrap().unwrap();
        coordinator.forget(&[uuid]);
    };
    dropping(uuid).await;
    dropping(older.collections[0].uuid).await;
    tokio::time::sleep(PATIENCE).await;
    assert!(
        catalog::read_one(&sides.target, &ns("c"))
            .await
            .unwrap()
            .is_none(),
        "nobody would ever drop it"
    );
}
