//! mongomirror's command line and its status port.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bson::doc;
use loadgen::check::{self, CheckOptions};
use loadgen::cluster::ReplicaSet;
use loadgen::server::{port, spawn};
use serde_json::Value;

use crate::fixture;

fn mirror(source: &ReplicaSet, target: &ReplicaSet, status_port: u16, cutover: &str) -> Child {
    let set = |set: &ReplicaSet| format!("{}/{}", set.name(), set.member_hosts().join(","));
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
    command.args([
        "mirror",
        "--host",
        &set(source),
        "--destination",
        &set(target),
    ]);
    command.args([
        "--includeDB",
        "shop",
        "-j",
        "1",
        "--json",
        "--httpStatusPort",
    ]);
    command.arg(status_port.to_string());
    command.args(["--oplogPath", env!("CARGO_TARGET_TMPDIR")]);
    let set = [("API_PORT", "0"), ("CUTOVER", cutover), ("GRACE_S", "0")];
    command.envs(set.map(|(name, value)| (format!("SHARDLIFT_{name}"), value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn::spawn(command).unwrap()
}

fn status(port: u16) -> Option<Value> {
    let mut answer = ureq::get(format!("http://127.0.0.1:{port}/")).call().ok()?;
    answer.body_mut().read_json().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_migrates_by_mongomirrors_flags_and_reports_an_error_on_its_status_port() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    fixture::insert(&a, "other", "orders").await;
    let done = mirror(&source, &target, port::free().unwrap(), "auto");
    let done = tokio::task::spawn_blocking(|| done.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let log = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{log}");
    let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(summary["documents_copied"], 1, "{summary}");
    let only = CheckOptions {
        include: vec!["shop".to_owned()],
        ..CheckOptions::default()
    };
    let report = check::compare(&source.uri(), &target.uri(), &only)
        .await
        .unwrap();
    assert!(report.equal, "{report}");
    let names = target
        .client()
        .await
        .unwrap()
        .list_database_names()
        .await
        .unwrap();
    assert!(!names.contains(&"other".to_owned()), "{names:?}");

    // The target is no longer empty: the process says so until it is stopped.
    let port = port::free().unwrap();
    let mut refused = mirror(&source, &target, port, "auto");
    let error = loop {
        let now = tokio::task::spawn_blocking(move || status(port))
            .await
            .unwrap();
        if let Some(error) = now.and_then(|now| now["errorMessage"].as_str().map(str::to_owned)) {
            break error;
        }
        assert!(refused.try_wait().unwrap().is_none(), "it stays up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(error.contains("target is empty"), "{error}");
    let pid = refused.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut log = String::new();
    refused
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert_eq!(refused.wait().unwrap().code(), Some(4), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_port_tells_each_collection_by_name() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    fixture::insert(&a, "shop", "items").await;
    let index = doc! {"createIndexes": "items", "indexes": [{"key": {"x": 1}, "name": "x"}]};
    fixture::run(&a, "shop", index).await;
    let port = port::free().unwrap();
    let mut running = mirror(&source, &target, port, "manual");
    let names = ["shop.orders", "shop.items"];
    let details = loop {
        let now = tokio::task::spawn_blocking(move || status(port))
            .await
            .unwrap();
        let details = now.map(|now| now["details"].clone()).unwrap_or_default();
        if names.iter().all(|ns| details[*ns]["complete"] == true) {
            break details;
        }
        assert!(running.try_wait().unwrap().is_none(), "{details}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    running.kill().unwrap();
    running.wait().unwrap();
    for (ns, indexes) in names.iter().zip([0, 1]) {
        let told = &details[*ns];
        let bytes = |name: &str| told[name].as_u64().unwrap();
        assert!(0 < bytes("copiedBytes"), "{details}");
        assert!(bytes("copiedBytes") <= bytes("totalBytes"), "{details}");
        assert_eq!(told["createIndexes"], indexes, "{details}");
    }
    assert!(details.get("*").is_none(), "{details}");
}
