//! Runs that are interrupted and go on: by signals, crashes, elections, frozen
//! servers, and a source that rolled over meanwhile.

use std::time::Duration;

use bson::doc;
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture;
use crate::migrate::{expect_equal, stop};

mod anew;
mod rolled_off;

const DOCS: u64 = 6_000;

async fn populated(source: &str) {
    populate::populate(&PopulateArgs {
        docs: DOCS,
        ..PopulateArgs::new(source)
    })
    .await
    .unwrap();
}

fn load(source: &str) -> LoadOptions {
    LoadOptions {
        rate: 400.0,
        connections: 4,
        ddl: true,
        ..LoadOptions::new(source)
    }
}

async fn members(name: &str, members: usize) -> ReplicaSet {
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        members,
        cache_gb: 0.25,
        oplog_mb: Some(512),
        election_timeout: Duration::from_secs(2),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ended_by_a_signal_or_a_crash_goes_on_where_it_was() {
    let (source, target) = tokio::join!(members("a", 1), members("b", 1));
    let (source, target) = (source.uri(), target.uri());
    populated(&source).await;
    let load = Load::start(load(&source)).await.unwrap();

    let mut engine = Engine::start(&source, &target, &[]).await;
    engine
        .until("copying", |now| {
            now.pairs.iter().any(|pair| pair.documents_copied > 0)
        })
        .await;
    engine.signal("TERM");
    let stopped = engine.end().await;
    assert_eq!(stopped.code, 130);
    assert!(
        stopped.log.text().contains("checkpoint"),
        "{}",
        stopped.log.text()
    );

    let mut engine = Engine::start(&source, &target, &[]).await;
    engine
        .until("back", |now| now.phase != Phase::Validating)
        .await;
    engine.kill();

    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    stop(load).await;
    let done = engine.cut_over().await;
    assert!(
        done.log.text().contains("resuming run"),
        "{}",
        done.log.text()
    );
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_works_on_a_target_and_a_cancelled_run_can_be_begun_anew() {
    let (source, target) = tokio::join!(members("a", 1), members("b", 1));
    let (source, target) = (source.uri(), target.uri());
    populated(&source).await;

    let mut first = Engine::start(&source, &target, &[]).await;
    first.until_ready().await;
    let second = Engine::start(&source, &target, &[]).await.end().await;
    assert_eq!(second.code, 4);
    assert!(
        second.log.text().contains("works on this target"),
        "who holds it is told: {}",
        second.log.text()
    );

    first.cancel().await;
    assert_eq!(first.end().await.code, 130);
    let again = Engine::start(&source, &target, &[]).await.end().await;
    assert_eq!(again.code, 4);
    assert!(
        again.log.text().contains("--restart"),
        "{}",
        again.log.text()
    );

    let mut anew = Engine::start(&source, &target, &["--restart"]).await;
    anew.until_ready().await;
    anew.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_on_both_sides_are_survived() {
    let (source, mut target) = tokio::join!(members("a", 3), members("b", 3));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    populated(&source_uri).await;
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine
        .until("copying", |now| {
            now.pairs.iter().any(|pair| pair.documents_copied > 0)
        })
        .await;
    let primary = target.primary().await.unwrap();
    target.member_mut(primary).kill();
    engine.until("recovering", |now| now.recoveries > 0).await;
    target.member_mut(primary).restart().await.unwrap();
    source.step_down().await.unwrap();
    // What only the new primary of the source has must arrive.
    let client = source.client().await.unwrap();
    let after = client.database("d").collection::<bson::Document>("after");
    while after.insert_one(doc! {"x": 1}).await.is_err() {}
    let arrived = target.client().await.unwrap();
    let arrived = arrived.database("d").collection::<bson::Document>("after");
    let arrives = async {
        while arrived
            .find_one(doc! {"x": 1})
            .await
            .ok()
            .flatten()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), arrives)
        .await
        .expect("the tail goes on with the new primary");
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

/// It closes no connection: who waits for it alone waits as long as a command may take,
/// here for longer than the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_of_the_source_does_not_hold_the_tail() {
    let (mut source, target) = tokio::join!(members("a", 3), members("b", 1));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    populated(&source_uri).await;
    let mut engine = Engine::start(&source_uri, &target_uri, &["--command-timeout-s", "600"]).await;
    engine.until_ready().await;
    let applied = |now: &Snapshot| now.pairs.iter().map(|pair| pair.ops_applied).sum::<u64>();
    let before = engine.status().await.map_or(0, |now| applied(&now));

    let frozen = source.primary().await.unwrap();
    source.member_mut(frozen).freeze();
    let client = source.client().await.unwrap();
    let rows = client.database("d").collection::<bson::Document>("after");
    while rows.insert_one(doc! {"x": 1}).await.is_err() {}
    engine
        .until("following the new primary", |now| before < applied(now))
        .await;
    source.member_mut(frozen).thaw();
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_parks_when_a_server_stays_away_and_goes_on_when_it_is_back() {
    let (source, mut target) = tokio::join!(members("a", 1), members("b", 1));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    populated(&source_uri).await;
    let flags = ["--away-max-s", "1", "--command-timeout-s", "1"];
    let mut engine = Engine::start(&source_uri, &target_uri, &flags).await;
    engine.until_ready().await;
    target.member_mut(0).freeze();
    let client = source.client().await.unwrap();
    fixture::run(
        &client,
        "d",
        doc! {"insert": "c", "documents": [{"_id": 1}]},
    )
    .await;
    let parked = engine.end().await;
    target.member_mut(0).thaw();
    assert_eq!(parked.code, 9, "{}", parked.log.text());

    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

/// Writes more than the source's oplog and the engine's memory hold.
pub(crate) async fn write_much(source: &ReplicaSet, megabytes: i32) {
    let client = source.client().await.unwrap();
    for i in 0..megabytes {
        let bytes = bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: vec![i as u8; 1 << 20],
        };
        fixture::run(
            &client,
            "d",
            doc! {"insert": "big", "documents": [{"_id": i, "bytes": bytes}]},
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_rolls_over_while_the_target_is_frozen_is_in_the_spool() {
    let options = with_small_oplog("a");
    let (source, mut target) = tokio::join!(ReplicaSet::start(options), members("b", 1));
    let source = source.unwrap();
    let (source_uri, target_uri) = (source.uri(), target.uri());
    populate::populate(&PopulateArgs {
        docs: 500,
        ..PopulateArgs::new(&source_uri)
    })
    .await
    .unwrap();
    write_much(&source, 1).await;
    let mut engine = Engine::start(&source_uri, &target_uri, &["--memory-mb", "64"]).await;
    engine.until_ready().await;
    target.member_mut(0).freeze();
    roll_over(&source).await;
    // Until all is read ahead: the spool grows no more.
    let mut read = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = engine
            .until("read ahead", |now| now.pairs[0].spool_bytes > 100_000)
            .await
            .pairs[0]
            .spool_bytes;
        if now == std::mem::replace(&mut read, now) {
            break;
        }
    }
    // Dead before the target is back: the next process has the spool only.
    engine.kill();
    target.member_mut(0).thaw();

    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

/// What no checkpoint of the server has taken yet is not removed: it makes one
/// every second.
pub(crate) fn with_small_oplog(name: &str) -> ReplicaSetOptions {
    ReplicaSetOptions {
        name: name.to_owned(),
        cache_gb: 0.25,
        oplog_mb: Some(16),
        extra_args: vec!["--syncdelay".to_owned(), "1".to_owned()],
        ..ReplicaSetOptions::default()
    }
}

/// Writes until nothing is left of what was in the oplog before.
pub(crate) async fn roll_over(source: &ReplicaSet) {
    let client = source.client().await.unwrap();
    let oplog = client
        .database("local")
        .collection::<bson::Document>("oplog.rs");
    let end = |order: i32| {
        let find = oplog.find_one(doc! {}).sort(doc! {"$natural": order});
        async move { find.await.unwrap().unwrap().get_timestamp("ts").unwrap() }
    };
    let newest = end(-1).await;
    for _ in 0..100 {
        write_much_anew(source, 10).await;
        if newest < end(1).await {
            return;
        }
        // It takes the server's checkpoints.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the source does not roll over");
}

/// Replaces one document again and again.
async fn write_much_anew(source: &ReplicaSet, times: i32) {
    let client = source.client().await.unwrap();
    for i in 0..times {
        let noise: Vec<u8> = (0..1 << 20)
            .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ i as u8)
            .collect();
        let bytes = bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: noise,
        };
        let update = doc! {"q": {"_id": 0}, "u": {"_id": 0, "n": i, "bytes": bytes}};
        fixture::run(&client, "d", doc! {"update": "big", "updates": [update]}).await;
    }
}

/// Refuses every insert of a copied document, after a while.
fn refuse_inserts(mode: &str) -> bson::Document {
    doc! {
        "configureFailPoint": "failCommand", "mode": mode,
        "data": {
            "failCommands": ["insert"], "namespace": "d.c", "errorCode": 91, "blockConnection": true, "blockTimeMS": 1_500,
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_every_attempt_is_undone_parks_and_says_so() {
    let faulty = ["--setParameter", "enableTestCommands=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &faulty)
    );
    let client = target.client().await.unwrap();
    fixture::insert(&source.client().await.unwrap(), "d", "c").await;
    fixture::run(&client, "admin", refuse_inserts("alwaysOn")).await;
    // The pairs run for longer than that each time.
    let parked = Engine::start(&source.uri(), &target.uri(), &["--away-max-s", "1"])
        .await
        .end()
        .await;
    assert_eq!(parked.code, 9, "{}", parked.log.text());
    assert!(
        parked.log.text().contains("attempts in a row ended"),
        "{}",
        parked.log.text()
    );

    fixture::run(&client, "admin", refuse_inserts("off")).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
