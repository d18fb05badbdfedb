//! Starting, stopping, crashing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};

/// Data directories of a process.
fn data_dirs(pid: u32) -> Vec<PathBuf> {
    let bases = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let entries = bases
        .iter()
        .filter_map(|base| base.read_dir().ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let prefix = format!("shardlift-{pid}-");
    entries
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&prefix)
        })
        .collect()
}

fn is_alive(pid: u32) -> bool {
    // A killed process that nobody has waited for yet is a zombie, not alive.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in 20 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn pids(cluster: &ShardedCluster) -> Vec<u32> {
    let sets = cluster.shards().iter().chain([cluster.config()]);
    sets.flat_map(|set| set.members())
        .filter_map(|member| member.pid())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_cluster_leaves_no_process() {
    let options = ShardedOptions {
        shards: 1,
        cache_gb: 0.25,
        ..ShardedOptions::default()
    };
    let cluster = ShardedCluster::start(options).await.unwrap();
    let (pids, uri) = (pids(&cluster), cluster.uri());
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let client = cluster.client().await.unwrap();
    client
        .database("d")
        .collection("c")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    drop(cluster);
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    let host = uri
        .trim_start_matches("mongodb://")
        .split('/')
        .next()
        .unwrap();
    assert!(
        std::net::TcpStream::connect(host).is_err(),
        "the router still listens"
    );
}

/// The command, killed in the hardest way: its servers go with it, its data by
/// the next run's sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_die_with_a_killed_command() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .args(["cluster", "--replica-set", "--json", "--cache-gb", "0.25"])
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let uri = serde_json::from_str::<serde_json::Value>(&line).unwrap()["uri"]
        .as_str()
        .unwrap()
        .to_owned();
    let host = uri
        .trim_start_matches("mongodb://")
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    assert!(std::net::TcpStream::connect(&host).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the server ends", || {
        std::net::TcpStream::connect(&host).is_err()
    })
    .await;
    data_dirs(child.id())
        .iter()
        .for_each(|dir| _ = std::fs::remove_dir_all(dir));
}

/// Ctrl-C: everything is gone when the command ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_command_cleans_up() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .args(["cluster", "--shards", "1", "--json", "--cache-gb", "0.25"])
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert!(line.contains("\"standIn\""), "{line}");
    assert_eq!(data_dirs(child.id()).len(), 2);
    // SAFETY: the child was not waited for, so the pid is its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert!(child.wait().unwrap().success());
    assert_eq!(data_dirs(child.id()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_start_says_why() {
    let options = ReplicaSetOptions {
        set_parameters: vec![("noSuchParameter".to_owned(), "1".to_owned())],
        ..ReplicaSetOptions::default()
    };
    let error = ReplicaSet::start(options).await.unwrap_err();
    assert!(
        error.message.contains("noSuchParameter") || error.message.contains("ended"),
        "{error}"
    );
}

/// A primary that crashes is replaced, and comes back as a member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_survive_a_crash() {
    let options = ReplicaSetOptions {
        members: 3,
        cache_gb: 0.25,
        election_timeout: Duration::from_secs(2),
        ..ReplicaSetOptions::default()
    };
    let mut set = ReplicaSet::start(options).await.unwrap();
    let client = set.client().await.unwrap();
    let c = client.database("d").collection::<Document>("c");
    c.insert_one(doc! { "_id": 1 }).await.unwrap();
    let first = set.primary().await.unwrap();
    set.member_mut(first).kill();
    let second = set.primary().await.unwrap();
    assert_ne!(first, second);
    set.member_mut(first).restart().await.unwrap();
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 1);
}
