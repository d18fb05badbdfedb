//! What `shardlift validate` says of collections, filters and names that do not go together,
//! and of a cluster with much against it: all at once.

use std::collections::BTreeSet;

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use loadgen::cluster::users::{MOVER, TARGET_ROUTER};
use mongodb::options::{CollectionOptions, WriteConcern};

use crate::fixture::{self, run};
use crate::migrate_content::encrypted;
use crate::sharded_login;
use crate::validate_verdicts::told;

const SUPPORTED: &str = "collections supported";
const ENCRYPTED: &str = "state of encrypted collections";
const RENAMES: &str = "renames";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_filters_and_renames_make_of_collections_is_told() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    fixture::insert(&a, "spare", "c").await;
    encrypted::create(&a, "secret").await;
    let of = |flags: &[&str]| told(&from, &to, flags);
    let fine = of(&["--rename", "spare=store"]);
    for (name, found) in [
        (SUPPORTED, "0 views"),
        (ENCRYPTED, "1 have theirs in the run"),
        (RENAMES, "spare.c as store.c"),
        ("what is made while it runs", "both sides take the same"),
    ] {
        fine.is(name, "ok", found);
    }
    let filtered = of(&["--exclude", "/ecoc/"]);
    filtered.is(ENCRYPTED, "failed", "vault.enxcol_.secret.ecoc");
    let crossed = "of a transaction that also writes what is out";
    filtered.is("transactions within the filters", "warning", crossed);
    let moved = of(&["--rename", "vault.secret=vault.hidden"]);
    moved.is(ENCRYPTED, "ok", "1 have theirs");
    let moved = of(&["--rename", "vault.secret=other.secret"]);
    moved.is(ENCRYPTED, "failed", "vault.enxcol_.secret.esc");
    let spelled = "SHOP and shop would both be databases";
    of(&["--rename", "spare=SHOP"]).is(RENAMES, "failed", spelled);

    let left = doc! {"op": "c", "ns": "shop.$cmd", "o": {"create": "left", "temp": true}};
    run(&a, "admin", doc! {"applyOps": [left]}).await;
    of(&[]).is(SUPPORTED, "warning", "temporary: shop.left");
}

/// Marks a shard as one that is being removed. Its router reads what a majority has.
async fn drains(cluster: &ShardedCluster, shard: &str) {
    let config = cluster.config().client().await.unwrap();
    let majority = CollectionOptions::builder()
        .write_concern(WriteConcern::majority())
        .build();
    let shards = config.database("config");
    let shards = shards.collection_with_options::<Document>("shards", majority);
    let leaving = doc! {"$set": {"draining": true}};
    let updated = shards.update_one(doc! {"_id": shard}, leaving).await;
    assert_eq!(updated.unwrap().modified_count, 1);
}

/// Makes all of it that a source may have against it.
async fn unfit(source: &ShardedCluster) {
    let a = source.client().await.unwrap();
    for db in ["shop", "vault", "spare"] {
        let made = doc! {"enableSharding": db, "primaryShard": "shard0"};
        run(&a, "admin", made).await;
    }
    fixture::insert(&a, "spare", "c").await;
    let shards = source.shard_clients().await.unwrap();
    let (first, second) = (&shards[0], &shards[1]);
    fixture::insert(second, "nowhere", "c").await;
    encrypted::create(first, "secret").await;
    let measured =
        doc! {"timeField": "at", "granularity": "seconds", "bucketMaxSpanSeconds": 3_600};
    let buckets =
        doc! {"create": "system.buckets.alone", "clusteredIndex": true, "timeseries": measured};
    run(first, "shop", buckets).await;
    drains(source, "shard1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_cluster_has_against_it_is_told_at_once() {
    let weak = ["readWriteAnyDatabase", "clusterMonitor"];
    let (source, target) = tokio::join!(
        fixture::cluster(2),
        sharded_login::cluster(&TARGET_ROUTER, &weak)
    );
    let (from, to) = (source.uri(), target.uri_as(MOVER));
    let b = target.client().await.unwrap();
    const BALANCER: &str = "target balancer";
    const LEAVING: &str = "no target shard is being removed";
    told(&from, &to, &[]).is(LEAVING, "ok", "none");
    run(&b, "admin", doc! {"balancerStart": 1}).await;
    told(&from, &to, &[]).is(BALANCER, "ok", "on; it is stopped for the run");
    run(&b, "admin", doc! {"balancerStop": 1}).await;
    told(&from, &to, &[]).is(BALANCER, "ok", "off");

    unfit(&source).await;
    drains(&target, "shard1").await;
    fixture::insert(&b, "left", "over").await;
    let flags = [
        "--exclude",
        "/ecoc/",
        "--rename",
        "spare=VAULT",
        "--profile",
        "atlas",
        "--reverse",
    ];
    let told = told(&from, &to, &flags);
    let expect = [
        ("profile atlas", "source runs 6.0"),
        ("target privileges", "lacks restore"),
        ("no source shard is being removed", "shard1"),
        (LEAVING, "shard1"),
        ("target is empty", "left.over"),
        (SUPPORTED, "shop.alone (buckets without their time series)"),
        ("no collection outside the cluster", "nowhere.c on shard1"),
        (ENCRYPTED, "vault.enxcol_.secret.ecoc"),
        (RENAMES, "VAULT and vault would both be databases"),
        ("way back: the same names on both sides", "spare=VAULT"),
        ("way back: follow the target", "lacks backup"),
    ];
    let failed: BTreeSet<&str> = told.failed().iter().map(|[name, ..]| *name).collect();
    for (name, found) in expect {
        assert!(failed.contains(name), "{name}: {failed:?}");
        told.is(name, "failed", found);
    }
}
