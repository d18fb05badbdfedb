//! The engine under measurement: started and stopped as an operator would, asked
//! for its state every few milliseconds.
//!
//! Knows it by its command line and its API.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bench::ground::{Ground, log_tail};
use crate::bench::process::{self, Meter, Used};
use crate::cluster::ReplicaSet;
use crate::engine::api::{Api, Status};
use crate::engine::arguments;
use crate::engine::child::Child;
use crate::engine::program;
use crate::error::{Error, Result};

/// Between two looks at its state; what is timed is off by at most two of them.
pub(super) const POLL: Duration = Duration::from_millis(20);
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// From the signal to the end: the last checkpoints, and an API that lingers.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an engine that runs may not answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// After a signal that stopped it at a checkpoint.
const EXIT_STOPPED: i32 = 130;
/// After which an engine that is ready and moves nothing has nothing left.
const IDLE: Duration = Duration::from_secs(5);
const LAG_SMALL_MS: u64 = 1_000;

pub(super) struct Engine {
    child: Child,
    api: Api,
    log: PathBuf,
}

/// A stretch of the engine's work, from just before it was seen to begin.
#[derive(Debug, Clone, Default)]
pub(super) struct Stretch {
    /// CPU of the engine, then of the processes that were given.
    pub(super) used: Used,
    /// `(s, documents or ops so far)` and `(s, lag in ms)`.
    pub(super) counts: Vec<(f64, f64)>,
    pub(super) lags: Vec<(f64, f64)>,
}

impl Engine {
    /// Starts it, or goes on with the run that is on the target; returns when it
    /// has an API.
    pub(super) async fn start(
        ground: &Ground,
        source: &ReplicaSet,
        target: &ReplicaSet,
    ) -> Result<Engine> {
        let log = ground.next_log();
        let mut arguments =
            arguments::migrate(&source.uri(), &target.uri(), &ground.common.engine_args);
        arguments.extend([
            "--spool-dir".to_owned(),
            ground.spool().display().to_string(),
        ]);
        let mut child = program::start(&ground.program, arguments, Stdio::null(), &log)?;
        let began = Instant::now();
        loop {
            if let Some(url) = program::api_url(&program::log_text(&log)) {
                return Ok(Engine {
                    child,
                    api: Api::new(url),
                    log,
                });
            }
            if child.ended()?.is_some() || API_TIMEOUT <= began.elapsed() {
                return Err(Error::new(format!(
                    "the engine has no API; its log ends with:\n  {}",
                    log_tail(&log)
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn rss_peak_mb(&self) -> Result<f64> {
        process::rss_peak_mb(self.pid())
    }

    /// # Errors
    /// Where the run failed, the process ended or is silent for too long.
    pub(super) async fn status(&mut self) -> Result<Status> {
        let began = Instant::now();
        loop {
            match self.api.status().await {
                Ok(status)
                    if matches!(
                        status.phase.as_str(),
                        "failed" | "cancelled" | "parked" | "stopped"
                    ) =>
                {
                    let reason = status.error.unwrap_or_default();
                    return Err(self.explain(format!("the engine {}: {reason}", status.phase)));
                }
                Ok(status) => return Ok(status),
                Err(e) => {
                    if self.child.ended()?.is_some() || SILENCE_MAX <= began.elapsed() {
                        return Err(self.explain(format!("the engine does not answer: {e}")));
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// The copy: from the last look at which it was `validating` or in `layout`
    /// and had copied no document, to the first at which the phase is past
    /// `copying` (all units copied; index builds may go on).
    pub(super) async fn copy(&mut self, servers: &[u32], patience: Duration) -> Result<Stretch> {
        let mut start = self
            .begin(servers, |status| status.sum(|pair| pair.documents_copied))
            .await?;
        let mut stretch = Stretch::default();
        loop {
            let status = self.status().await?;
            let seconds = start.meter.seconds();
            stretch
                .counts
                .push((seconds, status.sum(|pair| pair.documents_copied) as f64));
            if !matches!(status.phase.as_str(), "validating" | "layout" | "copying") {
                stretch.used = start.meter.used()?;
                return Ok(stretch);
            }
            start.ensure(patience, || {
                self.explain(format!("the copy is not done after {seconds:.0} s"))
            })?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Following `ops` ops that wait on the source: from the last look at which it
    /// was `validating` or in `layout` and had read no oplog entry, to the first
    /// at which all of them are applied (acknowledged by the target). Where fewer
    /// are ever counted, to the last one.
    pub(super) async fn follow(
        &mut self,
        ops: u64,
        servers: &[u32],
        patience: Duration,
    ) -> Result<Stretch> {
        let mut start = self
            .begin(servers, |status| status.sum(|pair| pair.entries_read))
            .await?;
        let mut stretch = Stretch::default();
        let (mut applied_before, mut moved) = (0, Instant::now());
        loop {
            let status = self.status().await?;
            let (seconds, applied) = (start.meter.seconds(), status.sum(|pair| pair.ops_applied));
            stretch.counts.push((seconds, applied as f64));
            stretch.lags.push((seconds, status.lag_ms as f64));
            if applied_before < applied {
                (applied_before, moved) = (applied, Instant::now());
                stretch.used = start.meter.used()?;
            }
            if ops <= applied {
                return Ok(stretch);
            }
            let caught_up = status.phase == "ready" && status.lag_ms < LAG_SMALL_MS;
            if caught_up && IDLE <= moved.elapsed() {
                eprintln!("          the engine counts {applied} of {ops} ops");
                return Ok(stretch);
            }
            start.ensure(patience, || {
                self.explain(format!(
                    "{applied} of {ops} ops applied after {seconds:.0} s"
                ))
            })?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it moves, or `moved` counts something.
    async fn begin(&mut self, servers: &[u32], moved: impl Fn(&Status) -> u64) -> Result<Start> {
        let pids: Vec<u32> = [self.pid()]
            .into_iter()
            .chain(servers.iter().copied())
            .collect();
        let mut meter = Meter::now(&pids)?;
        loop {
            let looked = Meter::now(&pids)?;
            let status = self.status().await?;
            if !matches!(status.phase.as_str(), "validating" | "layout") || 0 < moved(&status) {
                return Ok(Start {
                    meter,
                    began: Instant::now(),
                });
            }
            meter = looked;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for `phase`, with a lag below a second.
    pub(super) async fn until(&mut self, phase: &str, patience: Duration) -> Result<Status> {
        let began = Instant::now();
        loop {
            let status = self.status().await?;
            if status.phase == phase && status.lag_ms < LAG_SMALL_MS {
                return Ok(status);
            }
            if patience <= began.elapsed() {
                let found = format!(
                    "not {phase} but {} after {patience:?}, lag {} ms",
                    status.phase, status.lag_ms
                );
                return Err(self.explain(found));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until all is verified ahead; s it took.
    pub(super) async fn until_verified(&mut self, patience: Duration) -> Result<f64> {
        let began = Instant::now();
        while began.elapsed() < patience {
            let status = self.status().await?;
            if !status.pairs.is_empty() && status.pairs.iter().all(|pair| pair.verified) {
                return Ok(began.elapsed().as_secs_f64());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(self.explain(format!("not all is verified ahead after {patience:?}")))
    }

    /// Ops applied since this start.
    pub(super) async fn applied(&mut self) -> Result<u64> {
        Ok(self.status().await?.sum(|pair| pair.ops_applied))
    }

    /// Waits until `ops` are applied since this start: a small lag is not none.
    pub(super) async fn until_applied(&mut self, ops: u64, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let applied = self.applied().await?;
            if ops <= applied {
                return Ok(());
            }
            if patience <= began.elapsed() {
                return Err(
                    self.explain(format!("{applied} of {ops} ops applied after {patience:?}"))
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// By SIGTERM: it leaves a checkpoint from which the next start goes on.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.child.signal(libc::SIGTERM);
        let began = Instant::now();
        loop {
            match self.child.ended()? {
                Some(status) if status.code() == Some(EXIT_STOPPED) => return Ok(()),
                Some(status) => {
                    return Err(
                        self.explain(format!("the engine ended by {status} when it was stopped"))
                    );
                }
                None if STOP_TIMEOUT <= began.elapsed() => {
                    return Err(self.explain(format!(
                        "the engine still runs {STOP_TIMEOUT:?} after SIGTERM"
                    )));
                }
                // It lingers until its last state was asked for.
                None => _ = (self.api.status().await, tokio::time::sleep(POLL).await),
            }
        }
    }

    /// Adds the end of its log.
    pub(super) fn explain(&self, message: String) -> Error {
        Error::new(format!(
            "{message}\nits log ends with:\n  {}",
            log_tail(&self.log)
        ))
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    /// Waits for the end of a run that is done.
    pub(super) async fn done(mut self) -> Result<()> {
        let ended = self.child.success(Some(STOP_TIMEOUT)).await;
        ended.map_err(|e| self.explain(e.message))
    }
}

struct Start {
    meter: Meter,
    began: Instant,
}

impl Start {
    fn ensure(&mut self, patience: Duration, error: impl FnOnce() -> Error) -> Result<()> {
        if self.began.elapsed() < patience {
            Ok(())
        } else {
            Err(error())
        }
    }
}
