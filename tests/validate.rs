//! Pairs of deployments that are fit for a migration, and each way not to be.

use std::collections::BTreeSet;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, RawDocumentBuf, doc};
use shardlift::cluster::catalog;
use shardlift::cluster::deployment::Deployment;
use shardlift::control::validate::indexes::refused;
use shardlift::control::validate::{self, Check};

use crate::fixture;

pub(crate) async fn checks(source: &Deployment, target: &Deployment) -> Vec<Check> {
    let catalog = catalog::read(source).await.expect("the catalog is read");
    validate::run(source, target, &catalog, &BTreeSet::new()).await
}

/// Names of the checks that failed.
pub(crate) async fn failed(source: &Deployment, target: &Deployment) -> Vec<&'static str> {
    let checks = checks(source, target).await;
    let failed = checks.iter().filter(|c| c.has_failed());
    for check in failed.clone() {
        assert!(check.remedy.is_some(), "{check:?}");
    }
    failed.map(|c| c.name).collect()
}

pub(crate) async fn found(source: &Deployment, target: &Deployment, name: &str) -> String {
    let checks = checks(source, target).await;
    checks
        .into_iter()
        .find(|c| c.name == name)
        .expect("there is such a check")
        .found
}

#[tokio::test]
async fn sharded_pairs_are_fit_or_say_why_not() {
    let (a, b, c) = tokio::join!(
        fixture::cluster(2),
        fixture::cluster(2),
        fixture::cluster(1)
    );
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    let client = a.client().await.unwrap();
    fixture::run(
        &client,
        "admin",
        doc! {"shardCollection": "shop.orders", "key": {"n": "hashed"}},
    )
    .await;
    fixture::insert(&client, "shop", "plain").await;
    // A leftover empty database and our own state do not count.
    let other = b.client().await.unwrap();
    fixture::run(&other, "admin", doc! {"enableSharding": "left_over"}).await;
    fixture::insert(&b.shard_clients().await.unwrap()[0], "__shardlift", "state").await;

    let all = checks(&source, &target).await;
    assert!(all.iter().all(|c| !c.has_failed()), "{all:#?}");

    let itself = failed(&source, &fixture::target(&a.uri()).await).await;
    assert_eq!(itself, ["target is not the source", "target is empty"]);

    assert_eq!(
        failed(&source, &fixture::target(&c.uri()).await).await,
        ["same number of shards"]
    );

    fixture::insert(&other, "left_over", "rest").await;
    assert_eq!(failed(&source, &target).await, ["target is empty"]);

    // Straight on a shard: nobody writes to a view.
    let shard = &a.shard_clients().await.unwrap()[1];
    let stray = "no collection outside the cluster";
    fixture::run(shard, "nowhere", doc! {"create": "view", "viewOn": "c"}).await;
    assert_eq!(failed(&source, &target).await, ["target is empty"]);
    assert!(
        found(&source, &target, stray)
            .await
            .contains("nowhere.view on shard1")
    );
    fixture::insert(shard, "nowhere", "c").await;
    assert_eq!(failed(&source, &target).await, ["target is empty", stray]);
    let text = found(&source, &target, stray).await;
    assert!(
        text.contains("nowhere.c on shard1; a write to one of these stops the run"),
        "{text}"
    );
    fixture::run(shard, "nowhere", doc! {"dropDatabase": 1}).await;

    let series = doc! {"create": "measures", "timeseries": {"timeField": "at"}};
    fixture::run(&client, "shop", series).await;
    assert_eq!(failed(&source, &target).await, ["target is empty"]);
    let sharded = doc! {"shardCollection": "shop.sharded", "key": {"at": 1}, "timeseries": {"timeField": "at"}};
    fixture::run(&client, "admin", sharded).await;
    assert_eq!(failed(&source, &target).await, ["target is empty"]);
}

#[tokio::test]
async fn replica_sets_must_have_the_release_s_own_feature_version() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    assert_eq!(failed(&source, &target).await, [""; 0]);

    let client = b.client().await.unwrap();
    fixture::run(
        &client,
        "admin",
        doc! {"setUserWriteBlockMode": 1, "global": true},
    )
    .await;
    assert_eq!(failed(&source, &target).await, ["target takes writes"]);
    fixture::run(
        &client,
        "admin",
        doc! {"setUserWriteBlockMode": 1, "global": false},
    )
    .await;

    fixture::run(
        &client,
        "admin",
        doc! {"setFeatureCompatibilityVersion": "5.0"},
    )
    .await;
    let target = fixture::target(&b.uri()).await;
    assert_eq!(
        failed(&source, &target).await,
        ["feature compatibility version"]
    );
}

/// What an index is refused for is what a real server refuses it for, and nothing else.
#[tokio::test]
async fn an_index_is_refused_exactly_where_a_server_would_not_build_it() {
    let set = fixture::replica_set("rules", &[]).await;
    let client = set.client().await.unwrap();
    let forms = fixture::target(&set.uri()).await.dialect.catalog;
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let mut specs = Vec::new();
    for version in [0, 1, 2, 3] {
        specs.push(doc! {"v": version, "key": {"a": 1}});
    }
    let kinds = [
        1.into(),
        (-1).into(),
        0.into(),
        5i64.into(),
        0i64.into(),
        0.5.into(),
        (-0.0).into(),
        f64::NAN.into(),
    ];
    let decimals = [
        "1", "-1", "0", "-0", "0E+3", "NaN", "Infinity", "0.5", "1E-6000",
    ]
    .map(decimal);
    let named = [
        "text",
        "2d",
        "2dsphere",
        "2dsphere_bucket",
        "hashed",
        "wildcard",
        "geoHaystack",
        "btree",
        "",
        "1",
    ];
    let others = [
        true.into(),
        Bson::Null,
        Bson::MinKey,
        Bson::Document(doc! {}),
        DateTime::MIN.into(),
        ObjectId::new().into(),
    ];
    for kind in kinds
        .into_iter()
        .chain(decimals)
        .chain(named.map(Bson::from))
        .chain(others)
    {
        specs.extend([1, 2].map(|version| doc! {"v": version, "key": {"a": kind.clone()}}));
    }
    let fields = [
        "", "a.", ".a", "a..b", "$a", "a.$b", "$id", "a.$id", "a.$ref", "a.$db", "a.b.$id",
        "a.$id.b", "$**", "a.$**", "a.$**.b",
    ];
    specs.extend(fields.map(|field| doc! {"v": 2, "key": {field: 1}}));
    specs.extend(["$**", "a.$**"].map(|field| doc! {"v": 2, "key": {field: -1}}));
    specs.push(doc! {"v": 2, "key": {"$**": "hashed"}});
    for (option, value) in [
        ("safe", Bson::from(true)),
        ("bucketSize", 1.0.into()),
        ("columnstoreProjection", Bson::Document(doc! {"a": 1})),
        ("dropDups", true.into()),
        ("background", true.into()),
        ("bits", 26.into()),
        ("expireAfterSeconds", 5.into()),
    ] {
        specs.push(doc! {"v": 2, "key": {"a": 1}, option: value});
    }
    specs.push(doc! {"v": 2, "key": {"a": 1, "b": 1}, "expireAfterSeconds": 5});
    specs.push(doc! {"v": 2, "key": {"$**": 1}, "expireAfterSeconds": 5});
    let mut told_apart = [0, 0];
    for mut spec in specs {
        spec.insert("name", "x");
        client
            .database("d")
            .collection::<bson::Document>("c")
            .drop()
            .await
            .unwrap();
        let built = client
            .database("d")
            .run_command(doc! {"createIndexes": "c", "indexes": [spec.clone()]})
            .await;
        let refused = refused(&RawDocumentBuf::try_from(&spec).unwrap(), &forms);
        assert_eq!(
            refused.is_some(),
            built.is_err(),
            "{spec}: {refused:?} {built:?}"
        );
        told_apart[usize::from(built.is_ok())] += 1;
    }
    assert!(told_apart.iter().all(|count| 10 < *count), "{told_apart:?}");
}

#[tokio::test]
async fn a_cluster_is_no_target_for_a_replica_set() {
    let (a, b) = tokio::join!(fixture::replica_set("a", &[]), fixture::cluster(1));
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    assert_eq!(failed(&source, &target).await, ["same topology"]);
}
