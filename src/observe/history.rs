//! Lag and rates of a run over its whole time, bounded: when it is full, every two
//! neighbours become one, so that points stand twice as far apart.
//!
//! Knows nothing about who shows it, nor where it is kept (`history_file`).

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
    /// Since 1970, so that points of several processes are of one clock.
    at_ms: u64,
    lag_ms: Vec<f64>,
    documents_per_s: Vec<f64>,
    bytes_per_s: Vec<f64>,
    ops_per_s: Vec<f64>,
}

impl History {
    /// Notes a snapshot whose rates are filled in. Nothing before there are pairs.
    pub fn note(&mut self, now: &Snapshot, at_ms: u64) {
        if now.pairs.is_empty() {
            return;
        }
        let names = || now.pairs.iter().map(|pair| &pair.name);
        if self.run_id != now.run_id || !self.pairs.iter().eq(names()) {
            *self = History {
                run_id: now.run_id.clone(),
                pairs: names().cloned().collect(),
                ..History::default()
            };
        }
        // A clock that was set back: two points of one moment cannot be drawn.
        self.points.retain(|point| point.at_ms <= at_ms);
        let spacing_ms = (self.spacing_s * 1_000.0) as u64;
        let last = self.points.last();
        if last.is_some_and(|last| at_ms < last.at_ms + spacing_ms) {
            return;
        }
        self.points.push(Point::of(now, at_ms));
        if POINTS_MAX < self.points.len() {
            self.points = self.points.chunks(2).map(joined).collect();
            self.spacing_s = (self.spacing_s * 2.0).max(2.0);
        }
    }

    /// Of which run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Nothing was noted yet.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The same, of that run. None if it is none that was made here.
    pub fn of_run(self, run_id: &str) -> Option<Self> {
        let fits = |point: &Point| {
            let of_each = [
                &point.lag_ms,
                &point.documents_per_s,
                &point.bytes_per_s,
                &point.ops_per_s,
            ];
            of_each
                .iter()
                .all(|values| values.len() == self.pairs.len())
        };
        let is_whole = self.points.len() <= POINTS_MAX
            && self.points.iter().all(fits)
            && self.points.is_sorted_by_key(|point| point.at_ms);
        is_whole.then(|| History {
            run_id: run_id.to_owned(),
            ..self
        })
    }
}

impl Point {
    fn of(now: &Snapshot, at_ms: u64) -> Point {
        let each = |value: fn(&PairSnapshot) -> f64| now.pairs.iter().map(value).collect();
        Point {
            at_ms,
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
        at_ms: second.at_ms,
        lag_ms: with(f64::max, &first.lag_ms, &second.lag_ms),
        documents_per_s: with(mean, &first.documents_per_s, &second.documents_per_s),
        bytes_per_s: with(mean, &first.bytes_per_s, &second.bytes_per_s),
        ops_per_s: with(mean, &first.ops_per_s, &second.ops_per_s),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::observe::status::tests::copying;

    fn lagging(lag_ms: u64) -> Snapshot {
        let mut now = copying();
        now.pairs.iter_mut().for_each(|pair| pair.lag_ms = lag_ms);
        now
    }

    /// One of the run `r1`.
    pub(crate) fn noted(at_ms: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        for at_ms in at_ms {
            history.note(&lagging(10), at_ms);
        }
        history
    }

    pub(crate) fn moments(history: &History) -> Vec<u64> {
        history.points.iter().map(|point| point.at_ms).collect()
    }

    #[test]
    fn it_covers_the_whole_run_in_bounded_memory_and_loses_no_peak() {
        let mut history = History::default();
        history.note(&Snapshot::default(), 0);
        assert!(history.is_empty(), "nothing to show yet");
        for second in 0..100_000 {
            let lag_ms = if second == 7 { 9_000 } else { 10 };
            history.note(&lagging(lag_ms), second * 1_000);
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
        assert!(99_000_000 < last.at_ms, "{}", last.at_ms);
        assert_eq!(last.documents_per_s, [51_200.0, 51_200.0]);
        let mut back = lagging(10);
        back.run_id = "r1-reverse".to_owned();
        history.note(&back, 100_000_000);
        assert_eq!(history.points.len(), 1, "another run begins anew");
    }

    #[test]
    fn it_is_in_order_also_when_the_clock_is_set_back() {
        assert_eq!(moments(&noted([1, 2_000, 3_000, 2_500])), [1, 2_000, 2_500]);
    }

    #[test]
    fn what_was_not_made_here_is_not_taken_up() {
        type Spoil = fn(&mut History);
        let rows: [(Spoil, bool); 5] = [
            (|_| {}, true),
            (|history| history.points[1].lag_ms.push(1.0), false),
            (|history| history.pairs.truncate(1), false),
            (|history| history.points[0].at_ms = 9, false),
            (
                |history| history.points = vec![history.points[0].clone(); POINTS_MAX + 1],
                false,
            ),
        ];
        for (spoil, expect) in rows {
            let mut history = noted([1, 2]);
            spoil(&mut history);
            let read = history.of_run("r2");
            assert_eq!(read.is_some(), expect);
            assert!(read.is_none_or(|read| read.run_id() == "r2"));
        }
    }
}
