//! Sharded clusters that ask for a login: the config servers' users are the router's,
//! each shard has its own, and the engine's has exactly the roles that README names.

use bson::doc;
use loadgen::cluster::{ClusterUsers, ShardedCluster, ShardedOptions, User};
use mongodb::Client;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::migrate_ddl;

const MOVER: &str = "mover";
pub(crate) const SOURCE_ROUTER: [&str; 4] = ["readAnyDatabase", "backup", "clusterMonitor", "clusterManager"];
pub(crate) const SOURCE_SHARD: [&str; 3] = ["readAnyDatabase", "backup", "clusterMonitor"];
pub(crate) const TARGET_ROUTER: [&str; 4] = ["readWriteAnyDatabase", "restore", "clusterMonitor", "clusterManager"];
pub(crate) const TARGET_SHARD: [&str; 3] = ["readWriteAnyDatabase", "restore", "clusterMonitor"];

pub(crate) async fn cluster(router: &[&str], shard: &[&str]) -> ShardedCluster {
    let login = Some(ClusterUsers { router: vec![User::new(MOVER, router)], shard: vec![User::new(MOVER, shard)] });
    let options = ShardedOptions { cache_gb: 0.25, oplog_mb: Some(256), login, ..ShardedOptions::default() };
    ShardedCluster::start(options).await.expect("a local sharded cluster starts")
}

/// A shard's primary steps down, and is elected again: there is no other member.
async fn election(cluster: &ShardedCluster, shard: usize) {
    let mut link = cluster.shards()[shard].primary_link().await.unwrap();
    // The connection may go before the answer.
    let _ = link.command("admin", doc! {"replSetStepDown": 1, "force": true}).await;
    cluster.shards()[shard].primary().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_that_readme_names_are_enough_with_ddl_elections_and_a_kill() {
    let (source, target) = tokio::join!(cluster(&SOURCE_ROUTER, &SOURCE_SHARD), cluster(&TARGET_ROUTER, &TARGET_SHARD));
    let (from, to) = (source.uri_as(MOVER), target.uri_as(MOVER));
    let client = Client::with_uri_str(source.uri()).await.unwrap();
    let other = Client::with_uri_str(source.uri()).await.unwrap();
    migrate_ddl::before(&client, true).await;
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until("copying", |now| matches!(now.phase.as_str(), "copying" | "following" | "ready")).await;
    migrate_ddl::changes(&client, &other, "copying", true).await;
    engine.until_ready().await;
    engine.kill();
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    election(&source, 0).await;
    election(&target, 1).await;
    migrate_ddl::changes(&client, &other, "following", true).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Of the test's own means: who is not known may ask nothing, and a user what its roles say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stand_in_lets_nobody_do_what_a_router_would_not() {
    let cluster = cluster(&SOURCE_ROUTER, &SOURCE_SHARD).await;
    let root = Client::with_uri_str(cluster.uri()).await.unwrap();
    fixture::insert(&root, "d", "c").await;
    let nobody = cluster.uri().replace("loadgen:loadgen@", "");
    let mover = cluster.uri_as(MOVER);
    for (uri, command, text) in [
        (&nobody, doc! {"find": "c"}, "requires authentication"),
        (&mover, doc! {"insert": "c", "documents": [{"x": 1}]}, "not authorized on d"),
        (&mover, doc! {"drop": "c"}, "not authorized on d"),
    ] {
        let client = Client::with_uri_str(uri).await.unwrap();
        let error = client.database("d").run_command(command).await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let mover = Client::with_uri_str(mover).await.unwrap();
    let found = run(&mover, "d", doc! {"find": "c"}).await;
    assert_eq!(found.get_document("cursor").unwrap().get_array("firstBatch").unwrap().len(), 1);
    let find = doc! {"find": "system.sharding_ddl_coordinators"};
    let error = mover.database("config").run_command(find).await.unwrap_err().to_string();
    assert!(error.contains("not authorized on config"), "{error}");
    let wrong = cluster.uri().replace("loadgen:loadgen@", "loadgen:other@");
    let wrong = Client::with_uri_str(wrong).await.unwrap();
    assert!(wrong.database("d").run_command(doc! {"find": "c"}).await.is_err());
}
