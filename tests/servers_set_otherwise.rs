//! Targets and sources that are set otherwise than by default: they take what we send, or
//! are waited for.

use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use mongodb::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

async fn write(client: &Client, coll: &str, round: i32) {
    let hint = doc! {"_id": 1};
    let id = |i: i32| 100 * round + i;
    let set = |i: i32, set: Document| doc! {"q": {"_id": id(i)}, "u": {"$set": set}, "hint": hint.clone()};
    let replace =
        doc! {"q": {"_id": id(3)}, "u": {"_id": id(3), "n": -1, "u": id(3)}, "hint": hint.clone()};
    let unset = doc! {"q": {"_id": id(4)}, "u": [{"$unset": "note"}, {"$set": {"list": [1, 2]}}], "hint": hint.clone()};
    // Two documents trade their unique value.
    let swap = [(5, -1 - id(5)), (6, id(5)), (5, id(6))].map(|(i, u)| set(i, doc! {"u": u}));
    let updates = [
        vec![
            set(1, doc! {"n": 1}),
            set(2, doc! {"deep.er": 1}),
            replace,
            unset,
        ],
        swap.to_vec(),
    ]
    .concat();
    run(client, "d", doc! {"update": coll, "updates": updates}).await;
    run(
        client,
        "d",
        doc! {"delete": coll, "deletes": [{"q": {"_id": id(7)}, "limit": 1, "hint": hint}]},
    )
    .await;
    let new = id(0) + 1_000_000;
    run(
        client,
        "d",
        doc! {"insert": coll, "documents": [{"_id": new, "u": new}]},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_allow_no_scan_are_moved_clustered_collections_and_all() {
    let no_scans = ["--setParameter", "notablescan=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &no_scans),
        fixture::replica_set("b", &no_scans)
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let clustered = doc! {"key": {"_id": 1}, "unique": true, "name": "by id"};
    run(
        &a,
        "d",
        doc! {"create": "clustered", "clusteredIndex": clustered},
    )
    .await;
    run(
        &a,
        "d",
        doc! {"create": "collated", "collation": {"locale": "de"}},
    )
    .await;
    run(
        &a,
        "d",
        doc! {"create": "capped", "capped": true, "size": 1 << 20},
    )
    .await;
    for coll in ["clustered", "collated", "plain", "capped"] {
        let documents =
            (0..6_000).map(|i| doc! {"_id": i, "n": i, "u": i, "note": "x".repeat(300)});
        let count = if coll == "capped" { 1_000 } else { 6_000 };
        a.database("d")
            .collection::<Document>(coll)
            .insert_many(documents.take(count))
            .await
            .unwrap();
    }
    for coll in ["clustered", "collated", "plain"] {
        let unique = doc! {"key": {"u": 1}, "name": "u", "unique": true};
        run(&a, "d", doc! {"createIndexes": coll, "indexes": [unique]}).await;
    }
    // What a run left goes at the next one's start.
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--restart"]).await;
    for round in 0..50 {
        for coll in ["clustered", "collated", "plain"] {
            write(&a, coll, round).await;
        }
        run(
            &a,
            "d",
            doc! {"insert": "capped", "documents": [{"_id": 10_000 + round}]},
        )
        .await;
    }
    engine.until_ready().await;
    for round in 50..58 {
        for coll in ["clustered", "collated", "plain"] {
            write(&a, coll, round).await;
        }
    }
    let outcome = engine.cut_over().await;
    eprintln!(
        "{} refused, {} read again",
        outcome.summary["ops_refused"], outcome.summary["documents_resolved"]
    );
    for client in [&a, &b] {
        run(
            client,
            "admin",
            doc! {"setParameter": 1, "notablescan": false},
        )
        .await;
    }
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Longer than one wait for a majority.
const MAJORITY_GONE: Duration = Duration::from_secs(28);

/// Of three members, whose secondaries can be told to apply nothing.
async fn three_members() -> ReplicaSet {
    let parameters = [("enableTestCommands", "1"), ("enableFlowControl", "false")];
    let options = ReplicaSetOptions {
        name: "b".to_owned(),
        members: 3,
        cache_gb: 0.25,
        oplog_mb: Some(256),
        set_parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

/// The secondaries apply nothing until they are let go on.
struct Behind(Vec<Client>);

impl Behind {
    async fn stop(set: &ReplicaSet) -> Behind {
        let primary = set.primary().await.unwrap();
        let hosts = set.member_hosts();
        let mut stopped = Vec::new();
        for (_, host) in hosts
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != primary)
        {
            let client = Client::with_uri_str(format!("mongodb://{host}/?directConnection=true"))
                .await
                .unwrap();
            run(
                &client,
                "admin",
                doc! {"configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn"},
            )
            .await;
            stopped.push(client);
        }
        Behind(stopped)
    }

    async fn go_on(self) {
        for client in &self.0 {
            run(
                client,
                "admin",
                doc! {"configureFailPoint": "rsSyncApplyStop", "mode": "off"},
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_that_does_not_keep_up_is_waited_for_and_told() {
    let (source, target) = tokio::join!(fixture::replica_set("a", &[]), three_members());
    let a = source.client().await.unwrap();
    let rows = a.database("d").collection::<Document>("c");
    rows.insert_many((0..2_000).map(|i| doc! {"_id": i, "note": "x".repeat(500)}))
        .await
        .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;

    let behind = Behind::stop(&target).await;
    let gone = tokio::time::Instant::now();
    rows.insert_many((2_000..4_000).map(|i| doc! {"_id": i}))
        .await
        .unwrap();
    // It is noted before it is made, and forgotten when it is dropped.
    fixture::insert(&a, "d", "new").await;
    fixture::insert(&a, "d", "brief").await;
    run(&a, "d", doc! {"drop": "brief"}).await;
    let told = |now: &Snapshot| {
        now.phase == Phase::Following && now.obstacles.iter().any(|text| text.contains("majority"))
    };
    engine.until("told", told).await;
    rows.insert_many((4_000..6_000).map(|i| doc! {"_id": i}))
        .await
        .unwrap();
    tokio::time::sleep_until(gone + MAJORITY_GONE).await;
    behind.go_on().await;
    engine.until_ready().await;
    assert_eq!(
        engine.status().await.unwrap().recoveries,
        0,
        "no attempt ended"
    );
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// A cutover that runs out of time while the majority has not acknowledged its first
/// checkpoint. The majority comes back at once then.
async fn called_off_in_a_checkpoint(
    source: &ReplicaSet,
    target: &ReplicaSet,
    checkpoint_ms: &str,
) -> Engine {
    let a = source.client().await.unwrap();
    let rows = a.database("d").collection::<Document>("c");
    rows.insert_many((0..2_000).map(|i| doc! {"_id": i, "note": "x".repeat(500)}))
        .await
        .unwrap();
    let flags = [
        "--checkpoint-ms",
        checkpoint_ms,
        "--cutover-timeout-s",
        "3",
        "--verify",
        "none",
    ];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;
    let behind = Behind::stop(target).await;
    engine.request_cutover().await;
    let off = engine
        .until("called off", |now| 0 < now.cutovers_given_up)
        .await;
    behind.go_on().await;
    assert!(
        off.last_cutover
            .as_ref()
            .is_some_and(|why| why.contains("majority")),
        "{:?}",
        off.last_cutover
    );
    engine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_after_a_cutover_was_called_off_in_the_middle_of_a_checkpoint() {
    let (source, target) = tokio::join!(fixture::replica_set("a", &[]), three_members());
    let mut engine = called_off_in_a_checkpoint(&source, &target, "1000").await;
    let rows = source
        .client()
        .await
        .unwrap()
        .database("d")
        .collection::<Document>("c");
    rows.insert_many((2_000..4_000).map(|i| doc! {"_id": i}))
        .await
        .unwrap();
    engine.until_ready().await;
    assert_eq!(
        engine.status().await.unwrap().recoveries,
        0,
        "no attempt ended"
    );
    engine.request_cutover().await;
    let over = engine
        .until("cut over", |now| {
            now.is_final() || 1 < now.cutovers_given_up
        })
        .await;
    assert_eq!(over.phase, Phase::Done, "{:?}", over.last_cutover);
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_checkpoint_took_is_recorded_though_the_cutover_that_asked_for_it_was_called_off() {
    let (source, target) = tokio::join!(fixture::replica_set("a", &[]), three_members());
    // The cutover's is the first checkpoint of all: the one that settles what is copied.
    let engine = called_off_in_a_checkpoint(&source, &target, "60000").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    engine.signal("TERM");
    let stopped = engine.end().await;
    assert_eq!(stopped.code, 130);
    assert!(stopped.log.text().contains("stopped at a checkpoint"));
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// As releases before 6.0.2 stored it. `listIndexes` shows another number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_that_is_no_number_arrives_as_one_that_never_comes() {
    let source = fixture::replica_set("a", &["--setParameter", "enableTestCommands=1"]).await;
    let target = fixture::replica_set("b", &[]).await;
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let skip = doc! {"configureFailPoint": "skipTTLIndexNaNExpireAfterSecondsValidation", "mode": "alwaysOn"};
    run(&a, "admin", skip).await;
    let make = async |coll: &str| {
        let documents: Vec<Document> = (0..20)
            .map(|i| doc! {"_id": i, "at": bson::DateTime::MIN})
            .collect();
        run(&a, "d", doc! {"insert": coll, "documents": documents}).await;
        let index = doc! {"key": {"at": 1}, "name": "at", "expireAfterSeconds": f64::NAN};
        run(&a, "d", doc! {"createIndexes": coll, "indexes": [index]}).await;
    };
    make("before").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    make("during").await;
    engine.until_ready().await;
    engine.cut_over().await;
    for coll in ["before", "during"] {
        let listed = run(&b, "d", doc! {"listIndexes": coll}).await;
        let listed = listed
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()
            .clone();
        let expiry = listed
            .iter()
            .find_map(|index| index.as_document()?.get("expireAfterSeconds").cloned());
        assert_eq!(
            expiry.and_then(|expiry| expiry.as_i32()),
            Some(i32::MAX),
            "{listed:?}"
        );
    }
    expect_equal(&source.uri(), &target.uri()).await;
}
