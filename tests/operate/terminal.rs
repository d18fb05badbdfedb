//! `status --watch` on a terminal: a pseudo-terminal by `script` of util-linux, whose size
//! `stty` changes.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loadgen::server::spawn;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture;

/// Far beyond any run here: only so that a test that hangs ends and shows what was drawn.
const HANGS_AFTER: Duration = Duration::from_secs(150);
const NARROW: usize = 50;
const WIDE: usize = 120;
/// Beyond the narrow screen's edge.
const LAST: &str = "cutover can begin";

/// The command on a terminal of its own, and all that is written there.
struct Watching {
    script: Child,
    reader: JoinHandle<()>,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Watching {
    /// The terminal's name comes into `tty`.
    fn start(engine: &Engine, tty: &Path) -> Watching {
        let watch = format!(
            "tty > '{}'; stty cols {NARROW} rows 30; exec '{}' status --watch --api-port {}",
            tty.display(),
            env!("CARGO_BIN_EXE_shardlift"),
            engine.port()
        );
        let mut command = Command::new("script");
        command
            .args(["-qec", &watch, "/dev/null"])
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut script = spawn::spawn(command).unwrap();
        let mut out = script.stdout.take().unwrap();
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = text.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                into.lock().unwrap().extend(&bytes[..read]);
            }
        });
        Watching {
            script,
            reader,
            text,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    async fn until(&mut self, part: &str) -> String {
        let deadline = Instant::now() + HANGS_AFTER;
        loop {
            let text = self.text();
            if text.contains(part) {
                return text;
            }
            let is_over = self.script.try_wait().unwrap().is_some() || deadline < Instant::now();
            assert!(!is_over, "{part:?} never came: {text:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// It ends by itself.
    fn end(mut self) {
        self.script.wait().unwrap();
        self.reader.join().unwrap();
    }
}

/// Why there is no terminal to be had on this host, if so.
fn lacking() -> Option<&'static str> {
    let can = |program: &str| Command::new(program).arg("--version").output();
    let util_linux =
        can("script").is_ok_and(|told| told.stdout.starts_with(b"script from util-linux"));
    let lacks = !util_linux || can("stty").is_err();
    lacks.then_some(
        "`status --watch` is not looked at on a terminal: there is no `script` of util-linux\n",
    )
}

/// What is seen of a text: without what moves the cursor and colours.
fn seen(text: &str) -> String {
    let mut seen = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            seen.push(c);
        } else if chars.next() == Some('[') {
            // A sequence ends with its first letter.
            let _ = chars.find(char::is_ascii_alphabetic);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_run_is_drawn_as_wide_as_the_terminal_is() {
    if let Some(lacking) = lacking() {
        // Past the harness, which keeps what a test that passes prints.
        return std::io::stderr().write_all(lacking.as_bytes()).unwrap();
    }
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let ready = |now: &Snapshot| now.phase == Phase::Ready && now.can_cutover;
    engine.until("ready", ready).await;

    let dir = tempfile::tempdir().unwrap();
    let tty = dir.path().join("tty");
    let mut watching = Watching::start(&engine, &tty);
    watching.until("since the start").await;
    let pair = engine.status().await.unwrap().pairs[0].name.clone();
    let narrow = watching.until(&format!("{pair} [")).await;
    // Cut, not wrapped.
    assert!(!seen(&narrow).contains(LAST), "{narrow:?}");

    let name = std::fs::read_to_string(&tty).unwrap();
    let columns = WIDE.to_string();
    let resized = Command::new("stty")
        .args(["-F", name.trim(), "cols", &columns])
        .status();
    assert!(resized.unwrap().success());
    watching.until(LAST).await;

    engine.cancel().await;
    engine.end().await;
    tokio::task::spawn_blocking(|| watching.end())
        .await
        .unwrap();
}

#[test]
fn what_moves_the_cursor_is_not_seen() {
    assert_eq!(seen("\u{1b}[2K\u{1b}[1Ba\u{1b}[1;31mb\r\nc"), "ab\r\nc");
}
