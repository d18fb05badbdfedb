//! Sharded clusters before 6.0: their catalog is read, their layout is made again chunk for
//! chunk, and they pass validation. (No document moves through a router here.)

use std::collections::BTreeSet;

use bson::{Bson, Document, bson, doc};
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use mongodb::Client;
use shardlift::cluster::catalog::{self, Catalog};
use shardlift::cluster::deployment::Deployment;
use shardlift::config::Renames;
use shardlift::control::balancer;
use shardlift::control::cutover::routers;
use shardlift::control::{layout, limits, validate};

use crate::fixture::{self, run};
use crate::validate_verdicts::told;

/// Source shard i is moved to target shard `PAIRS[i]`.
const PAIRS: [usize; 2] = [1, 0];

pub(super) async fn cluster(release: &str, shard_names: &'static str) -> ShardedCluster {
    let options = ShardedOptions {
        release: release.parse().unwrap(),
        shard_names,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        stand_in_only: true,
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options).await.unwrap()
}

pub(super) async fn admin(client: &Client, command: Document) {
    run(client, "admin", command).await;
}

/// Many chunks of one owner, hashed ones, a zone, a collection that is not sharded, and the
/// traces of one that was dropped.
async fn populate(client: &Client) {
    admin(
        client,
        doc! {"enableSharding": "shop", "primaryShard": "shard1"},
    )
    .await;
    admin(
        client,
        doc! {"shardCollection": "shop.many", "key": {"k": 1}},
    )
    .await;
    for at in 1..20 {
        admin(client, doc! {"split": "shop.many", "middle": {"k": at}}).await;
    }
    for at in [3, 4, 5, 11] {
        let bounds = bson!([{"k": at}, {"k": at + 1}]);
        admin(
            client,
            doc! {"moveChunk": "shop.many", "bounds": bounds, "to": "shard0"},
        )
        .await;
    }
    admin(
        client,
        doc! {"shardCollection": "shop.hashed", "key": {"h": "hashed"}},
    )
    .await;
    admin(client, doc! {"addShardToZone": "shard0", "zone": "north"}).await;
    admin(
        client,
        doc! {"shardCollection": "shop.zoned", "key": {"z": 1, "y": 1}, "unique": true},
    )
    .await;
    admin(
        client,
        doc! {"updateZoneKeyRange": "shop.zoned", "min": {"z": Bson::MinKey, "y": Bson::MinKey},
        "max": {"z": 7, "y": Bson::MinKey}, "zone": "north"},
    )
    .await;
    run(
        client,
        "shop",
        doc! {"create": "plain", "validator": {"a": 1}},
    )
    .await;
    admin(
        client,
        doc! {"shardCollection": "shop.gone", "key": {"k": 1}},
    )
    .await;
    run(client, "shop", doc! {"drop": "gone"}).await;
    // Its primary is made without the right to shard.
    run(client, "side", doc! {"create": "plain"}).await;
    admin(client, doc! {"enableSharding": "side"}).await;
    admin(
        client,
        doc! {"shardCollection": "side.late", "key": {"k": 1}},
    )
    .await;
}

/// Every collection with its chunks, by the shard of the target that takes them.
fn shown(catalog: &Catalog, pairs: &[usize]) -> Vec<String> {
    let chunks = |c: &catalog::Collection| {
        let sharded = c.sharded.as_ref()?;
        let chunks = sharded.chunks.iter();
        let chunks: Vec<String> = chunks
            .map(|c| format!("{:?} to {:?} on {}", c.min, c.max, pairs[c.shard]))
            .collect();
        Some(format!(
            "{:?} {} {chunks:?} {:?}",
            sharded.key, sharded.unique, sharded.zones
        ))
    };
    let shown = catalog.collections.iter();
    shown
        .map(|c| {
            let primary = pairs[c.primary];
            format!("{} {:?} {primary} {:?}", c.ns, c.options, chunks(c))
        })
        .collect()
}

async fn at_rest(deployment: &Deployment) {
    balancer::stop(deployment).await.unwrap();
}

async fn is_laid_out(from: &str, to: &str) {
    let (a, b) = tokio::join!(cluster(from, "shard"), cluster(to, "other"));
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    at_rest(&source).await;
    at_rest(&target).await;
    populate(&source.entry).await;
    // Half of it is there: a database that is not shown as sharded.
    run(&target.entry, "side", doc! {"create": "plain"}).await;
    run(&target.entry, "side", doc! {"drop": "plain"}).await;

    let catalog = catalog::read(&source).await.unwrap();
    let names: Vec<String> = catalog
        .collections
        .iter()
        .map(|c| c.ns.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "shop.hashed",
            "shop.many",
            "shop.plain",
            "shop.zoned",
            "side.late",
            "side.plain"
        ]
    );
    let checks = validate::run(&source, &target, &catalog, &BTreeSet::new()).await;
    let failed: Vec<_> = checks.iter().filter(|check| check.has_failed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let orphans = checks.iter().find(|check| check.name == "source orphans");
    let orphans = orphans.expect("there is such a check");
    let untold = orphans.found.contains("of this release do not tell");
    assert_eq!(untold, from == "4.2", "{orphans:?}");
    assert!(!untold || orphans.remedy.is_some(), "{orphans:?}");
    if from == "4.4" {
        let verdict = if to == from { "ok" } else { "failed" };
        told(&a.uri(), &b.uri(), &["--profile", "atlas"]).is("profile atlas", verdict, "");
        let natural = told(&a.uri(), &b.uri(), &["--scan-order", "natural"]);
        natural.is(
            "order of the copy",
            "warning",
            "though scan_order is natural",
        );
    }
    // Drops go by name before that.
    let follows = limits::follows_renames(Renames::Auto, &target);
    assert_eq!(follows, to == "6.0");

    layout::create_all(&target, &catalog, &PAIRS).await.unwrap();
    let there = catalog::read(&target).await.unwrap();
    if target.dialect.catalog.balancer_counts_chunks {
        assert_eq!(shown(&there, &[0, 1]), shown(&catalog, &PAIRS));
    }
    let versions = catalog::versions::read(&target).await.unwrap();
    assert_eq!(versions.collections.len(), 4);
    // Once more finds everything done.
    layout::create_all(&target, &catalog, &PAIRS).await.unwrap();
    let again = catalog::versions::read(&target).await.unwrap();
    assert_eq!(again.collections, versions.collections);
    let one = catalog::read_one(&target, &catalog.collections[1].ns).await;
    let one = one.unwrap().unwrap();
    assert_eq!(one.ns.coll, "many");
}

/// A router of 4.2 lists the indexes that the primary shard has, chunks or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_shard_without_chunks_is_given_the_indexes_of_the_others() {
    let cluster = cluster("4.2", "shard").await;
    let target = fixture::target(&cluster.uri()).await;
    at_rest(&target).await;
    let (primary, owner) = (&target.shards[0].client, &target.shards[1].client);
    let to_primary = doc! {"enableSharding": "shop", "primaryShard": "shard0"};
    admin(&target.entry, to_primary).await;
    admin(
        &target.entry,
        doc! {"shardCollection": "shop.c", "key": {"k": 1}},
    )
    .await;
    let all = bson!([{"k": Bson::MinKey}, {"k": Bson::MaxKey}]);
    let to_other = doc! {"moveChunk": "shop.c", "bounds": all, "to": "shard1"};
    admin(&target.entry, to_other).await;
    let index = doc! {"key": {"x": 1}, "name": "x_1", "expireAfterSeconds": 3600};
    run(
        owner,
        "shop",
        doc! {"createIndexes": "c", "indexes": [index]},
    )
    .await;

    let names = async || {
        let c = primary.database("shop").collection::<Document>("c");
        c.list_index_names().await.unwrap()
    };
    assert_eq!(names().await, ["_id_", "k_1"]);
    for _ in 0..2 {
        routers::give_primaries_their_indexes(&target)
            .await
            .unwrap();
        assert_eq!(names().await, ["_id_", "k_1", "x_1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_4_2_is_laid_out_on_4_2() {
    is_laid_out("4.2", "4.2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_4_4_is_laid_out_on_4_4() {
    is_laid_out("4.4", "4.4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_5_0_is_laid_out_on_5_0() {
    is_laid_out("5.0", "5.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_4_2_is_laid_out_on_6_0() {
    is_laid_out("4.2", "6.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_4_4_is_laid_out_on_5_0() {
    is_laid_out("4.4", "5.0").await;
}
