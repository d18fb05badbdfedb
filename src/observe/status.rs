//! One snapshot of a run, rendered as a line, as a table and as JSON.
//!
//! Knows nothing about how a snapshot is taken or shown.

use serde::{Deserialize, Serialize};

use crate::observe::columns::{columns, eta};
use crate::observe::counters::PairSnapshot;
use crate::observe::figures;
use crate::observe::phase::{Change, Phase};
use crate::observe::plain;
use crate::observe::reverse::Reverse;
use crate::observe::throttled::Throttled;

/// Everything an operator can ask about a run, at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    pub run_id: String,
    pub phase: Phase,
    /// How it came to that phase, oldest first; also in earlier processes.
    pub phases: Vec<Change>,
    /// Seconds since this process began.
    pub elapsed_s: f64,
    /// Seconds since the run began, over all its processes, as far as that is known.
    pub run_s: f64,
    /// True when `cutover` would be accepted now.
    pub can_cutover: bool,
    /// Largest lag of any pair, ms.
    pub lag_ms: u64,
    pub lag_ms_max: u64,
    pub pairs: Vec<PairSnapshot>,
    /// The obstacles to a cutover now, with what to do about each.
    pub obstacles: Vec<String>,
    pub warnings: Vec<String>,
    /// Why the last cutover was called off; None once one is done.
    pub last_cutover: Option<String>,
    /// Who paused the run, while it is paused.
    pub paused: Option<String>,
    /// What a start waits for, once it takes long.
    pub waiting: Option<String>,
    /// Seconds left of the cutover window; None before it has begun.
    pub window_left_s: Option<u64>,
    /// Connection strings of both sides, without credentials.
    pub source: String,
    pub target: String,
    pub error: Option<String>,
    /// Duration of the finished cutover, ms, from the request to done.
    pub cutover_ms: Option<u64>,
    /// Cutovers that were begun and went back to following.
    pub cutovers_given_up: u64,
    /// Times the run went back to its last checkpoint, since this process began.
    pub recoveries: u64,
    pub throttle: Throttled,
    pub reverse: Reverse,
}

impl PairSnapshot {
    /// True when every unit is copied. Also true before the plan is made, unless
    /// documents are known to be there.
    pub fn is_copied(&self) -> bool {
        match self.units_total {
            0 => self.documents_total == 0,
            total => total <= self.units_copied,
        }
    }

    pub fn percent_copied(&self) -> u64 {
        figures::percent(
            self.bytes_done,
            self.bytes_total,
            self.units_total != 0 && self.is_copied(),
        )
    }

    /// The text about one pair, beside its name and bar.
    pub fn line(&self) -> String {
        let copy = if self.is_copied() && self.units_total != 0 {
            format!("{} copied", figures::bytes(self.bytes_done))
        } else {
            format!(
                "{} of {} {}% {}/s {} docs/s",
                figures::bytes(self.bytes_done),
                figures::bytes(self.bytes_total),
                self.percent_copied(),
                figures::bytes(self.bytes_per_s as u64),
                figures::count(self.documents_per_s as u64)
            )
        };
        format!(
            "{copy} | eta {} | {} ops/s, {} held | lag {}",
            eta(self.eta_s),
            figures::count(self.ops_per_s as u64),
            figures::count(self.ops_held),
            figures::millis(self.lag_ms)
        )
    }
}

impl Snapshot {
    /// True when nothing will change any more.
    pub fn is_final(&self) -> bool {
        self.phase.is_final() && !self.reverse.follows(self.phase)
    }

    /// All pairs as one: counters added up, lag and ETA of the slowest, ready
    /// when all are.
    pub fn sum(&self) -> PairSnapshot {
        let mut pairs = self.pairs.iter();
        let mut sum = pairs.next().cloned().unwrap_or_default();
        sum.name.clear();
        for pair in pairs {
            sum.join(pair);
        }
        sum
    }

    /// One line for logs: phase, copy, ops, lag.
    pub fn line(&self) -> String {
        let sum = self.sum();
        let (way, elapsed) = (self.reverse.in_front(), figures::seconds(self.run_s));
        let mut line = format!("{way}{} {elapsed}", self.phase);
        if !self.pairs.is_empty() {
            line += &format!(" | {}", sum.line());
        }
        if sum.indexes_total != 0 {
            line += &format!(" | indexes {} of {}", sum.indexes_built, sum.indexes_total);
        }
        if sum.documents_verified != 0 {
            let (verified, touched) = (
                figures::count(sum.documents_verified),
                figures::count(sum.documents_touched),
            );
            line += &format!(" | {verified} docs verified, {touched} touched since");
        }
        if let Some(paused) = &self.paused {
            line += &format!(" | paused: {}", plain::line(paused));
        }
        if let Some(waiting) = &self.waiting {
            line += &format!(" | waits for {}", plain::line(waiting));
        }
        if self.can_cutover {
            line += " | cutover can begin";
        }
        for throttled in self.throttle.lines() {
            line += &format!(" | {throttled}");
        }
        if let [first, rest @ ..] = &self.obstacles[..] {
            line += &format!(" | in the way of a cutover: {}", plain::line(first));
            if !rest.is_empty() {
                line += &format!(" (and {} more)", rest.len());
            }
        }
        line
    }

    /// What `shardlift status` prints: a head line, a row per pair, then
    /// warnings and the error.
    pub fn table(&self) -> String {
        let mut out = format!(
            "run {} | {}{} | {} since the start | lag {} (largest {}) | cutover {}\n",
            self.run_id,
            self.reverse.in_front(),
            self.phase,
            figures::seconds(self.run_s),
            figures::millis(self.lag_ms),
            figures::millis(self.lag_ms_max),
            match (self.cutover_ms, self.can_cutover) {
                (Some(ms), _) => format!("took {}", figures::millis(ms)),
                (None, true) => "can begin".to_string(),
                (None, false) => "cannot begin now".to_string(),
            }
        );
        out += &columns(&self.pairs);
        self.notes()
            .iter()
            .for_each(|note| out += &format!("{note}\n"));
        out
    }

    /// What to know beside the figures, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |head: &str, text: &str| notes.push(format!("{head}{}", plain::line(text)));
        let why = self.phases.last().filter(|last| last.phase == self.phase);
        // The others have a line of their own.
        let told = self.paused.iter().chain(&self.error).chain(&self.obstacles);
        if let Some(change) = why.filter(|why| !told.clone().any(|told| *told == why.why)) {
            note(&format!("{}: ", self.phase), &change.why);
        }
        if let Some(paused) = &self.paused {
            note("paused: ", &format!("{paused}; `shardlift resume` goes on"));
        }
        if let Some(waiting) = &self.waiting {
            note("waits for ", waiting);
        }
        if let Some(left_s) = self.window_left_s.filter(|_| !self.phase.is_final()) {
            let left = figures::seconds(left_s as f64);
            let text = format!("{left} left; `shardlift extend` adds 24 h");
            note("cutover window: ", &text);
        }
        if self.reverse == Reverse::Wanted && !self.phase.is_final() {
            note(
                "",
                "after the cutover the target is followed back to the source",
            );
        }
        for throttled in self.throttle.lines() {
            note("", &throttled);
        }
        for obstacle in &self.obstacles {
            note("in the way of a cutover: ", obstacle);
        }
        if let Some(reason) = &self.last_cutover {
            let why = reason.strip_prefix("cutover ").unwrap_or(reason);
            note("last cutover: ", why);
        }
        for warning in &self.warnings {
            note("warning: ", warning);
        }
        if let Some(error) = &self.error {
            note("error: ", error);
        }
        notes
    }

    /// What `GET /status` and `--json` give.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a snapshot has string keys and plain values only")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run in the middle of its copy.
    pub(crate) fn copying() -> Snapshot {
        let a = PairSnapshot {
            name: "a → x".into(),
            documents_total: 1_000_000,
            documents_copied: 300_000,
            bytes_total: 4 << 30,
            bytes_copied: 1 << 30,
            documents_done: 300_000,
            bytes_done: 1 << 30,
            units_total: 64,
            units_copied: 15,
            indexes_total: 3,
            ops_read: 13_000,
            ops_applied: 12_345,
            ops_held: 20,
            lag_ms: 420,
            lag_ms_max: 1_200,
            documents_per_s: 51_200.0,
            bytes_per_s: 52_428_800.0,
            ops_per_s: 3_100.0,
            eta_s: Some(61.4),
            ..Default::default()
        };
        let b = PairSnapshot {
            name: "b → y".into(),
            lag_ms: 90,
            eta_s: None,
            ..a.clone()
        };
        Snapshot {
            run_id: "r1".into(),
            phase: Phase::Copying,
            elapsed_s: 21.0,
            run_s: 21.0,
            lag_ms: 420,
            lag_ms_max: 1_200,
            pairs: vec![a, b],
            ..Default::default()
        }
    }

    #[test]
    fn the_line_tells_phase_copy_ops_and_lag() {
        assert_eq!(
            copying().line(),
            "copying 21.0s | 2.0 GiB of 8.0 GiB 25% 100.0 MiB/s 102.4k docs/s | eta 1m01s \
             | 6200 ops/s, 40 held | lag 0.4s | indexes 0 of 6"
        );
        let mut done = copying();
        done.phase = Phase::Ready;
        done.can_cutover = true;
        done.pairs.truncate(1);
        done.pairs[0].units_copied = 64;
        done.pairs[0].eta_s = None;
        assert_eq!(
            done.line(),
            "ready 21.0s | 1.0 GiB copied | eta - | 3100 ops/s, 20 held | lag 0.4s | indexes 0 of 3 | cutover can begin"
        );
        assert_eq!(
            Snapshot {
                phase: Phase::Validating,
                ..Default::default()
            }
            .line(),
            "validating 0.0s"
        );
    }

    #[test]
    fn the_table_has_a_row_per_pair_and_what_went_wrong() {
        let mut snapshot = copying();
        snapshot.obstacles.push("the watch is blind".into());
        snapshot.warnings.push("clock skew".into());
        snapshot.error = Some("lost the source".into());
        let table = snapshot.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(table.lines().count(), lines.len());
        assert_eq!(
            lines[0],
            "run r1 | copying | 21.0s since the start | lag 0.4s (largest 1.2s) | cutover cannot begin now"
        );
        assert!(lines[1].starts_with("pair   copied"));
        assert!(
            lines[2].starts_with("a → x  1.0 GiB of 4.0 GiB  25  50.0 MiB  51.2k   15/64"),
            "{table}"
        );
        assert!(
            lines[2].ends_with("12.3k (3100)      0.4s  1m01s"),
            "{table}"
        );
        assert_eq!(
            lines[4..],
            [
                "in the way of a cutover: the watch is blind",
                "warning: clock skew",
                "error: lost the source"
            ]
        );
    }

    #[test]
    fn json_comes_back_and_older_json_is_read() {
        let back: Snapshot = serde_json::from_str(&copying().json()).unwrap();
        assert_eq!(back.json(), copying().json());
        let older: Snapshot =
            serde_json::from_str(r#"{"phase":"ready","pairs":[{"name":"a"}]}"#).unwrap();
        assert_eq!((older.phase, older.pairs.len()), (Phase::Ready, 1));
        let empty: Snapshot = serde_json::from_str("{}").unwrap();
        assert_eq!(empty.phase, Phase::Validating);
    }

    #[test]
    fn nothing_known_is_not_a_hundred_percent() {
        assert_eq!(PairSnapshot::default().percent_copied(), 0);
        let empty = PairSnapshot {
            units_total: 1,
            units_copied: 1,
            ..Default::default()
        };
        assert_eq!(empty.percent_copied(), 100);
    }
}
