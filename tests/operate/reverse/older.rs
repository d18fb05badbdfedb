//! The way back on a release before 6.0: nothing there refuses users' writes, and updates are
//! logged in another form.

use super::usage::{expiry_of, prepared, used};
use super::{goes_back, nothing_is_left, ready_to_go_back};
use crate::engine::Engine;
use crate::migrate::expect_equal;
use crate::releases::rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_go_back_from_4_4_to_4_4() {
    let release = rig::of(4, 4);
    let (source, target) = tokio::join!(rig::set("a", release), rig::set("b", release));
    let (from, to) = (source.uri(), target.uri());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    prepared(&a).await;
    let flags = ["--reverse"];
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
    assert!(Some(i64::from(i32::MAX)) < expiry_of(&a).await, "held back");
    used(&b, 1).await;
    engine.kill();
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
}
