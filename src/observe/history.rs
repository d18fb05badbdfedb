//! Lag and rates of a run over the time of a process, bounded: when it is full, every two
//! neighbours become one, so that points stand twice as far apart.
//!
//! Knows nothing about who shows it.

use serde::{Deserialize, Serialize};

use crate::observe::counters::PairSnapshot;
use crate::observe::status::Snapshot;

/// More points than a plot has pixels to tell apart.
const POINTS_MAX: usize = 600;

/// Oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// Of which run: a way back begins anew.
    #[serde(skip)]
    run_id: String,
    /// Least time between two points, s.
    spacing_s: f64,
    /// Names of the pairs, in the order of the values of a point.
    pairs: Vec<String>,
    points: Vec<Point>,
}

/// One moment; a value per pair.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Point {
    /// Since the process began, s.
    at_s: f64,
    lag_ms: Vec<f64>,
    documents_per_s: Vec<f64>,
    bytes_per_s: Vec<f64>,
    ops_per_s: Vec<f64>,
}

impl History {
    /// Notes a snapshot whose rates are filled in. Nothing before there are pairs.
    pub fn note(&mut self, now: &Snapshot) {
        if now.pairs.is_empty() {
            return;
        }
        if self.run_id != now.run_id || self.pairs.len() != now.pairs.len() {
            *self = History {
                run_id: now.run_id.clone(),
                pairs: now.pairs.iter().map(|pair| pair.name.clone()).collect(),
                ..History::default()
            };
        }
        let last = self.points.last();
        if last.is_some_and(|last| now.elapsed_s < last.at_s + self.spacing_s) {
            return;
        }
        self.points.push(Point::of(now));
        if POINTS_MAX < self.points.len() {
            self.points = self.points.chunks(2).map(joined).collect();
            self.spacing_s = (self.spacing_s * 2.0).max(2.0);
        }
    }
}

impl Point {
    fn of(now: &Snapshot) -> Point {
        let each = |value: fn(&PairSnapshot) -> f64| now.pairs.iter().map(value).collect();
        Point {
            at_s: now.elapsed_s,
            lag_ms: each(|pair| pair.lag_ms as f64),
            documents_per_s: each(|pair| pair.documents_per_s),
            bytes_per_s: each(|pair| pair.bytes_per_s),
            ops_per_s: each(|pair| pair.ops_per_s),
        }
    }
}

/// Of neighbours the largest lag, so that no peak is lost, and the mean of the rates.
fn joined(points: &[Point]) -> Point {
    let [first, second] = points else {
        return points.first().cloned().unwrap_or_default();
    };
    let with = |join: fn(f64, f64) -> f64, a: &[f64], b: &[f64]| {
        a.iter().zip(b).map(|(a, b)| join(*a, *b)).collect()
    };
    let mean = |a: f64, b: f64| (a + b) / 2.0;
    Point {
        at_s: second.at_s,
        lag_ms: with(f64::max, &first.lag_ms, &second.lag_ms),
        documents_per_s: with(mean, &first.documents_per_s, &second.documents_per_s),
        bytes_per_s: with(mean, &first.bytes_per_s, &second.bytes_per_s),
        ops_per_s: with(mean, &first.ops_per_s, &second.ops_per_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::tests::copying;

    fn at(elapsed_s: f64, lag_ms: u64) -> Snapshot {
        let mut now = copying();
        now.elapsed_s = elapsed_s;
        now.pairs.iter_mut().for_each(|pair| pair.lag_ms = lag_ms);
        now
    }

    #[test]
    fn it_covers_the_whole_run_in_bounded_memory_and_loses_no_peak() {
        let mut history = History::default();
        history.note(&Snapshot::default());
        assert!(history.points.is_empty(), "nothing to show yet");
        for second in 0..100_000 {
            let lag_ms = if second == 7 { 9_000 } else { 10 };
            history.note(&at(f64::from(second), lag_ms));
            assert!(history.points.len() <= POINTS_MAX);
        }
        assert_eq!(history.pairs, ["a → x", "b → y"]);
        assert!(200 < history.points.len());
        let peak = history
            .points
            .iter()
            .map(|point| point.lag_ms[1])
            .fold(0.0, f64::max);
        assert_eq!(peak, 9_000.0);
        let last = history.points.last().unwrap();
        assert!(99_000.0 < last.at_s, "{}", last.at_s);
        assert_eq!(last.documents_per_s, [51_200.0, 51_200.0]);
        let mut back = at(100_000.0, 10);
        back.run_id = "r1-reverse".to_owned();
        history.note(&back);
        assert_eq!(history.points.len(), 1, "another run begins anew");
    }
}
