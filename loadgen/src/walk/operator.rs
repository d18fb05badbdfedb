//! An operator at a terminal: runs commands of the engine, and looks at what they print.
//!
//! Knows nothing about the order of the procedure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::engine::child::Child;
use crate::engine::program::{self, api_url, log_text};
use crate::error::{Error, Result};
use crate::walk::called::Called;

/// Far beyond what any step takes.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// Lines of the engine's log that a failure shows.
const TAIL_LINES: usize = 20;

pub(super) struct Operator {
    program: PathBuf,
    work: PathBuf,
    uris: (String, String),
    tells: bool,
    steps: usize,
    called: Called,
    /// The running migration, and the URL of its API.
    running: Option<(Child, String)>,
    watching: Option<Child>,
}

impl Operator {
    pub(super) fn new(program: &Path, work: &Path, uris: (String, String), tells: bool) -> Self {
        Operator {
            program: program.to_owned(),
            work: work.to_owned(),
            uris,
            tells,
            steps: 0,
            called: Called::default(),
            running: None,
            watching: None,
        }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Something new begins.
    pub(super) fn step(&mut self, what: &str) {
        self.steps += 1;
        if self.tells {
            println!("{:>3}  {what}", self.steps);
        }
    }

    pub(super) fn tell_failure(&self, error: &Error) {
        eprintln!("step {} failed: {error}", self.steps);
        let log = log_text(&self.log());
        eprintln!(
            "the engine's log ends with:\n  {}",
            program::tail(&log, TAIL_LINES)
        );
    }

    /// What follows is between other deployments.
    pub(super) fn between(&mut self, uris: (String, String)) {
        self.uris = uris;
    }

    /// Each of these commands was run, as far as its name goes.
    pub(super) fn called_all(&mut self, commands: &[&str]) -> Result<()> {
        self.step("every command was run");
        let missing = self.called.missing(commands);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("these were not: {missing:?}")))
    }

    /// Runs a command to its good end; what it prints must match every expression.
    pub(super) async fn command(&mut self, args: &[&str], expect: &[&str]) -> Result<()> {
        self.command_with(args, &[], expect).await
    }

    /// The same with settings by variables of the environment.
    pub(super) async fn command_with(
        &mut self,
        args: &[&str],
        variables: &[(&str, &str)],
        expect: &[&str],
    ) -> Result<()> {
        self.step(&format!("shardlift {}", args.join(" ")));
        let text = self.printed(args, variables).await?;
        for expression in expect {
            if !matches(expression, &text)? {
                return Err(Error::new(format!("{expression:?} is not in: {text}")));
            }
        }
        Ok(())
    }

    async fn printed(&mut self, args: &[&str], variables: &[(&str, &str)]) -> Result<String> {
        self.called.note(args.join(" "));
        let (out, err) = (self.work.join("out"), self.work.join("err"));
        let mut child = program::start_with(
            &self.program,
            self.placed(args),
            variables,
            File::create(&out)?.into(),
            &err,
        )?;
        let ended = child.success(Some(STEP_TIMEOUT)).await;
        let text = log_text(&out);
        ended.map_err(|e| e.context(format!("{text}{}", log_text(&err))))?;
        Ok(text)
    }

    /// One of a command that connects to both sides.
    pub(super) async fn on_both(&mut self, args: &[&str], expect: &[&str]) -> Result<()> {
        let (source, target) = self.uris.clone();
        let sides = ["--source", &source, "--target", &target];
        self.command(&[args, &sides].concat(), expect).await
    }

    /// One that asks the running process.
    pub(super) async fn ask(&mut self, args: &[&str], expect: &[&str]) -> Result<()> {
        let url = self.url()?;
        self.command(&[args, &["--api", &url]].concat(), expect)
            .await
    }

    /// Asks the running process until what the command prints matches.
    pub(super) async fn ask_until(&mut self, args: &[&str], expression: &str) -> Result<()> {
        let called = args.join(" ");
        self.step(&format!("shardlift {called}, until it prints {expression}"));
        let (url, began) = (self.url()?, Instant::now());
        let args = [args, &["--api", &url]].concat();
        loop {
            let text = self.printed(&args, &[]).await?;
            if matches(expression, &text)? {
                return Ok(());
            }
            if STEP_TIMEOUT < began.elapsed() {
                return Err(Error::new(format!("it never did; at last it was {text}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// One that the running process refuses, or calls off, and says why.
    pub(super) async fn refused(&mut self, args: &[&str], expression: &str) -> Result<()> {
        self.step(&format!("shardlift {} is refused", args.join(" ")));
        let url = self.url()?;
        let args = [args, &["--api", &url]].concat();
        match self.printed(&args, &[]).await {
            Ok(text) => Err(Error::new(format!("it was not: {text}"))),
            Err(e) if matches(expression, &e.message)? => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Starts the migration, and waits for its API.
    pub(super) async fn migrate(&mut self, more: &[&str]) -> Result<()> {
        let called = format!("migrate {}", more.join(" "));
        self.step(&format!("shardlift {called}"));
        self.called.note(called);
        let (source, target) = self.uris.clone();
        let args = [
            "migrate",
            "--source",
            &source,
            "--target",
            &target,
            "--api-port",
            "0",
            "--grace-s",
            "2",
            "--range-mb",
            "1",
            "--progress",
            "none",
        ];
        let mut args = self.placed(&[&args[..], more].concat());
        args.extend(["--spool-dir".to_owned(), self.place("spool")]);
        let mut child = program::start(&self.program, args, Stdio::null(), &self.log())?;
        let began = Instant::now();
        loop {
            if let Some(url) = api_url(&log_text(&self.log())) {
                self.running = Some((child, url));
                return Ok(());
            }
            if child.ended()?.is_some() || STEP_TIMEOUT < began.elapsed() {
                return Err(Error::new("it names no API"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the status matches.
    pub(super) async fn until(&mut self, expression: &str) -> Result<()> {
        self.step(&format!("until the status has {expression}"));
        let (url, began) = (self.url()?, Instant::now());
        let mut last = String::new();
        while began.elapsed() < STEP_TIMEOUT {
            last = status(&url).await.unwrap_or(last);
            if matches(expression, &last)? {
                return Ok(());
            }
            let (child, _) = self.running.as_mut().ok_or_else(nothing_runs)?;
            if let Some(status) = child.ended()? {
                return Err(Error::new(format!(
                    "the migration ended ({status}); its last status was {last}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::new(format!(
            "it never had; the last status was {last}"
        )))
    }

    /// Asks the migration to stop, as Ctrl-C does.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.step("Ctrl-C");
        let (child, _) = self.running.as_mut().ok_or_else(nothing_runs)?;
        child.signal(libc::SIGINT);
        Ok(())
    }

    /// Waits for the end of the migration, with this exit code.
    pub(super) async fn ended(&mut self, code: i32) -> Result<()> {
        self.step(&format!("the migration ends with exit code {code}"));
        let (mut child, _) = self.running.take().ok_or_else(nothing_runs)?;
        let began = Instant::now();
        while began.elapsed() < STEP_TIMEOUT {
            match child.ended()?.map(|status| status.code()) {
                Some(ended) if ended == Some(code) => return Ok(()),
                Some(ended) => return Err(Error::new(format!("it ended with {ended:?}"))),
                None => tokio::time::sleep(POLL).await,
            }
        }
        Err(Error::new("it does not end"))
    }

    /// Follows the status in another terminal, until the run ends.
    pub(super) fn watch(&mut self) -> Result<()> {
        self.step("shardlift status --watch --json");
        self.called.note("status --watch --json".to_owned());
        let url = self.url()?;
        let args = ["status", "--watch", "--json", "--api", &url];
        let (out, err) = (self.work.join("watched"), self.work.join("watch.err"));
        self.watching = Some(program::start(
            &self.program,
            args,
            File::create(out)?.into(),
            &err,
        )?);
        Ok(())
    }

    /// Its last line matches.
    pub(super) async fn watched(&mut self, expression: &str) -> Result<()> {
        let mut watching = self.watching.take().ok_or_else(nothing_runs)?;
        watching.success(Some(STEP_TIMEOUT)).await?;
        let text = log_text(&self.work.join("watched"));
        let last = text.lines().last().unwrap_or_default();
        if matches(expression, last)? {
            return Ok(());
        }
        Err(Error::new(format!("{expression:?} is not in: {last}")))
    }

    /// The report is a page with its data.
    pub(super) async fn reported(&mut self, name: &str) -> Result<()> {
        self.step("the report is written");
        let text = fs::read_to_string(self.work.join(name))?;
        if text.contains("id=\"report\"") {
            return Ok(());
        }
        Err(Error::new("it holds no data"))
    }

    /// Files among the arguments lie in the folder of the walk.
    fn placed(&self, args: &[&str]) -> Vec<String> {
        let place = |arg: &&str| {
            if arg.ends_with(".html") {
                self.place(arg)
            } else {
                (*arg).to_owned()
            }
        };
        args.iter().map(place).collect()
    }

    /// In the folder of the walk.
    pub(super) fn place(&self, name: &str) -> String {
        self.work.join(name).display().to_string()
    }

    fn url(&self) -> Result<String> {
        let (_, url) = self.running.as_ref().ok_or_else(nothing_runs)?;
        Ok(url.clone())
    }

    fn log(&self) -> PathBuf {
        self.work.join("migrate.log")
    }
}

fn nothing_runs() -> Error {
    Error::new("no migration runs")
}

fn matches(expression: &str, text: &str) -> Result<bool> {
    let expression = Regex::new(expression).map_err(|e| Error::new(e.to_string()))?;
    Ok(expression.is_match(text))
}

async fn status(url: &str) -> Option<String> {
    let url = format!("{url}/status");
    let asked = tokio::task::spawn_blocking(move || {
        let mut answer = ureq::get(url).call().ok()?;
        answer.body_mut().read_to_string().ok()
    });
    asked.await.ok().flatten()
}
