//! Sharded clusters that ask for a login: the config servers' users are the router's,
//! each shard has its own, and the engine's has exactly the roles that README names.

use bson::{Document, doc};
use loadgen::cluster::users::{MOVER, SOURCE_ROUTER, SOURCE_SHARD, TARGET_ROUTER, TARGET_SHARD};
use loadgen::cluster::{ClusterUsers, ReplicaSet, ShardedCluster, ShardedOptions, User};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;
use shardlift::cluster::connect;
use shardlift::cluster::deployment::{Side, Topology};
use shardlift::control::validate;
use shardlift::control::validate::privileges::{self, Need, Needs, On};
use shardlift::observe::phase::Phase;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::migrate_ddl;

pub(crate) async fn cluster(router: &[&str], shard: &[&str]) -> ShardedCluster {
    let login = Some(ClusterUsers {
        router: vec![User::new(MOVER, router)],
        shard: vec![User::new(MOVER, shard)],
    });
    let options = ShardedOptions {
        cache_gb: 0.25,
        oplog_mb: Some(256),
        login,
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options)
        .await
        .expect("a local sharded cluster starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_that_readme_names_are_enough_with_ddl_elections_and_a_kill() {
    let (source, target) = tokio::join!(
        cluster(&SOURCE_ROUTER, &SOURCE_SHARD),
        cluster(&TARGET_ROUTER, &TARGET_SHARD)
    );
    let (from, to) = (source.uri_as(MOVER), target.uri_as(MOVER));
    let client = Client::with_uri_str(source.uri()).await.unwrap();
    let other = Client::with_uri_str(source.uri()).await.unwrap();
    fixture::insert(&client, "functions", "system.js").await;
    migrate_ddl::before(&client, true).await;
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine
        .until("copying", |now| {
            matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
        })
        .await;
    migrate_ddl::changes(&client, &other, "copying", true).await;
    engine.until_ready().await;
    engine.kill();
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    source.shards()[0].elect().await.unwrap();
    target.shards()[1].elect().await.unwrap();
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
        (
            &mover,
            doc! {"insert": "c", "documents": [{"x": 1}]},
            "not authorized on d",
        ),
        (&mover, doc! {"drop": "c"}, "not authorized on d"),
    ] {
        let client = Client::with_uri_str(uri).await.unwrap();
        let error = client
            .database("d")
            .run_command(command)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    }
    let mover = Client::with_uri_str(mover).await.unwrap();
    let found = run(&mover, "d", doc! {"find": "c"}).await;
    assert_eq!(
        found
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()
            .len(),
        1
    );
    let find = doc! {"find": "system.sharding_ddl_coordinators"};
    let error = mover
        .database("config")
        .run_command(find)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not authorized on config"), "{error}");
    let wrong = cluster.uri().replace("loadgen:loadgen@", "loadgen:other@");
    let wrong = Client::with_uri_str(wrong).await.unwrap();
    assert!(
        wrong
            .database("d")
            .run_command(doc! {"find": "c"})
            .await
            .is_err()
    );
}

const OWN_ROLE: &str = "own";

fn role(needs: &[Need]) -> Vec<Document> {
    let privilege = |need: &Need| {
        let resource = match need.on {
            On::Cluster => doc! {"cluster": true},
            On::AnyDatabase => doc! {"db": "", "collection": ""},
            On::AnyBuckets => doc! {"db": "", "system_buckets": ""},
            On::Collection(db, coll) => doc! {"db": db, "collection": coll},
        };
        doc! {"resource": resource, "actions": [need.action]}
    };
    needs.iter().map(privilege).collect()
}

/// Makes the one role of the one user of a replica set.
async fn give_role(set: &ReplicaSet, needs: &[Need]) {
    let mut link = set.primary_link().await.unwrap();
    link.command(
        "admin",
        doc! {"createRole": OWN_ROLE, "privileges": role(needs), "roles": []},
    )
    .await
    .unwrap();
    link.command(
        "admin",
        doc! {"grantRolesToUser": MOVER, "roles": [OWN_ROLE]},
    )
    .await
    .unwrap();
}

async fn change_role(set: &ReplicaSet, needs: &[Need]) {
    let mut link = set.primary_link().await.unwrap();
    link.command(
        "admin",
        doc! {"updateRole": OWN_ROLE, "privileges": role(needs)},
    )
    .await
    .unwrap();
}

/// What is said to a user whose role lacks something.
async fn told(cluster: &ShardedCluster, side: Side) -> String {
    match connect::connect(side, &cluster.uri_as(MOVER), fixture::TIMEOUT).await {
        // Asked before anything can be checked.
        Err(e) => e.to_string(),
        Ok(deployment) => {
            let check = validate::privileges_of(&deployment).await;
            if !check.has_failed() {
                String::new()
            } else {
                format!("{}; {}", check.found, check.remedy.unwrap())
            }
        }
    }
}

/// Each action of the table taken away once, from the router's user and from a shard's.
async fn each_is_missed(cluster: &ShardedCluster, side: Side, needs: &Needs) {
    let shard = &cluster.shards()[1];
    for (set, place, all) in [
        (cluster.config(), "mongos", &needs.router),
        (shard, "shard1", &needs.shard),
    ] {
        for (index, need) in all.iter().enumerate() {
            let others = [&all[..index], &all[index + 1..]].concat();
            change_role(set, &others).await;
            let told = told(cluster, side).await;
            let named = told.contains(&format!("{place} lacks {} ({}", need.role, need.action));
            let asked_first = matches!(need.action, "listShards" | "getParameter" | "find")
                && told.contains("grant");
            assert!(named || asked_first, "{side} {place} {need:?}: {told}");
        }
        change_role(set, all).await;
    }
    assert_eq!(told(cluster, side).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_of_ones_own_are_enough_with_all_that_validate_asks_for_and_refused_without_each() {
    let (source, target) = tokio::join!(cluster(&[], &[]), cluster(&[], &[]));
    let dialect = fixture::source(&source.uri()).await.dialect;
    let (of_source, of_target) = (
        privileges::source(Topology::Sharded, &dialect),
        privileges::target(Topology::Sharded, &dialect),
    );
    for (cluster, needs) in [(&source, &of_source), (&target, &of_target)] {
        give_role(cluster.config(), &needs.router).await;
        for shard in cluster.shards() {
            give_role(shard, &needs.shard).await;
        }
    }
    for (cluster, side) in [(&source, Side::Source), (&target, Side::Target)] {
        let deployment = connect::connect(side, &cluster.uri_as(MOVER), fixture::TIMEOUT)
            .await
            .unwrap();
        for shard in &deployment.shards {
            // By which a shard is listed at once, and not collection by collection.
            let all = doc! {"aggregate": 1, "pipeline": [{"$listCatalog": {}}], "cursor": {}};
            run(&shard.client, "admin", all).await;
        }
    }
    each_is_missed(&source, Side::Source, &of_source).await;
    each_is_missed(&target, Side::Target, &of_target).await;

    let client = Client::with_uri_str(source.uri()).await.unwrap();
    let args = PopulateArgs {
        docs: 2_000,
        types: true,
        capped: true,
        ..PopulateArgs::new(source.uri())
    };
    populate::populate(&args).await.unwrap();
    fixture::insert(&client, "functions", "system.js").await;
    migrate_ddl::before(&client, true).await;
    let mut engine = Engine::start(&source.uri_as(MOVER), &target.uri_as(MOVER), &[]).await;
    engine
        .until("copying", |now| {
            matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
        })
        .await;
    migrate_ddl::changes(&client, &client.clone(), "copying", true).await;
    engine.until_ready().await;
    migrate_ddl::changes(&client, &client.clone(), "following", true).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
