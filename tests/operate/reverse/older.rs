//! The way back on releases before 6.0: nothing there refuses users' writes, and up to 4.4
//! updates are logged in another form. The report tells of both ways.

use loadgen::server::version::Release;

use super::usage::{expiry_of, prepared, used};
use super::{goes_back, nothing_is_left, ready_to_go_back};
use crate::engine::Engine;
use crate::migrate::expect_equal;
use crate::releases::rig;
use crate::window_and_pause::report_in;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_go_back_from_4_2_to_4_2() {
    users_go_back(rig::of(4, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_go_back_from_4_4_to_4_4() {
    users_go_back(rig::of(4, 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_go_back_from_5_0_to_5_0() {
    users_go_back(rig::of(5, 0)).await;
}

async fn users_go_back(release: Release) {
    let (source, target) = tokio::join!(rig::set("a", release), rig::set("b", release));
    let (from, to) = (source.uri(), target.uri());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    prepared(&a).await;
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.html");
    let flags = ["--reverse", "--report", report.to_str().unwrap()];
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until_ready().await;
    engine.request_cutover().await;
    let now = engine.until("followed back", ready_to_go_back).await;
    assert!(
        now.warnings
            .iter()
            .any(|w| w.contains("nobody may write to it")),
        "{now:?}"
    );
    let held_back = expiry_of(&a).await;
    assert!(Some(i64::from(i32::MAX)) <= held_back, "{held_back:?}");
    used(&b, 1).await;
    engine.kill();
    let there = report_in(&report);
    assert_eq!(there["status"]["phase"], "done", "of the migration");
    used(&b, 2).await;
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until("followed back", ready_to_go_back).await;
    used(&b, 3).await;
    let port = engine.port().to_owned();
    tokio::task::spawn_blocking(move || goes_back(&port))
        .await
        .unwrap();
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&to, &from).await;
    assert_eq!(expiry_of(&a).await, Some(3_600));
    nothing_is_left([&a, &b]).await;

    let both = report_in(&report);
    let before = &both["before"];
    assert_eq!(before["status"]["run_id"], there["status"]["run_id"]);
    assert_eq!(before["status"]["phase"], "done", "by an earlier process");
    let applied = "ops_applied";
    assert_eq!(before["summary"][applied], there["summary"][applied]);
    assert_eq!(before["history"]["pairs"], there["history"]["pairs"]);
    assert_eq!(both["status"]["phase"], "done");
    assert_eq!(both["status"]["reverse"], "running");
    assert!(both["summary"]["ops_applied"].as_u64() > Some(0), "{both}");
}
