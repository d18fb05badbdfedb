//! How much was written lately: what can be written in about the same time from now on.
//!
//! Knows nothing about what is written.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(in crate::pair) struct Pace {
    span: Duration,
    since: Instant,
    /// Since then, and in the span before.
    bytes: usize,
    before: usize,
}

impl Pace {
    pub(in crate::pair) fn new(span: Duration) -> Self {
        Pace {
            span,
            since: Instant::now(),
            bytes: 0,
            before: 0,
        }
    }

    pub(in crate::pair) fn add(&mut self, bytes: usize) {
        self.turn(Instant::now());
        self.bytes += bytes;
    }

    /// In a span, about.
    pub(in crate::pair) fn bytes(&mut self) -> usize {
        self.turn(Instant::now());
        self.bytes.max(self.before)
    }

    fn turn(&mut self, now: Instant) {
        let elapsed = now - self.since;
        if elapsed < self.span {
            return;
        }
        self.before = if elapsed < 2 * self.span {
            self.bytes
        } else {
            0
        };
        (self.bytes, self.since) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_in_the_span_before_counts_until_that_is_over() {
        let mut pace = Pace::new(Duration::from_secs(3_600));
        pace.add(7);
        assert_eq!(pace.bytes(), 7);
        let at = |hours: f64| pace_at(&pace, hours);
        assert_eq!([at(0.5), at(1.5), at(2.5)], [7, 7, 0]);
    }

    fn pace_at(pace: &Pace, hours: f64) -> usize {
        let mut pace = Pace {
            span: pace.span,
            since: pace.since,
            bytes: pace.bytes,
            before: pace.before,
        };
        pace.turn(pace.since + pace.span.mul_f64(hours));
        pace.bytes.max(pace.before)
    }
}
