//! A `shardlift migrate` that is started again, with the same arguments,
//! whenever it ends in a way that a restart is the remedy for; and begun anew, or
//! whatever else its error says, where it rightly refuses to go on.
//!
//! Knows nothing about why it ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::engine::life::{Life, Refusals};
use crate::error::{Error, Result};
use crate::faults::record::Record;

const POLL: Duration = Duration::from_millis(50);
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// A frozen engine takes a connection and says nothing.
const STATUS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The engine ends with its drop.
pub struct Keeper {
    life: Arc<Mutex<Life>>,
    _tasks: JoinSet<()>,
}

impl Keeper {
    /// Starts it; `arguments` must let it take a free port for its API. Only where it
    /// `may_refuse` a refusal is met with its remedy.
    pub fn start(
        program: &Path,
        arguments: Vec<String>,
        work: &Path,
        record: Arc<Record>,
        may_refuse: bool,
    ) -> Result<Keeper> {
        let mut life = Life::new(program, arguments, work, record, may_refuse);
        life.start()?;
        let life = Arc::new(Mutex::new(life));
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(life.clone()));
        tasks.spawn(ask(life.clone()));
        Ok(Keeper {
            life,
            _tasks: tasks,
        })
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
        let silent = if life.api.is_some() {
            "silent"
        } else {
            "starting"
        };
        match (&life.outcome, &life.child, &life.status) {
            (Some(Ok(())), ..) => "done".to_owned(),
            (_, None, _) => "down".to_owned(),
            (_, _, Some(status)) => status.phase.clone(),
            (_, _, None) => silent.to_owned(),
        }
    }

    /// The API's address, where it has one now.
    pub fn url(&self) -> Option<String> {
        lock(&self.life)
            .api
            .as_ref()
            .map(|api| api.url().to_owned())
    }

    pub fn starts(&self) -> u64 {
        lock(&self.life).starts
    }

    /// Ends so far, by code or signal.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        lock(&self.life).ends.clone()
    }

    /// How long ago the run was begun, for the last time.
    pub fn age(&self) -> Duration {
        let life = lock(&self.life);
        let last = life.refusals.as_ref().and_then(|refusals| refusals.last);
        last.map_or(Duration::MAX, |last| last.elapsed())
    }

    pub fn refusals(&self) -> Option<Refusals> {
        lock(&self.life).refusals.clone()
    }

    /// Cutovers that were begun and called off.
    pub fn called_off(&self) -> u64 {
        lock(&self.life).called_off
    }

    /// What stands in the way of a cutover, as its API told last.
    pub fn obstacles(&self) -> Vec<String> {
        lock(&self.life)
            .status
            .as_ref()
            .map(|status| status.obstacles.clone())
            .unwrap_or_default()
    }

    /// # Errors
    /// If it ended in a way that no restart helps, or is done already.
    pub fn ensure_well(&self) -> Result<()> {
        match &lock(&self.life).outcome {
            None => Ok(()),
            Some(Err(e)) => Err(e.clone()),
            Some(Ok(())) => Err(Error::new(
                "the engine was done before it was told to cut over",
            )),
        }
    }

    /// Waits until the API tells `phase`.
    ///
    /// # Errors
    /// As `ensure_well`; or if it takes longer than `patience`.
    pub async fn until_phase(&self, phase: &str, patience: Duration) -> Result<()> {
        self.until(phase, patience, |now| now == phase).await
    }

    /// Waits until the API tells a phase that `fits`; `what` names it.
    ///
    /// # Errors
    /// As `ensure_well`; or if it takes longer than `patience`.
    pub async fn until(
        &self,
        what: &str,
        patience: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        while !fits(&self.phase()) {
            self.ensure_well()?;
            if patience <= began.elapsed() {
                // It locks too: before what tells the log.
                let phase = self.phase();
                return Err(self.explain(&format!("not {what} after {patience:?}, but {phase}")));
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
        lock(&self.life)
            .outcome
            .clone()
            .transpose()
            .map(|done| done.is_some())
    }

    /// Adds the end of the log to what went wrong.
    pub fn explain(&self, message: &str) -> Error {
        lock(&self.life).explain(message)
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
                life.note_status(status.ok().and_then(Result::ok));
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
    use std::fs;

    use shardlift::pair::write::missed::FOUND_NOTHING;

    use super::*;

    /// A shell that ends as `script` says; `$1` is a file it may count in.
    fn keep_shell(dir: &Path, script: &str, may_refuse: bool) -> Keeper {
        let counter = dir.join("count").display().to_string();
        let arguments = ["-c", script, "engine", &counter, "migrate"]
            .map(str::to_owned)
            .to_vec();
        Keeper::start(
            Path::new("/bin/sh"),
            arguments,
            dir,
            Arc::new(Record::new(Box::new(std::io::sink()))),
            may_refuse,
        )
        .unwrap()
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
        let script =
            "echo x >> $1; case $(wc -l < $1) in 1) exit 9;; 2) kill -KILL $$;; *) exit 0;; esac";
        let keeper = keep_shell(dir.path(), script, false);
        assert!(outcome(&keeper).await.unwrap());
        assert_eq!((keeper.starts(), keeper.phase().as_str()), (3, "done"));
        assert_eq!(
            keeper.ends().into_keys().collect::<Vec<_>>(),
            ["code 0", "code 9", "signal 9"]
        );
    }

    #[tokio::test]
    async fn an_end_is_not_good_if_a_write_missed() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keep_shell(
            dir.path(),
            &format!("echo '{FOUND_NOTHING}' >&2; exit 0"),
            false,
        );
        let error = outcome(&keeper).await.unwrap_err();
        assert!(error.message.contains("found nothing to change"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_is_met_with_what_its_error_says() {
        let dir = tempfile::tempdir().unwrap();
        let refuse = |what: &str| {
            format!(
                "printf 'error: owners changed during the run\\n  what to do: {what}\\n' >&2; exit 6"
            )
        };
        let (anew, shard) = (refuse("start over"), refuse("recopy --shard s1"));
        let script = format!(
            "echo \"$@\" >> $1; case $(wc -l < $1) in 1) {anew};; 2) exit 9;; 3) {shard};; *) exit 0;; esac"
        );
        let keeper = keep_shell(dir.path(), &script, true);
        assert!(outcome(&keeper).await.unwrap());
        let seen = fs::read_to_string(dir.path().join("count")).unwrap();
        let after = |line: &str| line.split_once("/count ").unwrap().1.to_owned();
        let starts: Vec<String> = seen.lines().map(after).collect();
        // With `--restart` until it copies, which this one never does.
        let anew = "migrate --restart";
        assert_eq!(
            starts,
            ["migrate", anew, anew, "recopy --shard s1", "migrate"]
        );
        let refusals = keeper.refusals().unwrap();
        assert_eq!(
            (
                refusals.counts["owners changed"],
                refusals.begun_anew,
                refusals.shards_begun_anew
            ),
            (2, 1, 1)
        );
    }

    #[tokio::test]
    async fn a_phase_that_does_not_come_is_an_error_and_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keep_shell(dir.path(), "echo here >&2; sleep 60", false);
        let waited = keeper
            .until_phase("ready", Duration::from_millis(300))
            .await;
        let error = waited.unwrap_err();
        assert!(error.message.contains("not ready"), "{error}");
    }

    #[tokio::test]
    async fn an_end_that_no_restart_helps_is_told_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keep_shell(dir.path(), "echo no good >&2; exit 6", false);
        let error = outcome(&keeper).await.unwrap_err();
        assert!(
            error.message.contains("code 6") && error.message.contains("no good"),
            "{error}"
        );
        assert_eq!(keeper.starts(), 1);
    }
}
