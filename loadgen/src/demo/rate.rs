//! The rate a load really had: on average, and in its worst moment.
//!
//! Knows nothing about loads, only counts and times.

use std::time::Duration;

/// `(time, count)` samples, both growing.
#[derive(Debug, Default)]
pub(super) struct Rates(Vec<(Duration, u64)>);

impl Rates {
    pub(super) fn add(&mut self, at: Duration, count: u64) {
        self.0.push((at, count));
    }

    /// Per second, from the first to the last sample.
    pub(super) fn average(&self) -> f64 {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => rate(*first, *last),
            _ => 0.0,
        }
    }

    /// Lowest rate between two samples that lie `window` apart; the average of
    /// what is shorter than that.
    pub(super) fn lowest(&self, window: Duration) -> f64 {
        let mut lowest: Option<f64> = None;
        let mut end = 0;
        for &start in &self.0 {
            while end < self.0.len() && self.0[end].0 < start.0 + window {
                end += 1;
            }
            let Some(&end) = self.0.get(end) else { break };
            let rate = rate(start, end);
            lowest = Some(lowest.map_or(rate, |lowest| lowest.min(rate)));
        }
        lowest.unwrap_or_else(|| self.average())
    }
}

fn rate(start: (Duration, u64), end: (Duration, u64)) -> f64 {
    let seconds = end.0.saturating_sub(start.0).as_secs_f64();
    if seconds == 0.0 {
        0.0
    } else {
        (end.1 - start.1) as f64 / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_window_is_found() {
        let mut rates = Rates::default();
        // 100 per second, 2 seconds of none, 100 per second again.
        for (second, count) in [0u64, 100, 200, 300, 300, 300, 400, 500]
            .into_iter()
            .enumerate()
        {
            rates.add(Duration::from_secs(second as u64), count);
        }
        assert_eq!(rates.lowest(Duration::from_secs(2)), 0.0);
        assert_eq!(rates.lowest(Duration::from_secs(4)), 50.0);
        assert_eq!(rates.lowest(Duration::from_secs(60)), rates.average());
        assert_eq!(Rates::default().lowest(Duration::from_secs(1)), 0.0);
    }
}
