//! A whole live migration on each release and from each to the newest, with a kill and
//! elections on the way: a few cells of `loadgen matrix`, in short. Replica sets of every
//! path: `paths::sets`.

use std::path::PathBuf;

use loadgen::matrix::Settings;
use loadgen::matrix::cell::{Cell, Login, Topology};
use loadgen::matrix::story;

/// One migration; the logs of one that failed stay.
async fn arrives(source: &str, target: &str, topology: Topology, login: Login) {
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
    };
    let mut work = tempfile::tempdir().unwrap();
    if let Err(e) = story::prove(&cell, &settings, work.path()).await {
        work.disable_cleanup(true);
        panic!("{cell}: {e}\nlogs: {}", work.path().display());
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
