//! The target's layout against the source's, on real clusters.

use std::collections::BTreeSet;

use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::Client;
use shardlift::cluster::catalog::{self, Catalog, Collection, Namespace, Sharded};
use shardlift::cluster::deployment::Deployment;
use shardlift::cluster::ownership;
use shardlift::control::balancer::{self, Found};
use shardlift::control::{layout, validate};
use shardlift::error::Kind;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

mod source;

use source::{populate, unsharded};

/// Source shard i is moved to target shard `PAIRS[i]`.
const PAIRS: [usize; 3] = [2, 0, 1];

#[tokio::test]
async fn the_target_is_laid_out_as_the_source() {
    let (a, b) = tokio::join!(fixture::cluster(3), fixture::cluster(3));
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    balancer::stop(&source).await.unwrap();
    balancer::stop(&target).await.unwrap();
    populate(&source.entry).await;
    // An empty database left over on another shard, and half a collection, are in nobody's way.
    run(
        &target.entry,
        "admin",
        doc! {"enableSharding": "lone", "primaryShard": "shard1"},
    )
    .await;
    run(
        &target.entry,
        "admin",
        doc! {"enableSharding": "shop", "primaryShard": "shard0"},
    )
    .await;
    run(&target.entry, "shop", doc! {"create": "hashed"}).await;

    let catalog = catalog::read(&source).await.unwrap();
    let started = std::time::Instant::now();
    layout::create_all(&target, &catalog, &PAIRS).await.unwrap();
    println!(
        "{} collections laid out in {:?}",
        catalog.collections.len(),
        started.elapsed()
    );
    assert_same(&catalog, &catalog::read(&target).await.unwrap());
    // Every chunk was made in its place: none moved, so no range waits to be deleted.
    for shard in &target.shards {
        let deletions = shard
            .client
            .database("config")
            .collection::<Document>("rangeDeletions");
        assert_eq!(
            deletions.count_documents(doc! {}).await.unwrap(),
            0,
            "{}",
            shard.id
        );
    }

    // Once more finds everything done.
    layout::create_all(&target, &catalog, &PAIRS).await.unwrap();
    assert_same(&catalog, &catalog::read(&target).await.unwrap());

    differing_layouts_are_refused(&target, &catalog).await;
    collections_come_one_by_one(&source, &target).await;
}

#[tokio::test]
async fn a_replica_set_is_laid_out_too() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    balancer::stop(&source).await.unwrap();
    assert_eq!(
        balancer::found(&source).await.unwrap(),
        Found {
            enabled: None,
            settings: None
        }
    );
    unsharded(&source.entry, "shop").await;
    let catalog = catalog::read(&source).await.unwrap();
    assert_eq!(catalog.databases.len(), 1);
    layout::create_all(&target, &catalog, &[0]).await.unwrap();
    // What was changed meanwhile is brought.
    for change in [
        doc! {"collMod": "checked", "validator": {"x": {"$gte": 1}}, "validationLevel": "strict"},
        doc! {"collMod": "images", "changeStreamPreAndPostImages": {"enabled": false}},
        doc! {"collMod": "french", "recordPreImages": true},
    ] {
        run(&source.entry, "shop", change).await;
    }
    let catalog = catalog::read(&source).await.unwrap();
    layout::create_all(&target, &catalog, &[0]).await.unwrap();
    let there = catalog::read(&target).await.unwrap();
    assert_eq!(described(&there, &[0]), described(&catalog, &[0]));
    let orders = Namespace {
        db: "shop".to_owned(),
        coll: "checked".to_owned(),
    };
    assert_eq!(
        catalog::local_uuid(&target.shards[0], &orders)
            .await
            .unwrap(),
        find(&there, "checked").uuid
    );
    let estimate = catalog::estimate(&source.shards[0], &orders).await.unwrap();
    assert_eq!(
        (estimate.document_count, estimate.bytes),
        (1, estimate.document_bytes_average)
    );
}

/// A server makes none by command, and none drops it before its next election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operation_left_over_arrives_as_an_ordinary_collection() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = a.client().await.unwrap();
    fixture::insert(&client, "shop", "kept").await;
    let left = doc! {"op": "c", "ns": "shop.$cmd", "o": {"create": "left", "temp": true}};
    run(&client, "admin", doc! {"applyOps": [left]}).await;
    fixture::insert(&client, "shop", "left").await;
    let (source, target) = (
        fixture::source(&a.uri()).await,
        fixture::target(&b.uri()).await,
    );
    let catalog = catalog::read(&source).await.unwrap();
    assert!(
        find(&catalog, "left").options.get_bool("temp").unwrap(),
        "else this test shows nothing"
    );
    let checks = validate::run(&source, &target, &catalog, &BTreeSet::new()).await;
    let supported = checks
        .iter()
        .find(|check| check.name == "collections supported")
        .unwrap();
    assert!(
        !supported.has_failed() && supported.found.contains("temporary: shop.left"),
        "{supported:?}"
    );
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&a.uri(), &b.uri()).await;
}

/// What must be the same on both sides, in words, by namespace.
fn described(catalog: &Catalog, pairs: &[usize]) -> Vec<String> {
    let mut all: Vec<String> = catalog
        .databases
        .iter()
        .map(|d| format!("{} on {}", d.name, pairs[d.primary]))
        .collect();
    for c in &catalog.collections {
        let sharding = c.sharded.as_ref().map(|s| sharding(s, pairs));
        let index = c.key_index.as_ref().map(without_held_back);
        let options = without_held_back(&c.options);
        all.push(format!(
            "{} {:?} {options} on {}, {sharding:?}, {index:?}",
            c.ns, c.kind, pairs[c.primary]
        ));
    }
    all
}

fn sharding(sharded: &Sharded, pairs: &[usize]) -> String {
    let mut mapped = sharded.clone();
    mapped
        .chunks
        .iter_mut()
        .for_each(|c| c.shard = pairs[c.shard]);
    let zones: Vec<_> = sharded
        .zones
        .iter()
        .map(|z| format!("{:?} {:?} {}", z.min, z.max, z.name))
        .collect();
    format!(
        "{:?} {} {:?} {zones:?}",
        sharded.key,
        sharded.unique,
        ownership::joined(&mapped)
    )
}

/// What the target has before the cutover.
fn without_held_back(options: &RawDocumentBuf) -> Document {
    let mut options = Document::try_from(options).unwrap();
    for held_back in ["expireAfterSeconds", "size", "max"] {
        options.remove(held_back);
    }
    options
}

fn assert_same(source: &Catalog, target: &Catalog) {
    assert_eq!(source.collections.len(), 19);
    let (wanted, found) = (described(source, &PAIRS), described(target, &[0, 1, 2]));
    for (wanted, found) in wanted.iter().zip(&found) {
        assert_eq!(wanted, found);
    }
    assert_eq!(wanted.len(), found.len());
    for (i, zones) in source.shard_zones.iter().enumerate() {
        assert_eq!(&target.shard_zones[PAIRS[i]], zones);
    }
    for coll in ["clustered", "expiring"] {
        let c = find(target, coll);
        assert!(c.options.get("expireAfterSeconds").unwrap().is_none());
        assert!(
            c.key_index
                .as_ref()
                .is_none_or(|i| i.get("expireAfterSeconds").unwrap().is_none())
        );
    }
}

fn find<'a>(catalog: &'a Catalog, coll: &str) -> &'a Collection {
    catalog
        .collections
        .iter()
        .find(|c| c.ns.coll == coll)
        .unwrap()
}

async fn differing_layouts_are_refused(target: &Deployment, catalog: &Catalog) {
    let mut other = find(catalog, "ring").clone();
    other.options = RawDocumentBuf::new();
    let error = layout::create_collection(target, &other, &PAIRS)
        .await
        .unwrap_err();
    assert!(
        error.kind == Kind::Refused && error.message.contains("shop.ring"),
        "{error}"
    );

    let mut other = find(catalog, "hashed").clone();
    other.sharded.as_mut().unwrap().key = RawDocumentBuf::try_from(&doc! {"user": 1}).unwrap();
    let error = layout::create_collection(target, &other, &PAIRS)
        .await
        .unwrap_err();
    assert!(
        error.kind == Kind::Refused && error.message.contains("shard key"),
        "{error}"
    );
}

/// As DDL during the run makes them: a database and a collection that are new.
async fn collections_come_one_by_one(source: &Deployment, target: &Deployment) {
    run(
        &source.entry,
        "admin",
        doc! {"shardCollection": "late.hashed", "key": {"_id": "hashed"}},
    )
    .await;
    let ns = Namespace {
        db: "late".to_owned(),
        coll: "hashed".to_owned(),
    };
    let late = catalog::read_one(source, &ns).await.unwrap().unwrap();
    layout::create_collection(target, &late, &PAIRS)
        .await
        .unwrap();
    layout::create_collection(target, &late, &PAIRS)
        .await
        .unwrap();
    let there = catalog::read_one(target, &ns).await.unwrap().unwrap();
    let wanted = sharding(late.sharded.as_ref().unwrap(), &PAIRS);
    assert_eq!(
        sharding(there.sharded.as_ref().unwrap(), &[0, 1, 2]),
        wanted
    );
    assert_eq!(there.primary, PAIRS[late.primary]);

    let indexes = catalog::indexes(&target.shards[there.primary], &ns)
        .await
        .unwrap();
    assert_eq!(indexes.len(), 2, "{indexes:?}");
    let absent = Namespace {
        db: "late".to_owned(),
        coll: "absent".to_owned(),
    };
    assert!(catalog::read_one(target, &absent).await.unwrap().is_none());
    assert!(
        catalog::indexes(&target.shards[0], &absent)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        catalog::local_uuid(&target.shards[0], &absent)
            .await
            .unwrap(),
        None
    );
    let nowhere = Namespace {
        db: "nowhere".to_owned(),
        ..absent
    };
    assert!(catalog::read_one(target, &nowhere).await.unwrap().is_none());
}
