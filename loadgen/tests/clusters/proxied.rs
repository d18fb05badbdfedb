//! Replica sets and clusters whose members are known by their proxies.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use loadgen::proxy::Fault;

use crate::fill;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_set_survives_faults_and_a_crash_of_its_primary() {
    let options = ReplicaSetOptions {
        members: 3,
        cache_gb: 0.25,
        proxied: true,
        ..ReplicaSetOptions::default()
    };
    let mut set = ReplicaSet::start(options).await.unwrap();
    assert!(
        set.member_hosts()
            .iter()
            .all(|host| !set.server_hosts().contains(host))
    );
    let client = set.client().await.unwrap();
    fill(&client, "d", 100).await;
    let old = set.primary().await.unwrap();
    let began = Instant::now();
    set.proxy(old).unwrap().set(Fault::BlackHole);
    // Nobody hears the primary: another one is elected, and the driver finds it.
    while set.primary().await.unwrap() == old {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    set.proxy(old).unwrap().clear();
    let primary = set.primary().await.unwrap();
    set.member_mut(primary).kill();
    set.member_mut(primary).restart().await.unwrap();
    until_healthy(&set).await;
    assert_eq!(
        client
            .database("d")
            .collection::<Document>("c")
            .count_documents(doc! {})
            .await
            .unwrap(),
        100
    );
}

/// Restarted members find themselves in the configuration through their proxies.
async fn until_healthy(set: &ReplicaSet) {
    let began = Instant::now();
    loop {
        let mut link = set.primary_link().await.unwrap();
        let status = link
            .command("admin", doc! {"replSetGetStatus": 1})
            .await
            .unwrap();
        let members = status.get_array("members").unwrap();
        let healthy = members
            .iter()
            .filter(|m| matches!(m.as_document().unwrap().get_i32("state"), Ok(1 | 2)))
            .count();
        if healthy == members.len() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{members:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_cluster_lists_its_shards_by_their_proxies() {
    let options = ShardedOptions {
        cache_gb: 0.25,
        proxied: true,
        stand_in_only: true,
        ..ShardedOptions::default()
    };
    let cluster = ShardedCluster::start(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    fill(&client, "d", 10).await;
    let reply = cluster.admin(doc! {"listShards": 1}).await.unwrap();
    let first = reply.get_array("shards").unwrap()[0].as_document().unwrap();
    assert_eq!(first.get_str("host").unwrap(), cluster.shards()[0].hosts());
    assert!(
        cluster.shards()[0]
            .hosts()
            .ends_with(&cluster.shards()[0].proxy(0).unwrap().host())
    );
}
