//! What the status says while something stands in the way: at once, with what to do, and
//! no longer than it is so.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::populate::{self, PopulateArgs};
use mongodb::{Client, Collection};
use shardlift::cluster::catalog;
use shardlift::control::validate;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// A cutover is given up long before the tests' own patience ends.
const SOON: [&str; 2] = ["--cutover-timeout-s", "20"];

async fn lock(client: &Client) {
    run(client, "admin", doc! {"fsync": 1, "lock": true}).await;
}

async fn unlock(client: &Client) {
    run(client, "admin", doc! {"fsyncUnlock": 1}).await;
}

fn says(now: &Snapshot, text: &str) -> bool {
    now.obstacles.iter().any(|obstacle| obstacle.contains(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_server_is_named_and_holds_ready_back_until_it_is_unlocked() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&a, "shop", "orders").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &SOON).await;
    engine.until_ready().await;
    for (client, side) in [
        (&a, "source shard a is locked"),
        (&b, "target shard b is locked"),
    ] {
        lock(client).await;
        let now = engine.until("told", |now| says(now, side)).await;
        assert!(says(&now, "db.fsyncUnlock()"), "{:?}", now.obstacles);
        let now = engine
            .until("held back", |now| now.phase != Phase::Ready)
            .await;
        assert!(!now.can_cutover, "{now:?}");
        unlock(client).await;
        engine.until_ready().await;
    }
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_that_waits_says_on_what_and_what_for_when_it_is_called_off() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &SOON).await;
    // The lock may be seen before the cutover is asked for: then once more.
    loop {
        engine.until_ready().await;
        lock(&a).await;
        if engine.ask_for_cutover().await.is_ok() {
            break;
        }
        unlock(&a).await;
    }
    let now = engine
        .until("told", |now| {
            now.phase == Phase::CuttingOver && says(now, "waits for")
        })
        .await;
    assert!(says(&now, "a note in the oplog"), "{:?}", now.obstacles);
    let now = engine
        .until("told why", |now| says(now, "db.fsyncUnlock()"))
        .await;
    assert_eq!(now.phase, Phase::CuttingOver);
    let now = engine
        .until("called off", |now| now.cutovers_given_up == 1)
        .await;
    let reason = now.last_cutover.expect("a reason is given");
    assert!(
        reason.contains("locked against writes") && reason.contains("db.fsyncUnlock()"),
        "{reason}"
    );
    assert!(now.warnings.is_empty(), "{:?}", now.warnings);
    unlock(&a).await;
    engine.until_ready().await;
    engine.request_cutover().await;
    let outcome = engine.end().await;
    assert_eq!(
        (
            outcome.code,
            outcome.summary["warnings"].to_string().as_str()
        ),
        (0, "[]")
    );
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_counts_after_a_recovery_and_a_restart() {
    let (source, mut target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    populate::populate(&PopulateArgs {
        docs: 5_000,
        ..PopulateArgs::new(source.uri())
    })
    .await
    .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let before = engine.status().await.unwrap().sum();
    assert!(0 < before.bytes_copied && 0 < before.ops_applied + before.documents_copied);
    target.member_mut(0).kill();
    engine.until("recovering", |now| 0 < now.recoveries).await;
    target.member_mut(0).restart().await.unwrap();
    engine.until_ready().await;
    let all_copied = |now: &Snapshot| {
        let sum = now.sum();
        assert_eq!(
            (sum.bytes_done, sum.documents_done),
            (sum.bytes_total, sum.documents_total),
            "{}",
            now.line()
        );
        assert!(
            0 < sum.bytes_done && !now.table().contains("0 B of"),
            "{}",
            now.table()
        );
    };
    let now = engine.status().await.unwrap();
    all_copied(&now);
    assert!(
        before.documents_copied <= now.sum().documents_copied,
        "counters go on"
    );
    engine.signal("TERM");
    engine.end().await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    all_copied(&engine.status().await.unwrap());
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Documents hand a unique value on, from one to the next, all the time.
async fn hand_on(client: Client, count: i32) {
    let rows: Collection<Document> = client.database("d").collection("unique");
    for round in 0.. {
        let (from, to) = (round % count, (round + 1) % count);
        let _ = rows
            .update_one(
                doc! {"_id": to},
                doc! {"$set": {"v": format!("parked {round}")}},
            )
            .await;
        let _ = rows
            .update_one(
                doc! {"_id": from},
                doc! {"$set": {"v": format!("left {round}")}},
            )
            .await;
        let _ = rows
            .update_one(doc! {"_id": to}, doc! {"$set": {"v": "it"}})
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_keeps_no_history_is_named_and_holds_ready_back() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    let history =
        |seconds: i32| doc! {"setParameter": 1, "minSnapshotHistoryWindowInSeconds": seconds};
    run(&a, "admin", history(0)).await;
    let documents: Vec<Document> = (0..50)
        .map(|i| doc! {"_id": i, "v": format!("{i}")})
        .collect();
    run(&a, "d", doc! {"insert": "unique", "documents": documents}).await;
    let index = doc! {"key": {"v": 1}, "name": "v", "unique": true};
    run(
        &a,
        "d",
        doc! {"createIndexes": "unique", "indexes": [index]},
    )
    .await;
    let (from, to) = (
        fixture::source(&source.uri()).await,
        fixture::target(&target.uri()).await,
    );
    let catalog = catalog::read(&from).await.unwrap();
    let checks = validate::run(&from, &to, &catalog, &BTreeSet::new()).await;
    let history_check = checks
        .iter()
        .find(|check| check.name == "source keeps its history")
        .unwrap();
    assert!(
        history_check
            .remedy
            .as_ref()
            .unwrap()
            .contains("minSnapshotHistoryWindowInSeconds"),
        "{history_check:?}"
    );

    let writes = tokio::spawn(hand_on(a.clone(), 50));
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let told = |now: &Snapshot| says(now, "minSnapshotHistoryWindowInSeconds");
    let now = engine.until("told", told).await;
    assert!(!now.can_cutover && now.phase != Phase::Ready, "{now:?}");
    run(&a, "admin", history(300)).await;
    engine.until("over", |now| !told(now)).await;
    writes.abort();
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stays_open_holds_ready_back() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    let mut session = a.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let orders: Collection<Document> = a.database("shop").collection("orders");
    orders
        .insert_one(doc! {"x": 2})
        .session(&mut session)
        .await
        .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine
        .until("told", |now| {
            says(now, "transactions have been open on source shard a") && !now.can_cutover
        })
        .await;
    session.commit_transaction().await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_with_line_breaks_do_not_break_lines() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let name = "a\n2026-01-01T00:00:00Z ERROR all is lost\u{1b}[2J";
    fixture::insert(&a, "shop", name).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--log-level", "debug"]).await;
    engine.until_ready().await;
    run(
        &b,
        "shop",
        doc! {"update": name, "updates": [{"q": {}, "u": {"$set": {"x": 7}}, "multi": true}]},
    )
    .await;
    run(
        &a,
        "shop",
        doc! {"update": name, "updates": [{"q": {}, "u": {"$set": {"y": 7}}, "multi": true}]},
    )
    .await;
    engine
        .until("caught up", |now| 0 < now.sum().ops_applied)
        .await;
    engine.request_cutover().await;
    let now = engine
        .until("called off", |now| now.cutovers_given_up == 1)
        .await;
    assert!(
        now.last_cutover.as_ref().unwrap().contains(name),
        "JSON is exact: {:?}",
        now.last_cutover
    );
    let table = now.table();
    assert!(
        !table.contains('\u{1b}') && table.contains("a\\n2026-01-01"),
        "{table}"
    );
    engine.signal("TERM");
    let log = engine.end().await.log.text();
    assert!(
        log.contains("a\\n2026-01-01") && !log.contains('\u{1b}'),
        "{log}"
    );
    assert!(
        log.lines().all(|line| !line.starts_with("2026-01-01")),
        "{log}"
    );
}

/// Documents of the run's state that tell of collections.
async fn remembered(target: &Client) -> u64 {
    let state = target
        .database("__shardlift")
        .collection::<Document>("collections");
    state.count_documents(doc! {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_collections_are_forgotten() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (a, b) = (
        source.client().await.unwrap(),
        target.shard_clients().await.unwrap(),
    );
    for name in ["kept", "early"] {
        run(
            &a,
            "admin",
            doc! {"shardCollection": format!("d.{name}"), "key": {"_id": "hashed"}},
        )
        .await;
        fixture::insert(&a, "d", name).await;
    }
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    assert_eq!(remembered(&b[0]).await, 2);
    run(&a, "d", doc! {"drop": "early"}).await;
    for i in 0..20 {
        let name = format!("short{i}");
        if i % 4 == 0 {
            run(
                &a,
                "admin",
                doc! {"shardCollection": format!("d.{name}"), "key": {"_id": "hashed"}},
            )
            .await;
        }
        fixture::insert(&a, "d", &name).await;
        run(&a, "d", doc! {"drop": &name}).await;
    }
    for shard in &b {
        while 1 < remembered(shard).await {
            assert!(engine.is_running());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // What is forgotten is not missed: by this process, and by the next.
    fixture::insert(&a, "d", "short1").await;
    engine.until_ready().await;
    engine.kill();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
