//! A whole live migration on each release and from each to the newest, with a kill and
//! elections on the way: a few cells of `loadgen matrix`, in short. Replica sets of every
//! path: `paths::sets`.

use std::env;
use std::path::PathBuf;

use loadgen::matrix::Settings;
use loadgen::matrix::cell::{Cell, Login, Topology};
use loadgen::matrix::story::{self, Passed};
use loadgen::server::find;

/// One migration; the logs of one that failed stay.
async fn arrives(source: &str, target: &str, topology: Topology, login: Login) -> Passed {
    let cell = Cell {
        source: source.parse().unwrap(),
        target: target.parse().unwrap(),
        topology,
        login,
    };
    let settings = Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_shardlift")),
        members: 1,
        docs: 1_500,
        rate: 200.0,
        seconds: 2.0,
        seed: 1,
        engine_args: ["--spool-dir", env!("CARGO_TARGET_TMPDIR")]
            .map(str::to_owned)
            .to_vec(),
        mongos: None,
    };
    let mut work = tempfile::tempdir().unwrap();
    match story::prove(&cell, &settings, work.path()).await {
        Ok(passed) => passed,
        Err(e) => {
            work.disable_cleanup(true);
            panic!("{cell}: {e}\nlogs: {}", work.path().display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_of_4_2_arrives_equal() {
    arrives("4.2", "4.2", Topology::Sharded, Login::Least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_of_4_4_arrives_equal() {
    arrives("4.4", "4.4", Topology::Sharded, Login::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_of_5_0_arrives_equal() {
    arrives("5.0", "5.0", Topology::Sharded, Login::Least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_of_the_last_6_0_arrives_equal() {
    arrives("6.0.27", "6.0.27", Topology::ReplicaSet, Login::Least).await;
}

/// Two of each side, one of which ends on the way: login, sessions, retried writes and
/// transactions are theirs. Of every release that is given one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_behind_real_routers_arrives_equal() {
    let given = env::var_os("SHARDLIFT_MONGOS").filter(|given| !given.is_empty());
    let Some(given) = given else {
        println!("no SHARDLIFT_MONGOS is set: no real router was tried");
        return;
    };
    let mut tried = 0;
    for release in ["4.2", "4.4", "5.0", "6.0"] {
        let paths = PathBuf::from(&given);
        let found = find::mongos_among(paths, release.parse().unwrap()).await;
        let Some(found) = found.unwrap() else {
            continue;
        };
        let passed = arrives(release, release, Topology::Sharded, Login::Least).await;
        let routers = passed.routers.unwrap();
        let expected = format!("mongos {}", found.version);
        assert_eq!(
            (routers.source, routers.target),
            (expected.clone(), expected)
        );
        assert!(0 < passed.in_transactions, "{release}");
        tried += 1;
    }
    assert!(0 < tried, "{given:?} is of no release that is moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_of_6_0_arrives_equal() {
    arrives("6.0", "6.0", Topology::ReplicaSet, Login::Least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_goes_from_4_2_to_6_0() {
    arrives("4.2", "6.0", Topology::ReplicaSet, Login::Least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_goes_from_4_4_to_6_0() {
    arrives("4.4", "6.0", Topology::Sharded, Login::Least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_goes_from_5_0_to_6_0() {
    arrives("5.0", "6.0", Topology::ReplicaSet, Login::Least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_of_6_0_arrives_equal() {
    arrives("6.0", "6.0", Topology::Sharded, Login::Least).await;
}
