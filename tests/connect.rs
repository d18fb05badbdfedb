//! What can be connected to, and how it is refused what cannot.

use std::process::Command;
use std::time::Duration;

use bson::doc;
use loadgen::server::data_dir::DataDir;
use loadgen::server::port;
use shardlift::cluster::connect;
use shardlift::cluster::deployment::{Side, Topology};
use shardlift::error::{Error, Kind};

use crate::fixture;

async fn refusal(uri: &str) -> Error {
    connect::connect(Side::Source, uri, fixture::TIMEOUT)
        .await
        .expect_err("it must not be accepted")
}

#[tokio::test]
async fn a_sharded_cluster_is_entered_by_its_router_only() {
    let cluster = fixture::cluster(2).await;
    let source = fixture::source(&cluster.uri()).await;
    assert_eq!(source.topology, Topology::Sharded);
    assert_eq!(source.fcv, "6.0");
    assert_eq!(source.version.series(), "6.0");
    let ids: Vec<&str> = source.shards.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["shard0", "shard1"]);
    for shard in &source.shards {
        let data = shard.data_client("shardlift/test", 4).unwrap();
        fixture::run(&data, "admin", doc! {"ping": 1}).await;
    }

    for (uri, what) in [
        (cluster.shards()[0].uri(), "shard"),
        (cluster.config().uri(), "config server"),
    ] {
        let error = refusal(&uri).await;
        assert_eq!(error.kind, Kind::Refused, "{error}");
        assert!(
            error.message.contains(what) && error.remedy.unwrap().contains("mongos"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn shards_that_cannot_be_reached_are_named() {
    let mut cluster = fixture::cluster(2).await;
    let host = cluster.shards()[1].member_hosts().remove(0);
    cluster.shard_mut(1).member_mut(0).kill();
    let error = refusal(&cluster.uri()).await;
    assert_eq!(error.kind, Kind::Connect);
    assert!(
        error.message.contains("shard1") && error.message.contains(&host),
        "{error}"
    );
    assert!(!error.message.contains("shard0"), "{error}");
}

#[tokio::test]
async fn a_replica_set_is_its_own_single_shard() {
    let set = fixture::replica_set("alone", &[]).await;
    let without_name = format!("mongodb://{}/", set.member_hosts()[0]);
    for uri in [set.uri(), without_name] {
        let source = fixture::source(&uri).await;
        assert_eq!(source.topology, Topology::ReplicaSet);
        assert_eq!(source.shards.len(), 1);
        assert_eq!(source.shards[0].id, "alone");
        assert_eq!(source.shards[0].hosts, set.hosts());
    }
}

#[tokio::test]
async fn a_standalone_is_refused() {
    let server = fixture::Server::start("standalone", &[]).await;
    fixture::run(&server.client().await, "admin", doc! {"ping": 1}).await;
    let error = refusal(&format!("mongodb://{}/", server.host)).await;
    assert_eq!(error.kind, Kind::Refused, "{error}");
    assert!(error.remedy.unwrap().contains("replica set"));
}

#[tokio::test]
async fn a_uri_that_cannot_be_used_says_why_and_keeps_the_password() {
    let dead = port::free().unwrap();
    let rows = [
        ("garbage".to_owned(), Kind::Config, "URI"),
        ("http://h/".to_owned(), Kind::Config, "URI"),
        ("mongodb://h:99999/".to_owned(), Kind::Config, "port"),
        (
            "mongodb://u:pa/sw@h/".to_owned(),
            Kind::Config,
            "user and password",
        ),
        (
            "mongodb://h/?directConnection=true".to_owned(),
            Kind::Config,
            "directConnection",
        ),
        (
            "mongodb://h/?loadBalanced=true".to_owned(),
            Kind::Config,
            "loadBalanced",
        ),
        (
            format!("mongodb://u:pasw@127.0.0.1:{dead}/"),
            Kind::Connect,
            "127.0.0.1",
        ),
    ];
    for (uri, kind, part) in rows {
        let error = refusal(&uri).await;
        assert_eq!(error.kind, kind, "{uri}: {error}");
        assert!(error.message.contains(part), "{uri}: {error}");
        assert!(error.remedy.is_some(), "{uri}: {error}");
        assert!(
            !error.message.contains("pa/sw") && !error.message.contains("pasw"),
            "{uri}: {error}"
        );
    }
}

#[tokio::test]
async fn a_set_whose_configuration_names_other_hosts_says_which() {
    let args = ["--replSet", "moved", "--oplogSize", "64"];
    let dir = DataDir::create("moved").unwrap();
    let path = dir.path().to_owned();
    let first = fixture::Server::start_in(dir, "moved", &args).await;
    let client = first.client().await;
    let members = doc! {"_id": "moved", "members": [{"_id": 0, "host": &first.host}]};
    fixture::run(&client, "admin", doc! {"replSetInitiate": members}).await;
    while !fixture::run(&client, "admin", doc! {"hello": 1})
        .await
        .get_bool("isWritablePrimary")
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Its files come up at another port: it finds itself in no host of its configuration.
    fixture::run(&client, "admin", doc! {"fsync": 1, "lock": true}).await;
    let copy = DataDir::create("moved-on").unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(path.join("."))
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(copied.success());
    std::fs::remove_file(copy.path().join("mongod.lock")).unwrap();
    let nowhere = first.host.clone();
    drop(first);
    let second = fixture::Server::start_in(copy, "moved-on", &args).await;
    let error = refusal(&format!("mongodb://{}/?replicaSet=moved", second.host)).await;
    assert_eq!(error.kind, Kind::Connect, "{error}");
    for named in [
        &second.host,
        &nowhere,
        "the configuration names",
        "cannot reach",
    ] {
        assert!(error.message.contains(named), "{named}: {error}");
    }
    assert!(error.remedy.unwrap().contains("rs.reconfig"));
}
