//! A `shardlift migrate` that is started again, with the same arguments,
//! whenever it ends in a way that a restart is the remedy for.
//!
//! Knows nothing about why it ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use shardlift::pair::missed::FOUND_NOTHING;

use crate::engine::api::{Api, Status};
use crate::engine::child::Child;
use crate::engine::program::{self, REMEDY};
use crate::error::{Error, Result};
use crate::faults::record::Record;

/// A server could not be reached, or failed; parked; stopped by a signal.
const RESTART_CODES: [i32; 4] = [3, 5, 9, 130];
/// Between an end and the next start.
const RESTART_PAUSE: Duration = Duration::from_millis(700);
const POLL: Duration = Duration::from_millis(50);
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// A frozen engine takes a connection and says nothing.
const STATUS_TIMEOUT: Duration = Duration::from_millis(1_500);
const TAIL_LINES: usize = 40;

/// The engine ends with its drop.
pub struct Keeper {
    life: Arc<Mutex<Life>>,
    _tasks: JoinSet<()>,
}

/// What is known of the engine now.
struct Life {
    program: PathBuf,
    arguments: Vec<String>,
    /// Holds a log for each start.
    work: PathBuf,
    record: Arc<Record>,
    child: Option<Child>,
    started: Instant,
    ended: Instant,
    starts: u64,
    api: Option<Api>,
    status: Option<Status>,
    /// Ends so far, by code or signal.
    ends: BTreeMap<String, u64>,
    /// None while it is to run on.
    outcome: Option<Result<()>>,
}

impl Keeper {
    /// Starts it; `arguments` must let it take a free port for its API.
    pub fn start(program: &Path, arguments: Vec<String>, work: &Path, record: Arc<Record>) -> Result<Keeper> {
        let now = Instant::now();
        let mut life = Life {
            program: program.to_owned(),
            arguments,
            work: work.to_owned(),
            record,
            child: None,
            started: now,
            ended: now,
            starts: 0,
            api: None,
            status: None,
            ends: BTreeMap::new(),
            outcome: None,
        };
        life.start()?;
        let life = Arc::new(Mutex::new(life));
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(life.clone()));
        tasks.spawn(ask(life.clone()));
        Ok(Keeper { life, _tasks: tasks })
    }

    /// To the running process; nothing where there is none.
    pub fn signal(&self, signal: libc::c_int) {
        if let Some(child) = &mut lock(&self.life).child {
            child.signal(signal);
        }
    }

    /// How long the running process lives.
    pub fn life(&self) -> Option<Duration> {
        let life = lock(&self.life);
        life.child.as_ref().map(|_| life.started.elapsed())
    }

    /// As its API told it last; `down` without a process, `starting` without an
    /// API, `silent` where the API does not answer.
    pub fn phase(&self) -> String {
        let life = lock(&self.life);
        let silent = if life.api.is_some() { "silent" } else { "starting" };
        match (&life.outcome, &life.child, &life.status) {
            (Some(Ok(())), ..) => "done".to_owned(),
            (_, None, _) => "down".to_owned(),
            (_, _, Some(status)) => status.phase.clone(),
            (_, _, None) => silent.to_owned(),
        }
    }

    /// The API's address, where it has one now.
    pub fn url(&self) -> Option<String> {
        lock(&self.life).api.as_ref().map(|api| api.url().to_owned())
    }

    pub fn starts(&self) -> u64 {
        lock(&self.life).starts
    }

    /// Ends so far, by code or signal.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        lock(&self.life).ends.clone()
    }

    /// # Errors
    /// If it ended in a way that no restart helps, or is done already.
    pub fn ensure_well(&self) -> Result<()> {
        match &lock(&self.life).outcome {
            None => Ok(()),
            Some(Err(e)) => Err(e.clone()),
            Some(Ok(())) => Err(Error::new("the engine was done before it was told to cut over")),
        }
    }

    /// Waits until the API tells `phase`.
    ///
    /// # Errors
    /// As `ensure_well`; or if it takes longer than `patience`.
    pub async fn until_phase(&self, phase: &str, patience: Duration) -> Result<()> {
        let began = Instant::now();
        while self.phase() != phase {
            self.ensure_well()?;
            if patience <= began.elapsed() {
                let found = lock(&self.life).explain(&format!("not {phase} after {patience:?}, but {}", self.phase()));
                return Err(found);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// True once it has ended with code 0.
    ///
    /// # Errors
    /// If it ended in a way that no restart helps.
    pub fn is_done(&self) -> Result<bool> {
        lock(&self.life).outcome.clone().transpose().map(|done| done.is_some())
    }

    /// Adds the end of the log to what went wrong.
    pub fn explain(&self, message: &str) -> Error {
        lock(&self.life).explain(message)
    }
}

impl Life {
    fn start(&mut self) -> Result<()> {
        self.starts += 1;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.log())?);
        let child = Child::start(command, &self.program.display().to_string());
        self.child = Some(child.map_err(|e| e.remedy(REMEDY))?);
        self.started = Instant::now();
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.work.join(format!("shardlift-{}.log", self.starts))
    }

    fn log_text(&self) -> String {
        // Read while it is written: the last character may be a part of one.
        String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// Looks whether it ended, and starts it again.
    fn tend(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child {
            if let Some(status) = child.ended()? {
                self.note_end(status);
            } else if self.api.is_none() {
                self.api = program::api_url(&self.log_text()).map(Api::new);
            }
        } else if self.outcome.is_none() && RESTART_PAUSE <= self.ended.elapsed() {
            self.start()?;
        }
        Ok(())
    }

    fn note_end(&mut self, status: ExitStatus) {
        let how = status
            .signal()
            .map_or_else(|| format!("code {}", status.code().unwrap_or_default()), |signal| format!("signal {signal}"));
        let life_s = self.started.elapsed().as_secs_f64();
        self.record.tell("engine ended", json!({"how": how, "life_s": life_s, "start": self.starts}));
        if self.log_text().contains(FOUND_NOTHING) {
            self.outcome = Some(Err(self.explain("a write of the engine found nothing to change")));
        } else if status.success() {
            self.outcome = Some(Ok(()));
        } else if status.code().is_some_and(|code| !RESTART_CODES.contains(&code)) {
            self.outcome = Some(Err(self.explain(&format!("the engine ended with {how}, which no restart helps"))));
        }
        *self.ends.entry(how).or_default() += 1;
        (self.child, self.api, self.status) = (None, None, None);
        self.ended = Instant::now();
    }

    fn explain(&self, message: &str) -> Error {
        let tail = program::tail(&self.log_text(), TAIL_LINES);
        Error::new(format!("{message}\nthe engine's log (start {}) ends with:\n  {tail}", self.starts))
            .remedy(format!("see the logs of all its starts in {}", self.work.display()))
    }
}

async fn keep(life: Arc<Mutex<Life>>) {
    loop {
        let tended = lock(&life).tend();
        if let Err(e) = tended {
            lock(&life).outcome = Some(Err(e));
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn ask(life: Arc<Mutex<Life>>) {
    loop {
        let (api, start) = {
            let life = lock(&life);
            (life.api.clone(), life.starts)
        };
        if let Some(api) = api {
            let status = tokio::time::timeout(STATUS_TIMEOUT, api.status()).await;
            let mut life = lock(&life);
            if life.starts == start && life.child.is_some() {
                life.status = status.ok().and_then(Result::ok);
            }
        }
        tokio::time::sleep(STATUS_INTERVAL).await;
    }
}

/// Never held across an await.
fn lock(life: &Mutex<Life>) -> MutexGuard<'_, Life> {
    life.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that ends as `script` says; `$1` is a file it may count in.
    fn keep_shell(dir: &Path, script: &str) -> Keeper {
        let counter = dir.join("count").display().to_string();
        let arguments = vec!["-c".to_owned(), script.to_owned(), "engine".to_owned(), counter];
        Keeper::start(Path::new("/bin/sh"), arguments, dir, Arc::new(Record::new(Box::new(std::io::sink())))).unwrap()
    }

    async fn outcome(keeper: &Keeper) -> Result<bool> {
        let began = Instant::now();
        loop {
            match keeper.is_done() {
                Ok(false) => assert!(began.elapsed() < Duration::from_secs(20)),
                ended => return ended,
            }
            tokio::time::sleep(POLL).await;
        }
    }

    #[tokio::test]
    async fn it_is_started_again_until_it_ends_well() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo x >> $1; case $(wc -l < $1) in 1) exit 9;; 2) kill -KILL $$;; *) exit 0;; esac";
        let keeper = keep_shell(dir.path(), script);
        assert!(outcome(&keeper).await.unwrap());
        assert_eq!((keeper.starts(), keeper.phase().as_str()), (3, "done"));
        assert_eq!(keeper.ends().into_keys().collect::<Vec<_>>(), ["code 0", "code 9", "signal 9"]);
    }

    #[tokio::test]
    async fn an_end_is_not_good_if_a_write_missed() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keep_shell(dir.path(), &format!("echo '{FOUND_NOTHING}' >&2; exit 0"));
        let error = outcome(&keeper).await.unwrap_err();
        assert!(error.message.contains("found nothing to change"), "{error}");
    }

    #[tokio::test]
    async fn an_end_that_no_restart_helps_is_told_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keep_shell(dir.path(), "echo no good >&2; exit 6");
        let error = outcome(&keeper).await.unwrap_err();
        assert!(error.message.contains("code 6") && error.message.contains("no good"), "{error}");
        assert_eq!(keeper.starts(), 1);
    }
}
