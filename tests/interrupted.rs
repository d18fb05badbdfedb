//! Operations and cursors of ours that are killed, and reads that fail again and again:
//! what passes is waited for, what does not is told at once and parks the run.

use shardlift::observe::phase::Phase;
use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use loadgen::cluster::ReplicaSet;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, stop};

/// With failpoints.
const TESTED: [&str; 2] = ["--setParameter", "enableTestCommands=1"];
/// Between two kills: rare enough that some attempts get through.
const KILL_EVERY: Duration = Duration::from_millis(400);
const KILLING: Duration = Duration::from_secs(8);

async fn pair() -> (ReplicaSet, ReplicaSet) {
    tokio::join!(
        fixture::replica_set("a", &TESTED),
        fixture::replica_set("b", &TESTED)
    )
}

async fn insert(client: &Client, coll: &str, count: i32, bytes: usize) {
    let rows = client.database("d").collection::<Document>(coll);
    for first in (0..count).step_by(1_000) {
        let some = (first..count.min(first + 1_000))
            .map(|i| doc! {"_id": i, "n": i, "note": "x".repeat(bytes)});
        rows.insert_many(some).await.unwrap();
    }
}

async fn fail(client: &Client, mode: impl Into<bson::Bson>, data: Document) {
    run(
        client,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": mode.into(), "data": data},
    )
    .await;
}

async fn fail_no_more(client: &Client) {
    run(
        client,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": "off"},
    )
    .await;
}

/// Kills one operation of the engine after the other; returns how many of each command.
fn start_killing(client: Client) -> JoinHandle<BTreeMap<String, u32>> {
    tokio::spawn(async move {
        let mut killed = BTreeMap::new();
        let until = tokio::time::Instant::now() + KILLING;
        while tokio::time::Instant::now() < until {
            let ours = doc! {"appName": {"$regex": "^shardlift"}, "active": true, "command.hello": {"$exists": false}};
            let stages = [
                doc! {"$currentOp": {"allUsers": true}},
                doc! {"$match": ours},
            ];
            let ops: Vec<Document> = client
                .database("admin")
                .aggregate(stages)
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            let commands = ["insert", "update", "delete", "find", "getMore", "aggregate"];
            let found = ops.iter().find_map(|op| {
                let command = op.get_document("command").ok()?;
                let name = commands
                    .into_iter()
                    .find(|name| command.contains_key(name))?;
                // The oplog's is nearly always under way: others have their turn too.
                let is_idle = command
                    .get_str("collection")
                    .is_ok_and(|coll| coll == "oplog.rs")
                    && 1 < ops.len();
                (!is_idle).then(|| (name, op.get("opid").cloned()))
            });
            let Some((name, Some(opid))) = found else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            run(&client, "admin", doc! {"killOp": 1, "op": opid}).await;
            *killed.entry(name.to_owned()).or_default() += 1;
            tokio::time::sleep(KILL_EVERY).await;
        }
        killed
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_that_are_killed_on_either_side_pass() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let uri = source.uri();
    populate::populate(&PopulateArgs {
        docs: 30_000,
        ..PopulateArgs::new(&uri)
    })
    .await
    .unwrap();
    let load = Load::start(LoadOptions {
        rate: 500.0,
        connections: 4,
        ..LoadOptions::new(&uri)
    })
    .await
    .unwrap();
    let mut engine = Engine::start(&uri, &target.uri(), &[]).await;
    engine
        .until("copying", |now| now.phase == Phase::Copying)
        .await;
    let killing = [&source, &target].map(async |set| start_killing(set.client().await.unwrap()));
    let [at_source, at_target] = killing;
    let (at_source, at_target) = (
        at_source.await.await.unwrap(),
        at_target.await.await.unwrap(),
    );
    eprintln!("killed on the source {at_source:?}, on the target {at_target:?}");
    assert!(!at_source.is_empty() && !at_target.is_empty());
    engine.until_ready().await;
    stop(load).await;
    engine.cut_over().await;
    expect_equal(&uri, &target.uri()).await;
}

/// Each command once, where it is rare.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_interruption_of_any_command_ends_no_run() {
    let (source, target) = pair().await;
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    insert(&a, "c", 10_000, 1_000).await;
    let once = |command: &str, code: i32| doc! {"failCommands": [command], "errorCode": code, "appName": "shardlift verify"};
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--verify", "full"]).await;
    engine.until_ready().await;
    let writes = [
        doc! {"insert": "c", "documents": [{"_id": -1}]},
        doc! {"update": "c", "updates": [{"q": {"_id": 1}, "u": {"$set": {"n": -1}}}]},
        doc! {"delete": "c", "deletes": [{"q": {"_id": 2}, "limit": 1}]},
    ];
    for (times, write) in (1..).zip(writes) {
        let command = write.keys().next().unwrap().clone();
        fail(
            &b,
            doc! {"times": 1},
            doc! {"failCommands": [command], "errorCode": 11601, "namespace": "d.c"},
        )
        .await;
        run(&a, "d", write).await;
        engine
            .until("back", |now| {
                now.recoveries == times && now.phase == Phase::Ready
            })
            .await;
    }
    // What the cutover reads is read again, whichever read it is.
    fail(&a, doc! {"times": 1}, once("find", 11601)).await;
    fail(&b, doc! {"times": 1}, once("getMore", 43)).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Two of three cursors die before their second reply: a range of ten replies is read by
/// going on, and never by beginning again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_goes_on_after_the_last_document_that_a_killed_cursor_gave() {
    let (source, target) = pair().await;
    let a = source.client().await.unwrap();
    let documents = 20_000;
    insert(&a, "c", documents, 2_000).await;
    run(
        &a,
        "d",
        doc! {"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true}},
    )
    .await;
    insert(&a, "clustered", documents, 2_000).await;
    let data = doc! {"failCommands": ["getMore"], "errorCode": 237, "namespace": "d.c"};
    fail(&a, doc! {"activationProbability": 0.7}, data).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--range-mb", "512"]).await;
    let copied = |now: &shardlift::observe::status::Snapshot| now.phase == Phase::Ready;
    engine.until("ready", copied).await;
    let data = doc! {"failCommands": ["getMore"], "errorCode": 237, "namespace": "d.clustered"};
    fail(&a, doc! {"activationProbability": 0.7}, data).await;
    engine.kill();
    let (c, d) = (target.client().await.unwrap(), "d");
    c.database(d).drop().await.unwrap();
    c.database("__shardlift").drop().await.unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--range-mb", "512"]).await;
    engine.until_ready().await;
    fail_no_more(&a).await;
    let outcome = engine.cut_over().await;
    let copied = outcome.summary["documents_copied"].as_i64().unwrap();
    assert!(
        copied < i64::from(2 * documents + 2_000),
        "{copied} documents copied"
    );
    expect_equal(&source.uri(), &target.uri()).await;
}

/// A unit whose `_id`s the client cannot compare begins again with each cursor: that is
/// told, and not gone on with for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_can_only_be_read_whole_and_never_is_parks_the_run() {
    let (source, target) = pair().await;
    let a = source.client().await.unwrap();
    run(
        &a,
        "d",
        doc! {"create": "c", "collation": {"locale": "de", "strength": 1}},
    )
    .await;
    insert(&a, "c", 6_000, 2_000).await;
    let data = doc! {"failCommands": ["getMore"], "errorCode": 237, "namespace": "d.c"};
    fail(&a, "alwaysOn", data).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--away-max-s", "3"]).await;
    let told = |now: &shardlift::observe::status::Snapshot| {
        now.obstacles.iter().any(|text| text.contains("d.c"))
    };
    let now = engine.until("told", told).await;
    assert!(
        now.phase == Phase::Copying && now.pairs[0].documents_copied <= 6_000,
        "{now:?}"
    );
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 9, "{log}");
    assert!(log.contains("scanning d.c on the source"), "{log}");
    fail_no_more(&a).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Each cursor on the oplog shows the entry that was read last, and then no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oplog_that_cannot_be_read_on_is_told_at_once_and_parks_the_run() {
    let (source, target) = pair().await;
    let a = source.client().await.unwrap();
    insert(&a, "c", 500, 100).await;
    let unreadable =
        doc! {"failCommands": ["getMore"], "errorCode": 11602, "namespace": "local.oplog.rs"};
    let told = |now: &shardlift::observe::status::Snapshot| {
        let oplog = now
            .obstacles
            .iter()
            .any(|text| text.contains("oplog") && text.contains("failCommand"));
        oplog && now.phase == Phase::Following && !now.can_cutover && 0 < now.lag_ms
    };

    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    fail(&a, "alwaysOn", unreadable.clone()).await;
    run(&a, "d", doc! {"insert": "c", "documents": [{"_id": -1}]}).await;
    let now = engine.until("told", told).await;
    assert_eq!(now.recoveries, 0);
    fail_no_more(&a).await;
    engine
        .until("ready", |now| {
            now.phase == Phase::Ready && now.obstacles.is_empty()
        })
        .await;

    engine.kill();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--away-max-s", "2"]).await;
    engine.until_ready().await;
    fail(&a, "alwaysOn", unreadable).await;
    engine.until("told", |now| !now.obstacles.is_empty()).await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 9, "{log}");
    assert!(log.contains("reading the oplog of source shard a"), "{log}");
    fail_no_more(&a).await;

    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// What cannot be verified ahead could not be compared in the cutover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_cannot_be_read_to_be_verified_hold_ready_back() {
    let (source, target) = pair().await;
    let a = source.client().await.unwrap();
    insert(&a, "c", 500, 100).await;
    let unreadable =
        doc! {"failCommands": ["find"], "errorCode": 11602, "appName": "shardlift verify"};
    fail(&a, "alwaysOn", unreadable).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let told = |now: &shardlift::observe::status::Snapshot| {
        now.phase == Phase::Following
            && now
                .obstacles
                .iter()
                .any(|text| text.contains("d.c") && text.contains("verification"))
    };
    engine.until("told", told).await;
    fail_no_more(&a).await;
    engine
        .until("ready", |now| {
            now.phase == Phase::Ready && now.obstacles.is_empty()
        })
        .await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
