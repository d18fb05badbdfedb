//! The engine as its users run it: a process of its own, with its API and its
//! exit code. Killed when dropped; its log is shown when the test fails.
//!
//! Knows nothing about deployments and what must be equal.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loadgen::server::spawn;
use shardlift::observe::client::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

const POLL: Duration = Duration::from_millis(20);
/// Far beyond any run here: only so that a test that hangs ends and shows the log.
const HANGS_AFTER: Duration = Duration::from_secs(150);

/// One running `shardlift migrate`.
pub(crate) struct Engine {
    process: Process,
    url: String,
    log: Log,
    result: JoinHandle<String>,
}

/// How it ended.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    /// What `--json` printed; null if nothing.
    pub(crate) summary: serde_json::Value,
    pub(crate) log: Log,
}

impl Engine {
    /// Small ranges, so that several units are in flight even with little data.
    pub(crate) async fn start(source: &str, target: &str, flags: &[&str]) -> Engine {
        Engine::start_with(source, target, flags, None).await
    }

    /// One that ends as by a crash when it comes to this place (`shardlift::failpoint`).
    pub(crate) async fn start_to_crash(
        source: &str,
        target: &str,
        flags: &[&str],
        place: &str,
    ) -> Engine {
        Engine::start_with(
            source,
            target,
            flags,
            Some(("SHARDLIFT_FAILPOINT", format!("{place}:1"))),
        )
        .await
    }

    /// One of whose tasks panics when it comes to that place (`<name>:<n>`).
    pub(crate) async fn start_to_panic(
        place: &str,
        source: &str,
        target: &str,
        flags: &[&str],
    ) -> Engine {
        Engine::start_with(
            source,
            target,
            flags,
            Some(("SHARDLIFT_FAILPOINT", format!("{place}:panic"))),
        )
        .await
    }

    /// One that waits for something as long as is said: `<name>:<ms>` (`shardlift::failpoint`).
    pub(crate) async fn start_to_wait(
        wait: &str,
        source: &str,
        target: &str,
        flags: &[&str],
    ) -> Engine {
        Engine::start_with(
            source,
            target,
            flags,
            Some(("SHARDLIFT_WAIT", wait.to_owned())),
        )
        .await
    }

    async fn start_with(
        source: &str,
        target: &str,
        flags: &[&str],
        variable: Option<(&str, String)>,
    ) -> Engine {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
        command.args([
            "migrate",
            "--json",
            "--source",
            source,
            "--target",
            target,
            "--api-port",
            "0",
        ]);
        command.args(["--progress", "none", "--scans", "2", "--lanes", "4"]);
        if !flags.contains(&"--range-mb") {
            command.args(["--range-mb", "1"]);
        }
        if !flags.contains(&"--spool-dir") {
            command.args(["--spool-dir", env!("CARGO_TARGET_TMPDIR")]);
        }
        if !flags.contains(&"--grace-s") {
            command.args(["--grace-s", "0"]);
        }
        command.envs(variable);
        command
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn::spawn(command).expect("the engine starts");
        let log = Log::default();
        log.follow(child.stderr.take().expect("piped above"));
        let mut out = child.stdout.take().expect("piped above");
        let result = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            text
        });
        let mut engine = Engine {
            process: Process(child),
            url: String::new(),
            log,
            result,
        };
        engine.url = engine.wait_for_url().await;
        engine
    }

    /// Empty if it ended before it had one.
    async fn wait_for_url(&mut self) -> String {
        let deadline = Instant::now() + HANGS_AFTER;
        loop {
            if let Some(url) = self
                .log
                .text()
                .lines()
                .find_map(|line| line.split_once("API on "))
            {
                return url.1.trim().to_owned();
            }
            assert!(Instant::now() < deadline, "the engine named no API");
            if !self.is_running() {
                return String::new();
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.0.try_wait().expect("our own child").is_none()
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Client) -> shardlift::error::Result<T> + Send + 'static,
    ) -> shardlift::error::Result<T> {
        let client = Client::new(&self.url);
        tokio::task::spawn_blocking(move || question(client))
            .await
            .expect("asking does not panic")
    }

    /// None if it no longer answers.
    pub(crate) async fn status(&self) -> Option<Snapshot> {
        self.ask(|client| client.status()).await.ok()
    }

    /// Waits until `wanted` holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Snapshot {
        let deadline = Instant::now() + HANGS_AFTER;
        loop {
            let now = self.status().await;
            if let Some(now) = now.filter(|now| wanted(now)) {
                return now;
            }
            assert!(self.is_running(), "the engine ended before it was {what}");
            assert!(Instant::now() < deadline, "the engine never was {what}");
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn until_ready(&mut self) {
        self.until("ready", |now| now.phase == Phase::Ready).await;
    }

    /// Asks until it is accepted: DDL may still be under way.
    pub(crate) async fn request_cutover(&mut self) {
        let deadline = Instant::now() + HANGS_AFTER;
        while let Err(refused) = self.ask(|client| client.cutover()).await {
            assert!(
                self.is_running() && Instant::now() < deadline,
                "no cutover: {refused}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks once.
    pub(crate) async fn ask_for_cutover(&self) -> Result<(), String> {
        self.ask(|client| client.cutover())
            .await
            .map(drop)
            .map_err(|refused| refused.to_string())
    }

    pub(crate) async fn extend(&self) -> shardlift::error::Result<String> {
        self.ask(|client| client.extend()).await
    }

    pub(crate) async fn pause(&self, by: &'static str) -> shardlift::error::Result<String> {
        self.ask(move |client| client.pause(by)).await
    }

    pub(crate) async fn resume(&self) -> shardlift::error::Result<String> {
        self.ask(|client| client.resume()).await
    }

    /// Of its API, as the commands take it.
    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().expect("a port ends it")
    }

    pub(crate) async fn cancel(&self) {
        self.ask_to_cancel()
            .await
            .expect("a running migration can be cancelled");
    }

    /// Its answer.
    pub(crate) async fn ask_to_cancel(&self) -> shardlift::error::Result<String> {
        self.ask(|client| client.cancel()).await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// As a crash would.
    pub(crate) fn kill(self) {
        drop(self.process);
    }

    /// `TERM` or `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.0.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill is there");
        assert!(sent.success());
    }

    /// Waits until its place to crash at ended it.
    pub(crate) async fn crashed(mut self) -> Log {
        let deadline = Instant::now() + HANGS_AFTER;
        while self.is_running() {
            assert!(
                Instant::now() < deadline,
                "the engine does not come to its place"
            );
            tokio::time::sleep(POLL).await;
        }
        assert_eq!(
            self.process.0.wait().expect("our own child").code(),
            None,
            "it ended by itself"
        );
        self.log.wait_for_end();
        self.log
    }

    /// Waits until it ends by itself.
    pub(crate) async fn end(mut self) -> Outcome {
        let deadline = Instant::now() + HANGS_AFTER;
        let mut ended = false;
        while self.is_running() {
            assert!(Instant::now() < deadline, "the engine does not end");
            // Once the end was seen it does not wait for us.
            ended = ended || self.status().await.is_some_and(|now| now.is_final());
            tokio::time::sleep(POLL).await;
        }
        let code = self
            .process
            .0
            .wait()
            .expect("our own child")
            .code()
            .expect("it was not killed");
        let printed = self.result.join().expect("reading does not panic");
        let summary: serde_json::Value = serde_json::from_str(&printed).unwrap_or_default();
        self.log.wait_for_end();
        // Where nobody else writes to the target, each write finds what it changes.
        if summary.is_object() {
            assert_eq!(summary["writes_missed"], 0, "{summary}");
        }
        Outcome {
            code,
            summary,
            log: self.log,
        }
    }

    /// Cuts over, once, and expects that it comes to a good end.
    pub(crate) async fn cut_over(mut self) -> Outcome {
        self.request_cutover().await;
        let over = |now: &Snapshot| now.is_final() || now.cutovers_given_up > 0;
        let now = self.until("cut over", over).await;
        assert_eq!(now.phase, Phase::Done, "{:?} {:?}", now.warnings, now.error);
        let outcome = self.end().await;
        assert_eq!(outcome.code, 0);
        outcome
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the engine wrote on stderr; shown when a test fails.
#[derive(Default)]
pub(crate) struct Log {
    text: Arc<Mutex<String>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    fn follow(&self, stderr: impl Read + Send + 'static) {
        let text = self.text.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut text = text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        *self.reader.lock().unwrap() = Some(reader);
    }

    /// After the process has ended: until all it wrote is here.
    fn wait_for_end(&self) {
        if let Some(reader) = self.reader.lock().unwrap().take() {
            reader.join().unwrap();
        }
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of the engine ---\n{}--- end of it ---",
                self.text()
            );
        }
    }
}
