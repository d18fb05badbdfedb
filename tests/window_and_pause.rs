//! The cutover window and pauses, by a real process: begun, kept over a restart, extended,
//! passed and taken up again; held back and let go on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bson::{Document, doc};
use loadgen::cluster::ReplicaSet;
use loadgen::populate::{self, PopulateArgs};
use loadgen::server::spawn;
use mongodb::Client;
use shardlift::control::run::now_ms;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

const HOUR_S: u64 = 3_600;

async fn sets() -> (ReplicaSet, ReplicaSet) {
    tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    )
}

/// The end of the window in the run's state, ms since 1970.
async fn recorded(target: &Client) -> i64 {
    let runs = target.database("__shardlift").collection::<Document>("run");
    let run = runs.find_one(doc! {}).await.unwrap().unwrap();
    run.get_i64("window_ends_ms").unwrap()
}

async fn record(target: &Client, ends_ms: u64) {
    let set = doc! {"$set": {"window_ends_ms": ends_ms as i64}};
    let update =
        doc! {"update": "run", "updates": [{"q": {}, "u": set}], "writeConcern": {"w": "majority"}};
    fixture::run(target, "__shardlift", update).await;
}

fn left_s(now: &Snapshot) -> u64 {
    now.window_left_s.expect("the window has begun")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_begins_at_ready_is_kept_and_extended_and_ends_the_run_when_it_has_passed() {
    let (source, target) = sets().await;
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&a, "shop", "orders").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--window-h", "2"]).await;
    let begun = |now: &Snapshot| now.window_left_s.is_some();
    let now = engine.until("in its window", begun).await;
    assert!(
        HOUR_S < left_s(&now) && left_s(&now) <= 2 * HOUR_S,
        "{now:?}"
    );
    assert!(now.table().contains("cutover window: "), "{}", now.table());
    let before = recorded(&b).await;
    let told = engine.extend().await.unwrap();
    assert!(told.contains("25 h are left"), "{told}");
    assert_eq!(recorded(&b).await, before + 24 * 3_600_000);
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);

    // The same window goes on in the next process, until it has passed.
    record(&b, now_ms() + 10_000).await;
    let engine = Engine::start(&source.uri(), &target.uri(), &["--window-h", "2"]).await;
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 9);
    let log = outcome.log.text();
    assert!(log.contains("the cutover window has passed"), "{log}");

    // It can be taken up again, and begins anew.
    fixture::insert(&a, "shop", "orders").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--window-h", "2"]).await;
    let now = engine.until("in a new window", begun).await;
    assert!(HOUR_S < left_s(&now), "{now:?}");
    // It tells how the earlier processes ended, and why.
    for (phase, why) in [
        (Phase::Stopped, "stopped by a signal"),
        (Phase::Parked, "the cutover window has passed"),
    ] {
        let mut changes = now.phases.iter();
        let told = changes.any(|change| change.phase == phase && change.why.contains(why));
        assert!(told, "{phase}: {:?}", now.phases);
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_writes_nothing_says_who_paused_it_and_goes_on() {
    let (source, target) = sets().await;
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let args = PopulateArgs {
        docs: 20_000,
        ..PopulateArgs::new(source.uri())
    };
    populate::populate(&args).await.unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let running = |now: &Snapshot| now.phase == Phase::Copying || now.phase == Phase::Ready;
    engine.until("running", running).await;
    assert!(engine.resume().await.is_err(), "it is not paused");
    let sure = |now: &Snapshot| now.phase == Phase::Paused;
    // A request while the pairs start is refused.
    while engine.pause("by ann: backup").await.is_err() {
        assert!(engine.is_running());
    }
    let now = engine.until("paused", sure).await;
    assert_eq!(now.paused.as_deref(), Some("by ann: backup"));
    assert!(!now.can_cutover && now.table().contains("paused: by ann"));
    assert!(engine.ask_for_cutover().await.is_err());

    // What is written now stays away from the target, and is behind in the status.
    fixture::insert(&a, "late", "orders").await;
    engine.until("behind", |now| 0 < now.lag_ms).await;
    let names = b.list_database_names().await.unwrap();
    assert!(!names.contains(&"late".to_owned()), "{names:?}");

    engine.resume().await.unwrap();
    let now = engine
        .until("on again", |now| now.phase == Phase::Ready)
        .await;
    assert_eq!(now.paused, None);
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// A report, JSON or the page that holds it.
pub(crate) fn report_in(file: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(file).unwrap();
    let json = match text.split_once("id=\"report\">") {
        Some((_, rest)) => rest.split_once("</script>").unwrap().0,
        None => &text,
    };
    serde_json::from_str(json).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_tells_what_was_done_however_it_ended() {
    let (source, target) = sets().await;
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let dir = tempfile::tempdir().unwrap();
    for (name, flags) in [
        ("cancelled.json", &[][..]),
        ("done.html", &["--restart"][..]),
    ] {
        let file = dir.path().join(name);
        let mut all = vec!["--report", file.to_str().unwrap()];
        all.extend(flags);
        let mut engine = Engine::start(&source.uri(), &target.uri(), &all).await;
        engine.until_ready().await;
        if name == "done.html" {
            engine.cut_over().await;
        } else {
            engine.cancel().await;
            engine.end().await;
        }
        let report = report_in(&file);
        let done = name == "done.html";
        assert_eq!(
            report["status"]["phase"],
            if done { "done" } else { "cancelled" }
        );
        assert_eq!(report["summary"].is_object(), done, "{report}");
        assert_eq!(report["settings"]["window_h"], 120);
        assert!(report["history"]["points"].is_array());
    }
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plots_and_the_report_cover_the_whole_run_over_a_restart() {
    let (source, target) = sets().await;
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let dir = tempfile::tempdir().unwrap();
    let (spool, file) = (dir.path().join("spool"), dir.path().join("r.json"));
    let flags = [
        "--spool-dir",
        spool.to_str().unwrap(),
        "--report",
        file.to_str().unwrap(),
    ];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;
    // A point is made each second.
    let is_noted = |now: &Snapshot| 2.0 < now.elapsed_s;
    engine.until("noted", is_noted).await;
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);

    let second_ms = now_ms();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;
    engine.until("noted", is_noted).await;
    engine.cut_over().await;
    let report = report_in(&file);
    let points = report["history"]["points"].as_array().unwrap();
    let moments: Vec<u64> = points
        .iter()
        .map(|point| point["at_ms"].as_u64().unwrap())
        .collect();
    let (first, last) = (moments[0], moments[moments.len() - 1]);
    assert!(
        first < second_ms && second_ms <= last,
        "{second_ms}: {moments:?}"
    );
    let status = &report["status"];
    let began_ms = status["phases"][0]["at_ms"].as_u64().unwrap();
    let of_first_s = (second_ms - began_ms) as f64 / 1_000.0;
    for of_run in [&status["run_s"], &report["summary"]["elapsed_s"]] {
        assert!(of_first_s <= of_run.as_f64().unwrap(), "{of_run}: {status}");
    }
    assert!(status["elapsed_s"].as_f64().unwrap() < status["run_s"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_watched_from_another_terminal_until_the_run_ends() {
    let (source, target) = sets().await;
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let watching = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
        command.args(["status", "--watch", "--api-port", engine.port()]);
        command.args(more).stdout(Stdio::piped());
        spawn::spawn(command).unwrap()
    };
    let (lines, json) = (watching(&[]), watching(&["--json"]));
    // Each has shown something before the run ends.
    let wait = |child: Child| child.wait_with_output().unwrap();
    let mut json_out = BufReader::new(json.stdout.unwrap()).lines();
    let first: Snapshot = serde_json::from_str(&json_out.next().unwrap().unwrap()).unwrap();
    assert!(!first.is_final(), "{first:?}");
    engine.cancel().await;
    let last = json_out.map_while(Result::ok).last().unwrap();
    let last: Snapshot = serde_json::from_str(&last).unwrap();
    assert_eq!(last.phase, Phase::Cancelled);
    engine.end().await;
    let text = String::from_utf8(wait(lines).stdout).unwrap();
    assert!(
        text.starts_with("ready ") || text.starts_with("following "),
        "{text}"
    );
}
