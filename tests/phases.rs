//! Each change of phase, with its reason: in the status, in the log, and in the run's state on
//! the target, where the next process finds it.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;
use shardlift::observe::phase::{Change, Phase};
use shardlift::observe::plain;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, stop};

const POLL: Duration = Duration::from_millis(50);
/// They are recorded twice a second.
const RECORDED_WITHIN: Duration = Duration::from_secs(60);

const BEGUN: (Phase, &str) = (Phase::Validating, "the process has begun");
const AT_WORK: (Phase, &str) = (Phase::Copying, "every pair is at work");
const READY: (Phase, &str) = (Phase::Ready, "nothing is in the way of a cutover");
const ASKED: (Phase, &str) = (Phase::CuttingOver, "an operator asked for the cutover");

/// What the longest test below leads a run through. Between two of these a run may also have
/// come to others, by what it met.
const THROUGH: [(Phase, &str); 20] = [
    BEGUN,
    (Phase::Layout, "both sides are fit"),
    AT_WORK,
    READY,
    (Phase::Following, ""),
    READY,
    (Phase::Paused, "by ann: backup"),
    (Phase::Recovering, "an operator resumed the run"),
    AT_WORK,
    READY,
    (Phase::Recovering, ""),
    AT_WORK,
    READY,
    (Phase::Stopped, "stopped by a signal"),
    BEGUN,
    AT_WORK,
    READY,
    ASKED,
    (Phase::Ready, "called off: writes to"),
    ASKED,
];

/// As recorded.
async fn recorded(target: &Client) -> Vec<(String, String)> {
    let runs = target.database("__shardlift").collection::<Document>("run");
    let run = runs.find_one(doc! {}).await.unwrap().unwrap();
    let changes = run.get_array("phases").unwrap().iter();
    let text = |change: &Document, name| change.get_str(name).unwrap().to_owned();
    let changes = changes.map(|change| change.as_document().unwrap());
    changes
        .map(|change| (text(change, "phase"), text(change, "why")))
        .collect()
}

fn told(changes: &[Change]) -> Vec<(String, String)> {
    let told = changes.iter();
    told.map(|change| (change.phase.to_string(), change.why.clone()))
        .collect()
}

/// Waits until the record says what the status does.
async fn kept(engine: &Engine, target: &Client) {
    let deadline = Instant::now() + RECORDED_WITHIN;
    loop {
        let now = told(&engine.status().await.expect("it is running").phases);
        let recorded = recorded(target).await;
        if recorded == now {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "recorded: {recorded:#?}, told: {now:#?}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// These came in this order, each with that in its reason; and none came without a reason.
fn expect_order(changes: &[(String, String)], through: &[(Phase, &str)]) {
    let mut came = changes.iter();
    for (phase, why) in through {
        let next = came.find(|(name, reason)| *name == phase.to_string() && reason.contains(why));
        assert!(
            next.is_some(),
            "{phase} ({why}) did not come, or too early: {changes:#?}"
        );
    }
    let bare = changes.iter().find(|(_, reason)| reason.is_empty());
    assert_eq!(bare, None, "without a reason");
}

/// The log has them all in this order. A process begins as `validating`: that is no change.
fn expect_logged(log: &str, changes: &[(String, String)]) {
    let mut rest = log;
    for (phase, why) in changes {
        if phase == &Phase::Validating.to_string() {
            continue;
        }
        let line = format!("phase: {phase}: {}", plain::line(why));
        let at = rest.find(&line);
        let at = at.unwrap_or_else(|| panic!("not logged, or too early: {line}\n{log}"));
        rest = &rest[at + line.len()..];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_of_phase_is_told_with_its_reason_logged_and_kept_over_a_restart() {
    let (source, mut target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let args = PopulateArgs {
        docs: 3_000,
        ..PopulateArgs::new(source.uri())
    };
    populate::populate(&args).await.unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;

    // Something is in the way of a cutover for a while.
    run(&a, "admin", doc! {"fsync": 1, "lock": true}).await;
    let last = |now: &Snapshot| now.phases.last().map(|change| change.phase);
    engine
        .until("held back", |now| last(now) == Some(Phase::Following))
        .await;
    run(&a, "admin", doc! {"fsyncUnlock": 1}).await;
    engine.until_ready().await;

    engine.pause("by ann: backup").await.unwrap();
    engine
        .until("paused", |now| now.phase == Phase::Paused)
        .await;
    kept(&engine, &b).await;
    engine.resume().await.unwrap();
    engine.until_ready().await;

    target.member_mut(0).kill();
    engine.until("recovering", |now| 0 < now.recoveries).await;
    target.member_mut(0).restart().await.unwrap();
    engine.until_ready().await;
    kept(&engine, &b).await;

    engine.signal("TERM");
    let stopped = engine.end().await;
    assert_eq!(stopped.code, 130);
    let before = recorded(&b).await;
    expect_order(&before, &THROUGH[..14]);
    assert_eq!(before.last().unwrap().0, "stopped");

    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let writers = LoadOptions {
        rate: 500.0,
        connections: 4,
        ..LoadOptions::new(source.uri())
    };
    let writers = Load::start(writers).await.unwrap();
    engine.request_cutover().await;
    engine
        .until("called off", |now| now.cutovers_given_up == 1)
        .await;
    stop(writers).await;
    engine.until_ready().await;
    kept(&engine, &b).await;

    engine.request_cutover().await;
    let over = |now: &Snapshot| now.is_final() || 1 < now.cutovers_given_up;
    let now = engine.until("cut over", over).await;
    let done = engine.end().await;
    assert_eq!(done.code, 0);
    let changes = told(&now.phases);
    let end = [(Phase::Done, "both sides are equal, and all is restored")];
    expect_order(&changes, &[&THROUGH[..], &end].concat());
    assert_eq!(changes[..before.len()], before, "as the first process left");
    expect_logged(&(stopped.log.text() + &done.log.text()), &changes);
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_a_run_ended_is_logged_and_kept_with_its_reason_if_it_was_cancelled_or_failed() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&a, "shop", "orders").await;
    // the phase at its end, what its reason says, the exit code
    let ends = [
        (Phase::Cancelled, "cancel", 130),
        (Phase::Failed, "renameCollection", 6),
    ];
    for (phase, why, code) in ends {
        let flags = ["--renames", "stop", "--restart"];
        let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
        engine.until_ready().await;
        if phase == Phase::Cancelled {
            engine.cancel().await;
        } else {
            let rename = doc! {"renameCollection": "shop.orders", "to": "shop.bills"};
            run(&a, "admin", rename).await;
        }
        let ended = engine.end().await;
        assert_eq!(ended.code, code, "{phase}");
        let changes = recorded(&b).await;
        expect_order(&changes, &[BEGUN, AT_WORK, READY, (phase, why)]);
        assert_eq!(changes.last().unwrap().0, phase.to_string());
        expect_logged(&ended.log.text(), &changes);
    }
}
