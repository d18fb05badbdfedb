//! The page of real migrations in headless Chromium: one from its start over the cutover and
//! back, and a rehearsal on two shards. `walk.mjs` looks and presses, this one brings the
//! sides, and the browser.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use loadgen::engine::child::Child;
use mongodb::Client;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use shardlift::observe::client;

use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

const TOKEN: &str = "a-token-of-this-test";
/// What the walk prints at its end.
const NOTHING_WRONG: &str = r#"{"wrong":[]}"#;
/// Fetching a browser takes no longer, nor waiting for somebody who does.
const FETCH: Duration = Duration::from_secs(180);
/// Far beyond any walk.
const WALK: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);

/// Past the harness, which keeps what a test that passes prints.
fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// What `walk.mjs` prints; it is ended at the deadline, with all that it started.
fn node(args: &[&str], deadline: Instant) -> Result<String, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let printed = dir.path().join("printed");
    let out = File::create(&printed).map_err(|e| e.to_string())?;
    let mut command = Command::new("node");
    command
        .arg("tests/page/walk.mjs")
        .args(args)
        .env("SHARDLIFT_API_TOKEN", TOKEN)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(out);
    let mut child = Child::start(command, "node").map_err(|e| e.to_string())?;
    while child.ended().map_err(|e| e.to_string())?.is_none() {
        if deadline <= Instant::now() {
            return Err(format!("{} took too long", args.join(" ")));
        }
        thread::sleep(POLL);
    }
    fs::read_to_string(&printed).map_err(|e| e.to_string())
}

/// Fetches a browser if none is in the cache; one process at a time.
fn fetch() -> Result<(), String> {
    let deadline = Instant::now() + FETCH;
    let user = std::env::var("USER").unwrap_or_default();
    let lock = std::env::temp_dir().join(format!("shardlift-browser-{user}.lock"));
    let lock = File::create(lock).map_err(|e| e.to_string())?;
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        if deadline <= Instant::now() {
            return Err("another process is fetching a browser for too long".to_owned());
        }
        thread::sleep(POLL);
    }
    let told = node(&["--install"], deadline)?;
    let lacking = told.lines().find(|line| line.contains("no browser"));
    lacking.map_or(Ok(()), |line| Err(line.to_owned()))
}

/// Whether the page can be looked at on this host; if not, one line says why.
async fn can_be_looked_at() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let find = || {
        let lacking = fetch().err();
        if let Some(why) = &lacking {
            let again = "`node tests/page/walk.mjs --install` tries again";
            tell(&format!("the page is not looked at: {why}; {again}"));
        }
        lacking.is_none()
    };
    let can = tokio::task::spawn_blocking(move || *CAN.get_or_init(find));
    can.await.unwrap()
}

/// Where the screenshots of a walk go; they stay.
fn shots(name: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    let folder = folder.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let folder = folder.display().to_string();
    tell(&format!("screenshots of the page go to {folder}"));
    folder
}

async fn walk(args: &[&str]) {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let walked = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let args = [&args[..], &["--installed"]].concat();
        node(&args, Instant::now() + WALK)
    });
    let told = walked.await.unwrap().unwrap();
    assert_eq!(told.trim(), NOTHING_WRONG);
}

fn page(engine: &Engine) -> String {
    format!("http://127.0.0.1:{}", engine.port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_leads_to_the_cutover_and_back() {
    if !can_be_looked_at().await {
        return;
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
    let folder = shots("cutover");
    let report = format!("{folder}/report.html");
    let engine = Engine::start(&from, &to, &["--reverse", "--report", &report]).await;
    walk(&[&page(&engine), &folder, &report, "--block-writes"]).await;
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&from, &to).await;
}

/// A minute of copying at 1 MiB/s, on both shards.
async fn fill(client: &Client) {
    let spread = doc! {"shardCollection": "shop.orders", "key": {"_id": "hashed"}};
    fixture::run(client, "admin", spread).await;
    let text = "x".repeat(100_000);
    for batch in 0..12 {
        let row = |i| doc! {"_id": batch * 50 + i, "text": &text};
        let documents: Vec<Document> = (0..50).map(row).collect();
        let insert = doc! {"insert": "orders", "documents": documents};
        fixture::run(client, "shop", insert).await;
    }
}

/// So that it is still copying when the page is there. Asks until it is accepted: the pairs
/// may be starting.
async fn hold(engine: &mut Engine) {
    let token = serde_json::from_value(json!(TOKEN)).unwrap();
    let client = client::Client::trusted(&page(engine), token, "").unwrap();
    while tokio::task::block_in_place(|| client.pause("by ann: the page is opened")).is_err() {
        assert!(engine.is_running());
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_rehearses_on_two_shards_for_who_knows_the_token() {
    if !can_be_looked_at().await {
        return;
    }
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    fill(&source.client().await.unwrap()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shardlift.toml");
    fs::write(&file, format!("api_token = \"{TOKEN}\"\n")).unwrap();
    let flags = ["--copy-mb-s", "1", "--config", file.to_str().unwrap()];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    hold(&mut engine).await;
    walk(&[&page(&engine), &shots("rehearsal"), "--rehearse"]).await;
    assert_eq!(engine.end().await.code, 130, "it was cancelled");
}
