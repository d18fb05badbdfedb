//! The page of a real migration in headless Chromium, from its start over the cutover and
//! back: `walk.mjs` looks and presses, this one brings the two sides.

use std::io::Write;
use std::process::{Command, Stdio};

use loadgen::server::spawn;

use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

/// What it printed. None if there is no node.
fn walk(args: &[&str]) -> Option<String> {
    let mut command = Command::new("node");
    command
        .args(["tests/page/walk.mjs", "--installed"])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = spawn::spawn(command).ok()?.wait_with_output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Why the page cannot be looked at on this host, if so.
fn lacking() -> Option<String> {
    match walk(&["--install"]) {
        None => Some("the page is not looked at: there is no node".to_owned()),
        Some(told) => told.contains("no browser").then_some(told),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_leads_to_the_cutover_and_back() {
    if let Some(lacking) = lacking() {
        let how = "`node tests/page/walk.mjs --install` fetches a browser";
        // Past the harness, which keeps what a test that passes prints.
        let told = format!("{}; {how}\n", lacking.trim_end());
        return std::io::stderr().write_all(told.as_bytes()).unwrap();
    }
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    let client = source.client().await.unwrap();
    for name in ["orders", "customers"] {
        fixture::insert(&client, "shop", name).await;
    }
    let shots = tempfile::tempdir().unwrap();
    let folder = shots.path().display().to_string();
    let report = format!("{folder}/report.html");
    let engine = Engine::start(&from, &to, &["--reverse", "--report", &report]).await;
    let url = format!("http://127.0.0.1:{}", engine.port());
    let told = tokio::task::spawn_blocking(move || walk(&[&url, &folder, &report]));
    let told = told.await.unwrap().unwrap();
    assert_eq!(told.trim(), r#"{"wrong":[]}"#);
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&from, &to).await;
}
