//! The way back: what users write to the target after the cutover comes to the old source,
//! over kills, until they go back or give it up.

mod older;
mod scripts;
mod usage;

use std::time::Duration;

use bson::{DateTime, Document, doc};
use loadgen::cluster::users::User;
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::reverse::Reverse;
use shardlift::observe::status::Snapshot;

use self::scripts::as_mongosync_tells;
use self::usage::{expiries_have_run, expiry_of, measured, prepared, series_made, used};
use super::{command, output};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, stop, wipe};
use crate::recorded::shardlift;

const ENGINE: &str = "engine";
const APP: &str = "app";
const ROLES: [&str; 6] = [
    "readAnyDatabase",
    "readWriteAnyDatabase",
    "backup",
    "restore",
    "clusterMonitor",
    "clusterManager",
];

/// One that asks for a login; its expiries run every second.
async fn guarded(name: &str) -> ReplicaSet {
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        cache_gb: 0.25,
        oplog_mb: Some(64),
        set_parameters: vec![("ttlMonitorSleepSecs".to_owned(), "1".to_owned())],
        login: Some(vec![
            User::new(ENGINE, &ROLES),
            User::new(APP, &["readWriteAnyDatabase"]),
        ]),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

fn ready_to_go_back(now: &Snapshot) -> bool {
    now.reverse == Reverse::Running && now.phase == Phase::Ready
}

/// Asks until it is accepted: DDL may still be under way.
fn goes_back(port: &str) {
    loop {
        let mut back = std::process::Command::new(env!("CARGO_BIN_EXE_shardlift"));
        back.args(["reverse", "cutover", "--api-port", port]);
        let told = back.output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        if !text.contains("cutover was refused") {
            assert!(told.status.success(), "{text}");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_after_the_cutover_comes_back_and_users_go_back() {
    let (source, target) = tokio::join!(guarded("a"), guarded("b"));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let app = Client::with_uri_str(source.uri_as(APP)).await.unwrap();
    prepared(&a).await;
    series_made(&a).await;
    let (from, to) = (source.uri_as(ENGINE), target.uri_as(ENGINE));
    let flags = ["--reverse"];
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until_ready().await;
    let refused = output(&engine, &["reverse", "cutover"]);
    assert_eq!(refused.status.code(), Some(8), "nothing to go back to yet");
    let done = command(&engine, &["cutover"]);
    assert!(!done.contains("error"), "{done}");
    let late = app.database("shop").collection::<Document>("orders");
    let late = late.insert_one(doc! {"_id": "late"}).await;
    let late = late.expect_err("users may not write to the old source");
    assert!(late.to_string().contains("blocked"), "{late}");

    used(&b, 1).await;
    measured(&b, 1).await;
    run(&b, "shop", doc! {"drop": "gone"}).await;
    // On the old source it would expire at once; on the target nothing does.
    let off = doc! {"setParameter": 1, "ttlMonitorEnabled": false};
    run(&b, "admin", off).await;
    let hours = doc! {"collMod": "weather", "timeseries": {"granularity": "hours"}};
    run(&b, "shop", hours).await;
    let old = doc! {"_id": 1, "at": DateTime::from_millis(1_000_000_000_000)};
    run(&b, "shop", doc! {"insert": "sessions", "documents": [old]}).await;
    engine.until("followed back", ready_to_go_back).await;
    assert_eq!(expiry_of(&a).await, Some(i64::from(i32::MAX)), "held back");
    expiries_have_run(&a).await;
    let sessions = a.database("shop").collection::<Document>("sessions");
    while sessions.count_documents(doc! {}).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    expiries_have_run(&a).await;
    assert_eq!(sessions.count_documents(doc! {}).await.unwrap(), 1);
    let told = command(&engine, &["reverse", "status"]);
    assert!(told.contains("way back: "), "{told}");
    as_mongosync_tells(engine.port(), &to).await;
    for not_meant in ["cutover", "cancel"] {
        let refused = output(&engine, &[not_meant]);
        assert_eq!(refused.status.code(), Some(8), "{not_meant}");
    }
    engine.kill();

    used(&b, 2).await;
    measured(&b, 2).await;
    let sides = ["--source", from.as_str(), "--target", to.as_str()];
    let turned = ["--source", to.as_str(), "--target", from.as_str()];
    let port = ["--api-port", "0"];
    for (what, sides) in [
        (&["migrate"][..], sides),
        (&["migrate", "--restart"][..], sides),
        (&["migrate"][..], turned),
        (&["migrate", "--reverse"][..], turned),
        (&["migrate", "--restart"][..], turned),
    ] {
        let arguments = [what, &sides, &port].concat();
        let (code, text) = shardlift(&arguments, None).await;
        assert_eq!(code, Some(4), "{what:?} {text}");
        assert!(text.contains("way back"), "{what:?} {text}");
    }
    for sides in [turned, sides] {
        let cancel = [&["cancel"][..], &sides, &["--api-port", "1"]].concat();
        let (code, text) = shardlift(&cancel, None).await;
        assert!(code == Some(4) && text.contains("reverse stop"), "{text}");
    }

    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until("followed back", ready_to_go_back).await;
    used(&b, 3).await;
    measured(&b, 3).await;
    // It would expire on the old source once that is used again.
    let old = doc! {"q": {"_id": 1}, "limit": 1};
    run(&b, "shop", doc! {"delete": "sessions", "deletes": [old]}).await;
    let went = tokio::task::spawn_blocking({
        let port = engine.port().to_owned();
        move || goes_back(&port)
    });
    // Alone: a process waits until one who follows it has seen the end.
    went.await.unwrap();
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&target.uri(), &source.uri()).await;
    assert_eq!(expiry_of(&a).await, Some(3_600));
    nothing_is_left([&a, &b]).await;
    let orders = app.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! {"_id": "back"}).await.unwrap();
}

async fn balancer_mode(client: &Client) -> String {
    let status = run(client, "admin", doc! {"balancerStatus": 1}).await;
    status.get_str("mode").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_under_load_is_followed_back_over_crashes() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let (from, to) = (source.uri(), target.uri());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    populate::populate(&PopulateArgs {
        docs: 3_000,
        ..PopulateArgs::new(&from)
    })
    .await
    .unwrap();
    run(&b, "admin", doc! {"balancerStart": 1}).await;
    let found = (balancer_mode(&a).await, balancer_mode(&b).await);
    let flags = ["--reverse"];
    // Past the point of no return, at each step of the way back's preparation.
    for (step, place) in [
        "reverse-begun",
        "reverse-held",
        "cutover-expiries",
        "cutover-balancers",
    ]
    .into_iter()
    .enumerate()
    {
        let mut engine = Engine::start_to_crash(&from, &to, &flags, place).await;
        if step == 0 {
            engine.until_ready().await;
            engine.request_cutover().await;
        }
        engine.crashed().await;
    }
    let sides = ["--source", from.as_str(), "--target", to.as_str()];
    for (what, says) in [
        (&["reverse", "stop"][..], "is not over"),
        (&["migrate", "--api-port", "0"][..], "begun with --reverse"),
        (&["cancel", "--api-port", "1"][..], "point of no return"),
    ] {
        let (code, text) = shardlift(&[what, &sides].concat(), None).await;
        assert!(code == Some(4) && text.contains(says), "{what:?} {text}");
    }
    // Nothing of the first run is left then.
    let engine = Engine::start_to_crash(&from, &to, &flags, "cutover-removed").await;
    engine.crashed().await;
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until("followed back", ready_to_go_back).await;
    let off = ("off".to_owned(), "off".to_owned());
    assert_eq!((balancer_mode(&a).await, balancer_mode(&b).await), off);
    let load = Load::start(LoadOptions {
        rate: 300.0,
        connections: 4,
        ddl: true,
        ..LoadOptions::new(&to)
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    engine.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until("followed back", ready_to_go_back).await;
    stop(load).await;
    // Nobody writes any more: both are alike as soon as all is applied.
    engine.until("followed back", ready_to_go_back).await;
    engine.request_cutover().await;
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&to, &from).await;
    assert_eq!((balancer_mode(&a).await, balancer_mode(&b).await), found);
    nothing_is_left([&a, &b]).await;
}

/// As a user of the old source alone would find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_source_expired_comes_again_and_the_way_back_is_given_up() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    prepared(&a).await;
    let now = doc! {"_id": 1, "at": DateTime::now()};
    run(&a, "shop", doc! {"insert": "sessions", "documents": [now]}).await;
    let flags = ["--reverse"];
    let mut engine = Engine::start_to_crash(&from, &to, &flags, "reverse-begun").await;
    engine.until_ready().await;
    engine.request_cutover().await;
    engine.crashed().await;
    // As its expiry might, after both sides were proven to be equal.
    let one = doc! {"q": {"_id": 1}, "limit": 1};
    run(&a, "shop", doc! {"delete": "sessions", "deletes": [one]}).await;
    // Nor does anybody keep users from the target until the cutover is completed.
    used(&b, 1).await;
    run(&b, "shop", doc! {"drop": "gone"}).await;
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until("followed back", ready_to_go_back).await;
    let sessions = a.database("shop").collection::<Document>("sessions");
    assert_eq!(sessions.count_documents(doc! {}).await.unwrap(), 1);
    let early = a.database("shop").collection::<Document>("new1");
    while early.count_documents(doc! {}).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while (a.database("shop").list_collection_names().await.unwrap()).contains(&"gone".to_owned()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What is made since is held back there, too.
    let ring = doc! {"create": "later", "capped": true, "size": 4_096, "max": 7};
    run(&b, "shop", ring).await;
    let expiring = doc! {"key": {"at": 1}, "name": "at", "expireAfterSeconds": 7_200};
    let index = doc! {"createIndexes": "since", "indexes": [expiring]};
    run(&b, "shop", index).await;
    let sides = ["--source", from.as_str(), "--target", to.as_str()];
    // As with a file that names both sides: its process is asked.
    let stop = [&["reverse", "stop"][..], &sides].concat();
    let told = command(&engine, &stop);
    assert!(told.contains("the way back is given up"), "{told}");
    for (what, option) in [
        ("expireAfterSeconds", 3_600),
        ("expireAfterSeconds", 7_200),
        ("cappedSize", 4_096),
        ("cappedMax", 7),
    ] {
        let option = format!("\"{what}\": {option}");
        assert!(told.contains(&option), "{option} {told}");
    }
    assert_eq!(engine.end().await.code, 130);
    assert_eq!(expiry_of(&a).await, Some(i64::from(i32::MAX)), "it stays");
    nothing_is_left([&a, &b]).await;

    // And with no process left.
    wipe(&b).await;
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until_ready().await;
    engine.request_cutover().await;
    engine.until("followed back", ready_to_go_back).await;
    engine.kill();
    let (code, text) = shardlift(&stop, None).await;
    assert_eq!(code, Some(0), "{text}");
    nothing_is_left([&a, &b]).await;
    let (code, text) = shardlift(&stop, None).await;
    assert!(code == Some(4) && text.contains("no way back"), "{text}");

    // What was planned is gone: that does not keep the cutover.
    wipe(&b).await;
    let mut engine = Engine::start_to_crash(&from, &to, &flags, "reverse-begun").await;
    engine.until_ready().await;
    engine.request_cutover().await;
    engine.crashed().await;
    a.database("__shardlift").drop().await.unwrap();
    let ended = Engine::start(&from, &to, &flags).await.end().await;
    assert_eq!(ended.code, 0);
    let warnings = ended.summary["warnings"].to_string();
    assert!(warnings.contains("NO way back"), "{warnings}");
    nothing_is_left([&a, &b]).await;
    expect_equal(&from, &to).await;
}

async fn nothing_is_left(sides: [&Client; 2]) {
    for side in sides {
        let names = side.list_database_names().await.unwrap();
        assert!(!names.contains(&"__shardlift".to_owned()), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_followed_back_is_refused_at_the_start() {
    let newer = fixture::replica_set("b", &[]);
    let older = crate::releases::rig::set("a", crate::releases::rig::of(5, 0));
    let (source, target) = tokio::join!(older, newer);
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let (from, to) = (source.uri(), target.uri());
    let sides = ["--source", from.as_str(), "--target", to.as_str()];
    for (what, code) in [("validate", 4), ("migrate", 4)] {
        let port = if what == "migrate" {
            &["--api-port", "0"][..]
        } else {
            &[]
        };
        let arguments = [&[what, "--reverse"][..], &sides, port].concat();
        let (found, text) = shardlift(&arguments, None).await;
        assert_eq!(found, Some(code), "{what}: {text}");
        assert!(text.contains("way back: same release"), "{what}: {text}");
    }
    let (code, text) = shardlift(&[&["validate"][..], &sides].concat(), None).await;
    assert_eq!(code, Some(0), "{text}");
}
