//! Every release that can be had: a replica set of it starts, elects, asks for a login,
//! talks TLS, and loadgen's own commands work on it; and shards of it are arranged.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use loadgen::check::{self, CheckOptions, Report};
use loadgen::cluster::{
    ClusterUsers, ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions, User,
};
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use loadgen::server::certificates::Authority;
use mongodb::Client;

use super::{admin, shard};

const DOCS: u64 = 3_000;

/// A set of three that asks for a login.
async fn three(release: &str) -> ReplicaSet {
    let options = ReplicaSetOptions {
        release: release.parse().unwrap(),
        members: 3,
        cache_gb: 0.25,
        oplog_mb: Some(256),
        election_timeout: Duration::from_secs(2),
        login: Some(vec![User::new("reader", &["readAnyDatabase"])]),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

/// A set of one that also takes connections by TLS; and its URI for those.
async fn one_with_tls(release: &str, authority: &Authority) -> (ReplicaSet, String) {
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (ca, own) = (
        path(authority.file()),
        path(authority.server(&["127.0.0.1"]).unwrap()),
    );
    let tls = [
        "--tlsMode",
        "preferTLS",
        "--tlsCAFile",
        &ca,
        "--tlsCertificateKeyFile",
        &own,
        "--tlsAllowConnectionsWithoutCertificates",
    ];
    let options = ReplicaSetOptions {
        release: release.parse().unwrap(),
        cache_gb: 0.25,
        set_parameters: vec![("transactionLifetimeLimitSeconds".into(), "120".into())],
        extra_args: tls.map(str::to_owned).to_vec(),
        ..ReplicaSetOptions::default()
    };
    let set = ReplicaSet::start(options).await.unwrap();
    let uri = format!(
        "{}&tls=true&tlsCAFile={}",
        set.uri(),
        ca.replace('/', "%2F")
    );
    (set, uri)
}

async fn compare(source: &str, target: &str) -> Report {
    let options = CheckOptions::default();
    check::compare(source, target, &options).await.unwrap()
}

async fn fill(uri: &str) {
    let args = PopulateArgs {
        docs: DOCS,
        capped: true,
        types: true,
        ..PopulateArgs::new(uri)
    };
    populate::populate(&args).await.unwrap();
}

async fn load(uri: &str) {
    let options = LoadOptions {
        ddl: true,
        mix: "all".parse().unwrap(),
        ..LoadOptions::new(uri)
    };
    let load = Load::start(options).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    assert!(report.errors.is_empty() && 0 < report.ops, "{report}");
}

async fn version(client: &Client) -> String {
    let admin = client.database("admin");
    let build = admin.run_command(doc! {"buildInfo": 1}).await.unwrap();
    build.get_str("version").unwrap().to_owned()
}

/// Whoever asks for a login knows its own users only, and another member takes over.
async fn asks_and_elects(set: &ReplicaSet) {
    let reader = Client::with_uri_str(set.uri_as("reader")).await.unwrap();
    let rows = reader.database("shop").collection::<Document>("carts");
    assert_eq!(
        rows.count_documents(doc! {}).await.unwrap(),
        DOCS * 60 / 1000
    );
    assert!(rows.insert_one(doc! {"_id": 0}).await.is_err());
    let before = set.primary().await.unwrap();
    assert_ne!(set.step_down().await.unwrap(), before);
}

/// `release` is what is asked for, `expected` the version that comes.
async fn serves(release: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let (source, (_target, by_tls)) =
        tokio::join!(three(release), one_with_tls(release, &authority));
    let client = Client::with_uri_str(&by_tls).await.unwrap();
    assert_eq!(version(&client).await, expected);
    let by_login = source.uri();
    tokio::join!(fill(&by_login), fill(&by_tls));
    asks_and_elects(&source).await;
    let report = compare(&by_login, &by_tls).await;
    assert!(report.equal && DOCS <= report.documents, "{report}");

    let carts = client.database("shop").collection::<Document>("carts");
    let change = doc! {"$set": {"counter": -1}};
    let changed = carts.update_one(doc! {"n": 7_i64}, change).await.unwrap();
    assert_eq!(changed.modified_count, 1);
    let report = compare(&by_login, &by_tls).await;
    let found: Vec<_> = report
        .differences
        .iter()
        .map(|d| (&*d.ns, d.kind))
        .collect();
    assert_eq!(found, [("shop.carts", "different document")], "{report}");

    load(&by_login).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_4_2_serves() {
    serves("4.2", "4.2.6").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_4_4_serves() {
    serves("4.4", "4.4.2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_5_0_serves() {
    serves("5.0", "5.0.4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_6_0_serves() {
    serves("6.0.5", "6.0.5").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_patch_of_6_0_serves() {
    serves("6.0.27", "6.0.27").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_release_is_refused_with_those_that_can_be_had() {
    let options = ReplicaSetOptions {
        release: "3.6".parse().unwrap(),
        ..ReplicaSetOptions::default()
    };
    let error = ReplicaSet::start(options).await.unwrap_err().to_string();
    assert!(
        error.contains("3.6") && error.contains("4.2.6, 4.4.2, 5.0.4"),
        "{error}"
    );
}

/// `(min, max, shard)` of every chunk of `d.c`, which is the only sharded collection.
async fn chunks(client: &Client) -> Vec<(Bson, Bson, String)> {
    let chunks = client.database("config").collection::<Document>("chunks");
    // The servers' own sessions are sharded too.
    let ours = doc! {"min.k": {"$exists": true}};
    let rows = chunks.find(ours).sort(doc! {"min": 1}).await.unwrap();
    let rows: Vec<Document> = rows.try_collect().await.unwrap();
    let bound = |row: &Document, name| row.get_document(name).unwrap().get("k").unwrap().clone();
    let of = |row: &Document| {
        let shard = row.get_str("shard").unwrap().to_owned();
        (bound(row, "min"), bound(row, "max"), shard)
    };
    rows.iter().map(of).collect()
}

/// The servers of a sharded cluster before 6.0 that ask for a login, and what its router
/// does without touching documents.
async fn are_arranged(release: &str) {
    let options = ShardedOptions {
        release: release.parse().unwrap(),
        cache_gb: 0.25,
        stand_in_only: true,
        login: Some(ClusterUsers::default()),
        ..ShardedOptions::default()
    };
    let cluster = ShardedCluster::start(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "d", doc! {"k": 1}).await;
    admin(&cluster, doc! {"split": "d.c", "middle": {"k": 5}}).await;
    let upper = bson::bson!([{"k": 5}, {"k": Bson::MaxKey}]);
    admin(
        &cluster,
        doc! {"moveChunk": "d.c", "bounds": upper, "to": "shard1"},
    )
    .await;
    let wanted = [
        (Bson::MinKey, Bson::Int32(5), "shard0".to_owned()),
        (Bson::Int32(5), Bson::MaxKey, "shard1".to_owned()),
    ];
    assert_eq!(chunks(&client).await, wanted);

    let db = client.database("d");
    let index = doc! {"createIndexes": "c", "indexes": [{"key": {"x": 1}, "name": "x_1"}]};
    db.run_command(index).await.unwrap();
    for shard in cluster.shard_clients().await.unwrap() {
        let rows = shard.database("d").collection::<Document>("c");
        assert_eq!(
            rows.list_index_names().await.unwrap(),
            ["_id_", "k_1", "x_1"]
        );
    }
    db.run_command(doc! {"create": "u"}).await.unwrap();
    admin(
        &cluster,
        doc! {"shardCollection": "d.u", "key": {"k": "hashed"}},
    )
    .await;
    db.run_command(doc! {"drop": "u"}).await.unwrap();
    assert_eq!(db.list_collection_names().await.unwrap(), ["c"]);
    db.run_command(doc! {"dropDatabase": 1}).await.unwrap();
    assert_eq!(chunks(&client).await, []);
    admin(
        &cluster,
        doc! {"enableSharding": "e", "primaryShard": "shard0"},
    )
    .await;
    admin(&cluster, doc! {"movePrimary": "e", "to": "shard1"}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_of_4_2_are_arranged() {
    are_arranged("4.2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_of_4_4_are_arranged() {
    are_arranged("4.4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_of_5_0_are_arranged() {
    are_arranged("5.0").await;
}
