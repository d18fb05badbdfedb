//! The state of one run that operators see: phase, warnings, outcome. Every
//! snapshot is made here.

mod age;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::control::gap;
use crate::control::run::age::Age;
use crate::observe::counters::{PairMetrics, PairSnapshot};
use crate::observe::obstacles::Obstacles;
use crate::observe::phase::{Change, Phase};
use crate::observe::reverse::Reverse;
use crate::observe::status::Snapshot;
use crate::observe::throttled::Throttled;
use crate::observe::warnings::Warnings;
use crate::pair::throttle::Throttle;

/// One run. Cheap to share; every lock is short.
#[derive(Debug)]
pub struct Run {
    /// Obstacles that do not belong to a single pair.
    pub obstacles: Obstacles,
    /// How fast the pairs may go.
    pub throttle: Arc<Throttle>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    id: String,
    age: Age,
    phase: Phase,
    /// How it came to that phase, oldest first.
    phases: Vec<Change>,
    pairs: Vec<(String, Arc<PairMetrics>)>,
    warnings: Warnings,
    last_cutover: Option<String>,
    paused: Option<String>,
    waiting: Option<String>,
    /// End of the cutover window, ms since 1970.
    window_ends_ms: Option<u64>,
    /// Connection strings without credentials.
    source: String,
    target: String,
    error: Option<String>,
    cutover_ms: Option<u64>,
    cutovers_given_up: u64,
    recoveries: u64,
    throttled: Throttled,
    reverse: Reverse,
}

impl Run {
    pub fn new() -> Arc<Self> {
        let state = State {
            id: bson::oid::ObjectId::new().to_hex(),
            age: Age::new(now_ms()),
            phase: Phase::Validating,
            phases: vec![begun("the process has begun")],
            pairs: Vec::new(),
            warnings: Warnings::default(),
            last_cutover: None,
            paused: None,
            waiting: None,
            window_ends_ms: None,
            source: String::new(),
            target: String::new(),
            error: None,
            cutover_ms: None,
            cutovers_given_up: 0,
            recoveries: 0,
            throttled: Throttled::default(),
            reverse: Reverse::No,
        };
        Arc::new(Run {
            obstacles: Obstacles::default(),
            throttle: Arc::default(),
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

    /// Whether the recorded run has a way back, or is one.
    pub fn take_way(&self, recorded: crate::state::Reverse) {
        self.state.lock().reverse = match recorded {
            crate::state::Reverse::No | crate::state::Reverse::GivenUp => Reverse::No,
            crate::state::Reverse::Wanted => Reverse::Wanted,
            crate::state::Reverse::Itself => Reverse::Running,
        };
    }

    pub fn is_way_back(&self) -> bool {
        self.state.lock().reverse == Reverse::Running
    }

    /// What users call the side that they write to.
    pub fn in_use(&self) -> &'static str {
        if self.is_way_back() {
            "target"
        } else {
            "source"
        }
    }

    pub fn goes_back(&self) -> bool {
        self.state.lock().reverse == Reverse::Wanted
    }

    /// The way back begins: what the first run came to is over.
    pub fn turn_round(&self) {
        let mut state = self.state.lock();
        let (source, target) = (state.target.clone(), state.source.clone());
        (state.source, state.target) = (source, target);
        (state.cutover_ms, state.window_ends_ms) = (None, None);
        state.last_cutover = None;
        state.pairs.clear();
        state.phase = Phase::Validating;
        state.phases = vec![begun("the way back begins")];
        state.age.begin_anew(now_ms());
        state.reverse = Reverse::Running;
        self.set_limits(&state);
        drop(state);
        tracing::info!("the way back: the target is followed back to the source");
    }

    /// Who paused the run; None: it goes on.
    pub fn set_paused(&self, by: Option<String>) {
        self.state.lock().paused = by;
    }

    /// What a start waits for, once it takes long. Logged when it is told first.
    pub fn set_waiting(&self, waiting: Option<String>) {
        let mut state = self.state.lock();
        let told = state.waiting.is_none();
        if let Some(waiting) = waiting.as_ref().filter(|_| told) {
            tracing::info!("waiting: {waiting}");
        }
        state.waiting = waiting;
    }

    /// ms since 1970.
    pub fn set_window(&self, ends_ms: Option<u64>) {
        self.state.lock().window_ends_ms = ends_ms;
    }

    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// `why`: for people.
    pub fn enter(&self, phase: Phase, why: &str) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.phase, phase);
        self.set_limits(&state);
        if before == phase {
            return;
        }
        let why = state.reverse.told(why.to_owned());
        Change::new(phase, now_ms(), &why).join(&mut state.phases);
        drop(state);
        tracing::info!("phase: {phase}: {why}");
    }

    /// How the run came to its phase, oldest first.
    pub fn phases(&self) -> Vec<Change> {
        self.state.lock().phases.clone()
    }

    /// Those of an earlier process come first.
    pub fn recall(&self, earlier: Vec<Change>) {
        let mut state = self.state.lock();
        state.age.recall(&earlier);
        let own = std::mem::replace(&mut state.phases, earlier);
        own.into_iter().for_each(|own| own.join(&mut state.phases));
    }

    /// Changes how fast the run may go, in any phase.
    pub fn limit(&self, copy_mb_s: Option<u64>, ops_s: Option<u64>) {
        let mut state = self.state.lock();
        let throttled = &mut state.throttled;
        throttled.copy_mb_s = copy_mb_s.unwrap_or(throttled.copy_mb_s);
        throttled.ops_s = ops_s.unwrap_or(throttled.ops_s);
        self.set_limits(&state);
    }

    /// A cutover is not slowed down: nobody writes any more.
    fn set_limits(&self, state: &State) {
        let ops_s = match state.phase {
            Phase::CuttingOver => 0,
            _ => state.throttled.ops_s,
        };
        self.throttle.limit_copy(state.throttled.copy_mb_s << 20);
        self.throttle.limit_apply(ops_s);
    }

    /// Copying holds while there is a reason.
    pub fn hold_copying(&self, reasons: Vec<String>) {
        self.throttle.hold(!reasons.is_empty());
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.throttled.held_by, reasons);
        let now = state.throttled.held_by.clone();
        drop(state);
        if before.is_empty() && !now.is_empty() {
            tracing::warn!("copying holds: {}", now.join("; "));
        } else if !before.is_empty() && now.is_empty() {
            tracing::info!("copying goes on");
        }
    }

    pub fn throttled(&self) -> Throttled {
        self.state.lock().throttled.clone()
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

    /// As operators read it.
    fn told(&self, text: String) -> String {
        let reverse = self.state.lock().reverse;
        reverse.told(text)
    }

    pub fn warn(&self, warning: impl Into<String>) {
        let warning = self.told(warning.into());
        tracing::warn!("{warning}");
        self.state.lock().warnings.add(warning);
    }

    /// Shows a warning while there is a text; `about` names it. Logged when it appears.
    pub fn warn_while(&self, about: &str, warning: Option<String>) {
        let warning = warning.map(|warning| self.told(warning));
        self.state.lock().warnings.put(about, warning);
    }

    /// Unless it was said before.
    pub fn warn_once(&self, warning: String) {
        let warning = self.told(warning);
        if !self.state.lock().warnings.texts().contains(&warning) {
            self.warn(warning);
        }
    }

    pub fn warnings(&self) -> Vec<String> {
        self.state.lock().warnings.texts()
    }

    pub fn fail(&self, phase: Phase, error: String) {
        self.enter(phase, &error);
        self.state.lock().error = Some(error);
    }

    /// Notes that an attempt ended. Another will resume from the last checkpoint.
    pub fn recovers_from(&self, error: &str) {
        tracing::warn!("going back to the last checkpoint: {error}");
        self.state.lock().recoveries += 1;
        self.enter(Phase::Recovering, error);
    }

    pub fn called_off(&self, reason: String) {
        let reason = self.told(reason);
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
        let state = self.state.lock();
        for (name, metrics) in &state.pairs {
            let of_pair = metrics.obstacles.texts().into_iter();
            all.extend(of_pair.map(|text| format!("{name}: {text}")));
        }
        let told = |text| state.reverse.told(text);
        all.into_iter().map(told).collect()
    }

    /// Of the run, over all its processes.
    pub fn run_s(&self) -> f64 {
        self.state.lock().age.run_s(now_ms())
    }

    pub fn snapshot(&self) -> Snapshot {
        let lag_ms = self.max(|m| m.lag_ms.load(Relaxed));
        let lag_ms_max = self.max(|m| m.lag_ms_max.load(Relaxed));
        let (mut obstacles, warnings) = (self.all_obstacles(), self.warnings());
        let state = self.state.lock();
        // Obstacles that appeared since the phase was last updated count at once.
        let phase = match state.phase {
            Phase::Ready if !obstacles.is_empty() => Phase::Following,
            phase => phase,
        };
        // A run that is ready stays so: the gap comes and goes.
        let gaps = state.pairs.iter();
        let gaps = gaps.map(|(name, pair)| (name.as_str(), pair.lag_ms.load(Relaxed)));
        let gap = gap::in_the_way(gaps).filter(|_| phase == Phase::Ready);
        let can_cutover = phase == Phase::Ready && gap.is_none();
        obstacles.extend(gap);
        Snapshot {
            run_id: state.id.clone(),
            phase,
            phases: state.phases.clone(),
            elapsed_s: state.age.process_s(),
            run_s: state.age.run_s(now_ms()),
            can_cutover,
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
            waiting: state.waiting.clone(),
            window_left_s: state
                .window_ends_ms
                .map(|ends| ends.saturating_sub(now_ms()) / 1_000),
            source: state.source.clone(),
            target: state.target.clone(),
            error: state.error.clone(),
            cutover_ms: state.cutover_ms,
            cutovers_given_up: state.cutovers_given_up,
            recoveries: state.recoveries,
            throttle: state.throttled.clone(),
            reverse: state.reverse,
        }
    }
}

fn begun(why: &str) -> Change {
    Change::new(Phase::Validating, now_ms(), why)
}

/// Wall clock, ms since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
