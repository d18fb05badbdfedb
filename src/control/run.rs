//! The state of one run that operators see: phase, warnings, outcome. Every
//! snapshot is made here.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::observe::counters::{PairMetrics, PairSnapshot};
use crate::observe::obstacles::Obstacles;
use crate::observe::phase::Phase;
use crate::observe::status::Snapshot;

/// One run. Cheap to share; every lock is short.
#[derive(Debug)]
pub struct Run {
    started: Instant,
    /// Obstacles that do not belong to a single pair.
    pub obstacles: Obstacles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    id: String,
    phase: Phase,
    pairs: Vec<(String, Arc<PairMetrics>)>,
    /// Warnings, each with its subject if it may pass some day.
    warnings: Vec<(String, String)>,
    last_cutover: Option<String>,
    paused: Option<String>,
    /// End of the cutover window, ms since 1970.
    window_ends_ms: Option<u64>,
    /// Connection strings without credentials.
    source: String,
    target: String,
    error: Option<String>,
    cutover_ms: Option<u64>,
    cutovers_given_up: u64,
    recoveries: u64,
}

impl Run {
    pub fn new() -> Arc<Self> {
        let state = State {
            id: bson::oid::ObjectId::new().to_hex(),
            phase: Phase::Validating,
            pairs: Vec::new(),
            warnings: Vec::new(),
            last_cutover: None,
            paused: None,
            window_ends_ms: None,
            source: String::new(),
            target: String::new(),
            error: None,
            cutover_ms: None,
            cutovers_given_up: 0,
            recoveries: 0,
        };
        Arc::new(Run {
            started: Instant::now(),
            obstacles: Obstacles::default(),
            state: Mutex::new(state),
        })
    }

    pub fn id(&self) -> String {
        self.state.lock().id.clone()
    }

    /// Goes on with an earlier run.
    pub fn take_up(&self, id: &str) {
        self.state.lock().id = id.to_owned();
    }

    /// Connection strings without credentials.
    pub fn moves(&self, source: String, target: String) {
        let mut state = self.state.lock();
        (state.source, state.target) = (source, target);
    }

    /// Who paused the run; None: it goes on.
    pub fn set_paused(&self, by: Option<String>) {
        self.state.lock().paused = by;
    }

    /// ms since 1970.
    pub fn set_window(&self, ends_ms: Option<u64>) {
        self.state.lock().window_ends_ms = ends_ms;
    }

    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    pub fn enter(&self, phase: Phase) {
        let before = std::mem::replace(&mut self.state.lock().phase, phase);
        if before != phase {
            tracing::info!("phase: {phase}");
        }
    }

    /// The counters of a pair, which go on over attempts.
    pub fn metrics_of(&self, name: &str) -> Arc<PairMetrics> {
        let state = self.state.lock();
        let known = state.pairs.iter().find(|(known, _)| known == name);
        known
            .map(|(_, metrics)| metrics.clone())
            .unwrap_or_default()
    }

    pub fn set_pairs(&self, pairs: Vec<(String, Arc<PairMetrics>)>) {
        self.state.lock().pairs = pairs;
    }

    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        tracing::warn!("{warning}");
        self.state.lock().warnings.push((String::new(), warning));
    }

    /// Shows a warning while there is a text; `about` names it. Logged when it appears.
    pub fn warn_while(&self, about: &str, warning: Option<String>) {
        let mut state = self.state.lock();
        let stands = state.warnings.iter().position(|(known, _)| known == about);
        match (stands, warning) {
            (Some(at), Some(warning)) => state.warnings[at].1 = warning,
            (Some(at), None) => drop(state.warnings.remove(at)),
            (None, Some(warning)) => {
                tracing::warn!("{warning}");
                state.warnings.push((about.to_owned(), warning));
            }
            (None, None) => {}
        }
    }

    /// Unless it was said before.
    pub fn warn_once(&self, warning: String) {
        if !self
            .state
            .lock()
            .warnings
            .iter()
            .any(|(_, known)| *known == warning)
        {
            self.warn(warning);
        }
    }

    pub fn warnings(&self) -> Vec<String> {
        self.state
            .lock()
            .warnings
            .iter()
            .map(|(_, warning)| warning.clone())
            .collect()
    }

    pub fn fail(&self, phase: Phase, error: String) {
        self.enter(phase);
        self.state.lock().error = Some(error);
    }

    /// Notes that an attempt ended. Another will resume from the last checkpoint.
    pub fn recovers_from(&self, error: &str) {
        tracing::warn!("going back to the last checkpoint: {error}");
        self.state.lock().recoveries += 1;
        self.enter(Phase::Recovering);
    }

    pub fn called_off(&self, reason: String) {
        tracing::warn!("{reason}");
        let mut state = self.state.lock();
        state.last_cutover = Some(reason);
        state.cutovers_given_up += 1;
    }

    pub fn cut_over(&self, cutover_ms: u64) {
        let mut state = self.state.lock();
        state.cutover_ms = Some(cutover_ms);
        state.last_cutover = None;
    }

    /// Sum of one counter over all pairs.
    pub fn sum(&self, counter: impl Fn(&PairMetrics) -> u64) -> u64 {
        self.state
            .lock()
            .pairs
            .iter()
            .map(|(_, metrics)| counter(metrics))
            .sum()
    }

    /// Largest value of one gauge over all pairs.
    pub fn max(&self, gauge: impl Fn(&PairMetrics) -> u64) -> u64 {
        self.state
            .lock()
            .pairs
            .iter()
            .map(|(_, metrics)| gauge(metrics))
            .max()
            .unwrap_or(0)
    }

    /// All obstacles to a cutover now; those of a pair start with its name.
    pub fn all_obstacles(&self) -> Vec<String> {
        let mut all = self.obstacles.texts();
        for (name, metrics) in &self.state.lock().pairs {
            all.extend(
                metrics
                    .obstacles
                    .texts()
                    .into_iter()
                    .map(|text| format!("{name}: {text}")),
            );
        }
        all
    }

    pub fn elapsed_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub fn snapshot(&self) -> Snapshot {
        let lag_ms = self.max(|m| m.lag_ms.load(Relaxed));
        let lag_ms_max = self.max(|m| m.lag_ms_max.load(Relaxed));
        let (obstacles, warnings) = (self.all_obstacles(), self.warnings());
        let state = self.state.lock();
        // Obstacles that appeared since the phase was last updated count at once.
        let phase = match state.phase {
            Phase::Ready if !obstacles.is_empty() => Phase::Following,
            phase => phase,
        };
        Snapshot {
            run_id: state.id.clone(),
            phase,
            elapsed_s: self.elapsed_s(),
            can_cutover: phase == Phase::Ready,
            lag_ms,
            lag_ms_max,
            pairs: state
                .pairs
                .iter()
                .map(|(name, metrics)| PairSnapshot::of(name, metrics))
                .collect(),
            obstacles,
            warnings,
            last_cutover: state.last_cutover.clone(),
            paused: state.paused.clone(),
            window_left_s: state
                .window_ends_ms
                .map(|ends| ends.saturating_sub(now_ms()) / 1_000),
            source: state.source.clone(),
            target: state.target.clone(),
            error: state.error.clone(),
            cutover_ms: state.cutover_ms,
            cutovers_given_up: state.cutovers_given_up,
            recoveries: state.recoveries,
        }
    }
}

/// Wall clock, ms since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
