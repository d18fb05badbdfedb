//! Small clusters and short calls the tests share.
//!
//! Asserts nothing about shardlift.

use std::process::Stdio;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use loadgen::server::data_dir::DataDir;
use loadgen::server::process::Process;
use loadgen::server::version::Release;
use loadgen::server::{find, port, version};
use mongodb::Client;
use shardlift::cluster::connect;
use shardlift::cluster::deployment::{Deployment, Side};

/// Enough for metadata; the default would take a share of the free memory.
const OPLOG_MB: u32 = 64;

/// How long servers that do not answer are waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn cluster(shards: usize) -> ShardedCluster {
    named_cluster(shards, "shard").await
}

/// Its shards are named as none of [`cluster`]: `other0`, `other1`, …
pub(crate) async fn cluster_of_other_names(shards: usize) -> ShardedCluster {
    named_cluster(shards, "other").await
}

async fn named_cluster(shards: usize, shard_names: &'static str) -> ShardedCluster {
    let oplog_mb = Some(OPLOG_MB);
    let options = ShardedOptions {
        shards,
        shard_names,
        cache_gb: 0.25,
        oplog_mb,
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options)
        .await
        .expect("a local sharded cluster starts")
}

pub(crate) async fn replica_set(name: &str, extra_args: &[&str]) -> ReplicaSet {
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        cache_gb: 0.25,
        oplog_mb: Some(OPLOG_MB),
        extra_args: extra_args.iter().map(ToString::to_string).collect(),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options)
        .await
        .expect("a local replica set starts")
}

/// Holds the oplog of some minutes of load, transactions over 16 MB included.
const LOADED_OPLOG_MB: u32 = 1024;

/// An open transaction keeps all that comes after it in the cache as updates that are not
/// settled. A tenth of the cache is theirs, then every request waits; after 5 minutes the
/// server gives up a transaction by itself. So there must be room for several of 18 MB.
const LOADED_CACHE_GB: f64 = 1.0;

pub(crate) async fn loaded_cluster(shards: usize) -> ShardedCluster {
    let oplog_mb = Some(LOADED_OPLOG_MB);
    let options = ShardedOptions {
        shards,
        cache_gb: LOADED_CACHE_GB,
        oplog_mb,
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options)
        .await
        .expect("a local sharded cluster starts")
}

pub(crate) async fn loaded_replica_set(name: &str) -> ReplicaSet {
    loaded_replica_set_of(name, version::DEFAULT).await
}

pub(crate) async fn loaded_replica_set_of(name: &str, release: Release) -> ReplicaSet {
    let oplog_mb = Some(LOADED_OPLOG_MB);
    let options = ReplicaSetOptions {
        release,
        name: name.to_owned(),
        cache_gb: LOADED_CACHE_GB,
        oplog_mb,
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options)
        .await
        .expect("a local replica set starts")
}

/// One server with arguments of its own; fields in the order they go.
pub(crate) struct Server {
    _process: Process,
    _dir: DataDir,
    pub(crate) host: String,
}

impl Server {
    /// Does not wait until it answers: a driver does.
    pub(crate) async fn start(name: &str, args: &[&str]) -> Server {
        let dir = DataDir::create(name).unwrap();
        Server::start_in(dir, name, args).await
    }

    pub(crate) async fn start_in(dir: DataDir, name: &str, args: &[&str]) -> Server {
        let port = port::free().unwrap().to_string();
        let log = dir.path().join("log");
        let mut command = find::mongod(version::DEFAULT).await.unwrap().command();
        command.args([
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            "--port",
            &port,
            "--wiredTigerCacheSizeGB",
            "0.25",
        ]);
        command
            .arg("--dbpath")
            .arg(dir.path())
            .arg("--logpath")
            .arg(&log)
            .args(args)
            .stdout(Stdio::null());
        let process = Process::start(command, name, &log).unwrap();
        Server {
            _process: process,
            _dir: dir,
            host: format!("127.0.0.1:{port}"),
        }
    }

    /// A client of this server alone.
    pub(crate) async fn client(&self) -> Client {
        Client::with_uri_str(format!("mongodb://{}/?directConnection=true", self.host))
            .await
            .unwrap()
    }
}

pub(crate) async fn source(uri: &str) -> Deployment {
    connect::connect(Side::Source, uri, TIMEOUT)
        .await
        .expect("the source is reached")
}

pub(crate) async fn target(uri: &str) -> Deployment {
    connect::connect(Side::Target, uri, TIMEOUT)
        .await
        .expect("the target is reached")
}

pub(crate) async fn run(client: &Client, db: &str, command: Document) -> Document {
    let text = command.to_string();
    client
        .database(db)
        .run_command(command)
        .await
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

pub(crate) async fn insert(client: &Client, db: &str, coll: &str) {
    run(
        client,
        db,
        doc! {"insert": coll, "documents": [{"x": 1}], "writeConcern": {"w": "majority"}},
    )
    .await;
}
