//! `loadgen check` on real servers: every kind of difference a migration could
//! leave is planted, and named.

mod planted;

use std::collections::BTreeSet;

use bson::{Bson, Document, RawDocumentBuf, doc};
use loadgen::check::{self, CheckOptions, Report};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use mongodb::Client;

use planted::{index, partial_index, planted, twice};

async fn replica_set() -> ReplicaSet {
    ReplicaSet::start(ReplicaSetOptions {
        cache_gb: 0.25,
        ..ReplicaSetOptions::default()
    })
    .await
    .unwrap()
}

async fn sharded() -> ShardedCluster {
    ShardedCluster::start(ShardedOptions {
        cache_gb: 0.25,
        ..ShardedOptions::default()
    })
    .await
    .unwrap()
}

async fn run(client: &Client, database: &str, command: Document) {
    let text = command.to_string();
    client
        .database(database)
        .run_command(command)
        .await
        .unwrap_or_else(|e| panic!("{text}: {e}"));
}

async fn run_raw(client: &Client, database: &str, command: RawDocumentBuf) {
    client
        .database(database)
        .run_raw_command(command)
        .await
        .unwrap();
}

async fn compare(source: &str, target: &str, options: CheckOptions) -> Report {
    check::compare(
        source,
        target,
        &CheckOptions {
            max_differences: 200,
            ..options
        },
    )
    .await
    .unwrap()
}

fn found(report: &Report) -> BTreeSet<(&str, &str)> {
    report
        .differences
        .iter()
        .map(|found| (found.ns.as_str(), found.kind))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_difference_of_a_replica_set_is_named() {
    let (source, target) = tokio::join!(replica_set(), replica_set());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    for client in [&a, &b] {
        run(
            client,
            "d",
            index("same", doc! {"expireAfterSeconds": 3600.5}),
        )
        .await;
        run_raw(client, "d", partial_index("same_filter", twice(1, 2))).await;
        run(
            client,
            "d",
            doc! {"create": "same_view", "viewOn": "same", "pipeline": []},
        )
        .await;
    }
    // The server stores what collMod raises as a whole number.
    run(
        &b,
        "d",
        doc! {"collMod": "same", "index": {"name": "x_1", "expireAfterSeconds": 3600}},
    )
    .await;
    let mut wanted = BTreeSet::from([("d.filter".to_owned(), "index")]);
    run_raw(&a, "d", partial_index("filter", twice(1, 2))).await;
    run_raw(&b, "d", partial_index("filter", twice(2, 1))).await;
    for (name, kind, on_source, on_target) in planted() {
        for (client, commands) in [(&a, on_source), (&b, on_target)] {
            for command in commands {
                run(client, "d", command).await;
            }
        }
        wanted.insert((format!("d.{name}"), kind));
    }
    // Left behind: no difference, but named; what the server keeps there is not.
    for database in ["config", "local"] {
        run(
            &a,
            database,
            doc! {"insert": "mine", "documents": [{"_id": 1}]},
        )
        .await;
    }
    let report = compare(&source.uri(), &target.uri(), CheckOptions::default()).await;
    let wanted: BTreeSet<_> = wanted
        .iter()
        .map(|(ns, kind)| (ns.as_str(), *kind))
        .collect();
    assert_eq!(found(&report), wanted, "{report}");
    assert_eq!(report.left_behind, ["config.mine", "local.mine"]);
    assert!(!report.equal && report.lost() == 2, "{report}");
}

/// A database with the collections that the rows below are about.
async fn lay_out(cluster: &ShardedCluster) {
    let admin = |command: Document| async move { cluster.admin(command).await.unwrap() };
    admin(doc! {"balancerStop": 1}).await;
    admin(doc! {"enableSharding": "d", "primaryShard": "shard0"}).await;
    for name in [
        "same",
        "moved",
        "zoned",
        "on_one_shard",
        "options_on_one_shard",
    ] {
        admin(doc! {"shardCollection": format!("d.{name}"), "key": {"k": 1}}).await;
        admin(doc! {"split": format!("d.{name}"), "middle": {"k": 0}}).await;
        admin(doc! {"moveChunk": format!("d.{name}"), "find": {"k": 1}, "to": "shard1", "_waitForDelete": true}).await;
        let documents: Vec<Document> = (-5..5).map(|k| doc! {"_id": k, "k": k}).collect();
        let client = cluster.client().await.unwrap();
        run(&client, "d", doc! {"insert": name, "documents": documents}).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_difference_of_a_sharded_cluster_is_named() {
    let (source, target) = tokio::join!(sharded(), sharded());
    tokio::join!(lay_out(&source), lay_out(&target));
    let (a, b) = (source.uri(), target.uri());
    let report = compare(&a, &b, CheckOptions::default()).await;
    assert!(report.equal && report.left_behind.is_empty(), "{report}");

    let on = |cluster| async move {
        let cluster: &ShardedCluster = cluster;
        (
            cluster.client().await.unwrap(),
            cluster.shard_clients().await.unwrap(),
        )
    };
    let ((from, _), (to, shards)) = tokio::join!(on(&source), on(&target));
    let admin = |cluster, command: Document| async move {
        let cluster: &ShardedCluster = cluster;
        cluster.admin(command).await.unwrap()
    };
    // Keys, uniqueness, and what is sharded at all.
    admin(&source, doc! {"shardCollection": "d.key", "key": {"k": 1}}).await;
    admin(
        &target,
        doc! {"shardCollection": "d.key", "key": {"k": 1, "l": 1}},
    )
    .await;
    admin(
        &source,
        doc! {"shardCollection": "d.unique", "key": {"k": 1}, "unique": true},
    )
    .await;
    run(&to, "d", doc! {"createIndexes": "unique", "indexes": [{"key": {"k": 1}, "name": "k_1", "unique": true}]})
        .await;
    admin(
        &target,
        doc! {"shardCollection": "d.unique", "key": {"k": 1}},
    )
    .await;
    admin(
        &source,
        doc! {"shardCollection": "d.plain", "key": {"_id": 1}},
    )
    .await;
    run(&to, "d", doc! {"create": "plain"}).await;
    // Owners: away, and one that is away and back is where it was.
    admin(
        &target,
        doc! {"moveChunk": "d.moved", "find": {"k": 1}, "to": "shard0", "_waitForDelete": true},
    )
    .await;
    for shard in ["shard0", "shard1"] {
        admin(
            &target,
            doc! {"moveChunk": "d.same", "find": {"k": 1}, "to": shard, "_waitForDelete": true},
        )
        .await;
    }
    // Zones: a range of another number type, a zone of a shard, one that was left.
    admin(&source, doc! {"addShardToZone": "shard1", "zone": "far"}).await;
    for (cluster, min) in [(&source, Bson::Int32(0)), (&target, Bson::Int64(0))] {
        admin(cluster, doc! {"addShardToZone": "shard0", "zone": "near"}).await;
        let range = doc! {"updateZoneKeyRange": "d.zoned", "min": {"k": min}, "max": {"k": 9}, "zone": "near"};
        admin(cluster, range).await;
    }
    let left =
        doc! {"updateZoneKeyRange": "d.left", "min": {"k": 0}, "max": {"k": 9}, "zone": "near"};
    admin(&target, left).await;
    // What only one shard shows.
    run(&shards[1], "d", index("on_one_shard", doc! {})).await;
    run(
        &shards[1],
        "d",
        doc! {"collMod": "options_on_one_shard", "validationLevel": "off"},
    )
    .await;
    run(&shards[1], "d", doc! {"create": "stray"}).await;
    // Primaries and balancers.
    for (cluster, primary) in [(&source, "shard0"), (&target, "shard1")] {
        admin(
            cluster,
            doc! {"enableSharding": "e", "primaryShard": primary},
        )
        .await;
    }
    for client in [&from, &to] {
        run(client, "e", doc! {"create": "c"}).await;
    }
    admin(&source, doc! {"balancerStart": 1}).await;
    let off = || Some("off".to_owned());
    let options = CheckOptions {
        source_balancer: off(),
        target_balancer: off(),
        ..CheckOptions::default()
    };
    let report = compare(&a, &b, options).await;
    let wanted = [
        ("config.settings", "balancer"),
        ("d.key", "chunks"),
        ("d.key", "sharding"),
        ("d.key", "missing index"),
        ("d.key", "extra index"),
        ("d.unique", "sharding"),
        ("d.plain", "sharding"),
        ("d.moved", "chunks"),
        ("d.zoned", "zones"),
        ("d.left", "zones"),
        ("shard1", "shard zones"),
        ("d.on_one_shard", "extra index"),
        ("d.options_on_one_shard", "options"),
        ("d.stray", "stray collection"),
        ("e", "primary shard"),
    ];
    assert_eq!(found(&report), BTreeSet::from(wanted), "{report}");
    let balancers = report.balancers.as_ref().unwrap();
    assert_eq!(
        (balancers.source.as_str(), balancers.target.as_str()),
        ("full", "off")
    );
}
