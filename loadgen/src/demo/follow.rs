//! Watches a migration from its start to done: status lines and the load's rate
//! until it is ready, then the end of the writes and the cutover.
//!
//! Knows nothing about servers.

use std::time::{Duration, Instant};

use crate::demo::engine::{Engine, Summary};
use crate::demo::narrate::{Narrator, grouped};
use crate::demo::rate::Rates;
use crate::engine::api::{Api, Status};
use crate::error::{Error, Result};
use crate::load::{LoadHandle, LoadReport};

const POLL: Duration = Duration::from_millis(200);
/// While the cutover is timed.
const CUTOVER_POLL: Duration = Duration::from_millis(10);
const LINE_INTERVAL: Duration = Duration::from_secs(2);
/// How long the engine must have been ready, and followed in all, before the
/// cutover: long enough to be seen.
const READY_MIN: Duration = Duration::from_secs(3);
const FOLLOWED_MIN: Duration = Duration::from_secs(10);
/// How long an engine that runs may not answer.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Bound of the way to ready, with what follows for every document.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
const DOCUMENTS_PER_S_MIN: u64 = 2_000;
/// Longer than the engine's own bound.
const CUTOVER_TIMEOUT: Duration = Duration::from_secs(180);
/// Over which the lowest rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// What came of it.
pub(super) struct Moved {
    pub(super) summary: Summary,
    pub(super) load: LoadReport,
    /// Lowest rate of the load while migrating, over any 5 s.
    pub(super) writes_per_s_min: f64,
    /// Of the copy, as seen from outside.
    pub(super) copy_s: f64,
    /// From the answer to the last write until the engine said done.
    pub(super) cutover_ms: u64,
    pub(super) engine_cutover_ms: u64,
}

pub(super) struct Follow<'a> {
    engine: &'a mut Engine,
    load: LoadHandle,
    tell: &'a Narrator,
    began: Instant,
    ready_timeout: Duration,
    rates: Rates,
}

impl<'a> Follow<'a> {
    /// `docs` tells how long it may take.
    pub(super) fn new(
        engine: &'a mut Engine,
        load: LoadHandle,
        docs: u64,
        tell: &'a Narrator,
    ) -> Self {
        let ready_timeout = READY_TIMEOUT + Duration::from_secs(docs / DOCUMENTS_PER_S_MIN);
        Follow {
            engine,
            load,
            tell,
            began: Instant::now(),
            ready_timeout,
            rates: Rates::default(),
        }
    }

    pub(super) async fn finish(mut self) -> Result<Moved> {
        // What happened before is no part of the lines to come.
        self.load.lap();
        let api = self.engine.api().await?;
        let copy_s = self.until_ready(&api).await?;
        self.tell.step("ready; stopping the writes".to_owned());
        let Follow {
            engine,
            load,
            tell,
            rates,
            ..
        } = self;
        let load = load.stop().await;
        let stopped = Instant::now();
        tell.step("cutover: asked for with POST /cutover".to_owned());
        let engine_cutover_ms = cut_over(engine, &api, stopped, tell).await?;
        let cutover_ms = stopped.elapsed().as_millis() as u64;
        tell.detail(format!(
            "done {cutover_ms} ms after the last write; waiting for late writes"
        ));
        let writes_per_s_min = rates.lowest(RATE_WINDOW);
        let summary = engine.summary().await?;
        Ok(Moved {
            summary,
            load,
            writes_per_s_min,
            copy_s,
            cutover_ms,
            engine_cutover_ms,
        })
    }

    /// Seconds that the copy took.
    async fn until_ready(&mut self, api: &Api) -> Result<f64> {
        let mut copy = Span::default();
        let mut ready: Option<Instant> = None;
        let mut told = Instant::now();
        while self.began.elapsed() < self.ready_timeout {
            self.rates.add(self.began.elapsed(), self.load.ops());
            let status = status(self.engine, api).await?;
            copy.see(&status.phase);
            match status.phase.as_str() {
                "ready" => ready = ready.or(Some(Instant::now())),
                _ => ready = None,
            }
            if LINE_INTERVAL <= told.elapsed() {
                told = Instant::now();
                self.tell_status(&status);
            }
            let was_ready = ready.is_some_and(|since| READY_MIN <= since.elapsed());
            if was_ready && FOLLOWED_MIN <= self.began.elapsed() {
                return Ok(copy.seconds());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::new(format!(
            "not ready after {:.0} s",
            self.began.elapsed().as_secs_f64()
        )))
    }

    fn tell_status(&mut self, status: &Status) {
        let load = self.load.lap();
        let copied = status.sum(|pair| pair.documents_copied);
        let mut line = format!("{:<9} {} documents", status.phase, grouped(copied));
        if status.phase == "copying" {
            line += &format!(
                " of {}",
                grouped(status.sum(|pair| pair.documents_total).max(copied))
            );
        }
        line += &format!(
            ", {} ops applied, lag {} ms",
            grouped(status.sum(|pair| pair.ops_applied)),
            status.lag_ms
        );
        let (built, total) = (
            status.sum(|pair| pair.indexes_built),
            status.sum(|pair| pair.indexes_total),
        );
        if 0 < total && built < total && status.phase != "copying" {
            line += &format!(", indexes {built} of {total}");
        }
        let p99_ms = load.total.p99_us as f64 / 1e3;
        line += &format!(
            " | load {} writes/s, p99 {p99_ms:.0} ms",
            grouped(load.rate.round() as u64)
        );
        if 0 < self.load.errors() {
            line += &format!(", {} ERRORS", self.load.errors());
        }
        self.tell.detail(line);
    }
}

/// Asks until it is done, again where it was called off; the engine's own
/// measure, ms.
async fn cut_over(
    engine: &mut Engine,
    api: &Api,
    stopped: Instant,
    tell: &Narrator,
) -> Result<u64> {
    while stopped.elapsed() < CUTOVER_TIMEOUT {
        let given_up = status(engine, api).await?.cutovers_given_up;
        if let Err(refusal) = api.cutover().await? {
            tell.detail(format!("refused: {}", refusal.trim()));
            tokio::time::sleep(POLL).await;
            continue;
        }
        loop {
            let now = status(engine, api).await?;
            if now.phase == "done" {
                return Ok(now.cutover_ms.unwrap_or_default());
            }
            if given_up < now.cutovers_given_up {
                tell.detail(format!(
                    "called off: {}",
                    now.last_cutover.unwrap_or_default()
                ));
                break;
            }
            if CUTOVER_TIMEOUT <= stopped.elapsed() {
                break;
            }
            tokio::time::sleep(CUTOVER_POLL).await;
        }
    }
    Err(Error::new(format!(
        "the cutover is not done {:.0} s after the last write",
        stopped.elapsed().as_secs_f64()
    )))
}

/// # Errors
/// Where the run failed, the process ended or is silent for too long.
async fn status(engine: &mut Engine, api: &Api) -> Result<Status> {
    let began = Instant::now();
    loop {
        match api.status().await {
            Ok(status) if matches!(status.phase.as_str(), "failed" | "cancelled") => {
                let reason = status.error.unwrap_or_default();
                return Err(Error::new(format!(
                    "the migration {}: {reason}",
                    status.phase
                )));
            }
            Ok(status) => return Ok(status),
            Err(e) => {
                engine.ensure_running()?;
                if SILENCE_MAX <= began.elapsed() {
                    return Err(e);
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// When the copy was seen to begin and to end.
#[derive(Default)]
struct Span {
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Span {
    fn see(&mut self, phase: &str) {
        match phase {
            "validating" | "layout" => (),
            "copying" => self.began = self.began.or(Some(Instant::now())),
            _ => self.ended = self.ended.or(Some(Instant::now())),
        }
    }

    fn seconds(&self) -> f64 {
        match (self.began, self.ended) {
            (Some(began), Some(ended)) => (ended - began).as_secs_f64(),
            // Shorter than the time between two looks.
            _ => POLL.as_secs_f64(),
        }
    }
}
