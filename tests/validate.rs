//! Pairs of deployments that are fit for a migration, and each way not to be.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bson::doc;
use loadgen::server::data_dir::DataDir;
use shardlift::cluster::catalog;
use shardlift::cluster::connect::{self, Deployment, Side};
use shardlift::control::validate::{self, Check};
use shardlift::error::Kind;

use crate::fixture;

async fn checks(source: &Deployment, target: &Deployment) -> Vec<Check> {
    let catalog = catalog::read(source).await.expect("the catalog is read");
    validate::run(source, target, &catalog, &BTreeSet::new()).await.expect("every check runs")
}

/// Names of the checks that failed.
async fn failed(source: &Deployment, target: &Deployment) -> Vec<&'static str> {
    let checks = checks(source, target).await;
    let failed = checks.iter().filter(|c| !c.ok);
    for check in failed.clone() {
        assert!(check.remedy.is_some(), "{check:?}");
    }
    failed.map(|c| c.name).collect()
}

async fn found(source: &Deployment, target: &Deployment, name: &str) -> String {
    let checks = checks(source, target).await;
    checks.into_iter().find(|c| c.name == name).expect("there is such a check").found
}

#[tokio::test]
async fn sharded_pairs_are_fit_or_say_why_not() {
    let (a, b, c) = tokio::join!(fixture::cluster(2), fixture::cluster(2), fixture::cluster(1));
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    let client = a.client().await.unwrap();
    fixture::run(&client, "admin", doc! {"shardCollection": "shop.orders", "key": {"n": "hashed"}}).await;
    fixture::insert(&client, "shop", "plain").await;
    // A leftover empty database and our own state do not count.
    let other = b.client().await.unwrap();
    fixture::run(&other, "admin", doc! {"enableSharding": "left_over"}).await;
    fixture::insert(&b.shard_clients().await.unwrap()[0], "__shardlift", "state").await;

    let all = checks(&source, &target).await;
    assert!(all.iter().all(|c| c.ok), "{all:#?}");
    let window = all.iter().find(|c| c.name == "source oplog window").unwrap();
    assert!(window.remedy.is_some(), "a young oplog is warned about: {window:?}");

    let itself = failed(&source, &fixture::target(&a.uri()).await).await;
    assert_eq!(itself, ["target is not the source", "target is empty"]);

    assert_eq!(failed(&source, &fixture::target(&c.uri()).await).await, ["same number of shards"]);

    fixture::insert(&other, "left_over", "rest").await;
    assert_eq!(failed(&source, &target).await, ["target is empty"]);

    let series = doc! {"create": "measures", "timeseries": {"timeField": "at"}};
    fixture::run(&client, "shop", series).await;
    assert_eq!(failed(&source, &target).await, ["collections supported", "target is empty"]);
}

#[tokio::test]
async fn replica_sets_must_have_the_release_s_own_feature_version() {
    let (a, b) = tokio::join!(fixture::replica_set("a", &[]), fixture::replica_set("b", &[]));
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    assert_eq!(failed(&source, &target).await, [""; 0]);

    let client = b.client().await.unwrap();
    fixture::run(&client, "admin", doc! {"setUserWriteBlockMode": 1, "global": true}).await;
    assert_eq!(failed(&source, &target).await, ["target takes writes"]);
    fixture::run(&client, "admin", doc! {"setUserWriteBlockMode": 1, "global": false}).await;

    fixture::run(&client, "admin", doc! {"setFeatureCompatibilityVersion": "5.0"}).await;
    let target = fixture::target(&b.uri()).await;
    assert_eq!(failed(&source, &target).await, ["feature compatibility version"]);
}

#[tokio::test]
async fn a_cluster_is_no_target_for_a_replica_set() {
    let (a, b) = tokio::join!(fixture::replica_set("a", &[]), fixture::cluster(1));
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    assert_eq!(failed(&source, &target).await, ["same topology"]);
}

#[tokio::test]
async fn a_user_s_missing_roles_are_named() {
    let (secured, open) = tokio::join!(secured(), fixture::replica_set("open", &[]));
    let target = fixture::target(&open.uri()).await;
    let host = &secured.host;
    let uri = |user: &str, password: &str| format!("mongodb://{user}:{password}@{host}/");
    let source = fixture::source(&uri("root", "p%40ss")).await;
    assert_eq!(failed(&source, &target).await, [""; 0]);

    let users = [
        ("blind", vec!["readAnyDatabase"]),
        ("reader", vec!["readAnyDatabase", "clusterMonitor"]),
        ("fit", vec!["readAnyDatabase", "clusterMonitor", "backup"]),
        ("writer", vec!["readWriteAnyDatabase", "clusterMonitor", "restore"]),
        ("poor", vec!["readWriteAnyDatabase", "clusterMonitor"]),
    ];
    for (user, roles) in users {
        fixture::run(&source.entry, "admin", doc! {"createUser": user, "pwd": "x", "roles": roles}).await;
    }
    let fit = fixture::source(&uri("fit", "x")).await;
    assert_eq!(failed(&fit, &target).await, [""; 0]);
    let reader = fixture::source(&uri("reader", "x")).await;
    let lacks = found(&reader, &target, "source privileges").await;
    assert!(lacks.starts_with("secured lacks backup (appendOplogNote") && !lacks.contains("; "), "{lacks}");

    let source = fixture::source(&open.uri()).await;
    let writer = fixture::target(&uri("writer", "x")).await;
    assert_eq!(found(&source, &writer, "target privileges").await, "sufficient on router and shards");
    let poor = fixture::target(&uri("poor", "x")).await;
    let lacks = found(&source, &poor, "target privileges").await;
    let restores = ["lacks restore (", "collMod", "bypassDocumentValidation", "applyOps"];
    assert!(restores.iter().all(|part| lacks.contains(part)) && !lacks.contains("readWrite"), "{lacks}");

    for (uri, part) in [(uri("root", "wrong"), "authSource"), (uri("blind", "x"), "clusterMonitor")] {
        let error = connect::connect(Side::Source, &uri, fixture::TIMEOUT).await.unwrap_err();
        assert_eq!(error.kind, Kind::Connect, "{error}");
        assert!(error.remedy.unwrap().contains(part) && !error.message.contains("wrong"), "{}", error.message);
    }
}

/// A replica set of one that asks for a login, with the user `root`.
async fn secured() -> fixture::Server {
    let dir = DataDir::create("secured").unwrap();
    let key = dir.path().join("keyfile");
    std::fs::write(&key, "c2hhcmRsaWZ0LXRlc3Q=").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let args = ["--replSet", "secured", "--oplogSize", "64", "--keyFile", key.to_str().unwrap()];
    let server = fixture::Server::start_in(dir, "secured", &args).await;
    let client = server.client().await;
    let members = doc! {"_id": "secured", "members": [{"_id": 0, "host": &server.host}]};
    fixture::run(&client, "admin", doc! {"replSetInitiate": members}).await;
    while !fixture::run(&client, "admin", doc! {"hello": 1}).await.get_bool("isWritablePrimary").unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture::run(&client, "admin", doc! {"createUser": "root", "pwd": "p@ss", "roles": ["root"]}).await;
    server
}
