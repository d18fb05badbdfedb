//! Which states clients have seen, and how long the end is shown to those that follow.
//!
//! Prometheus asks every few seconds, and a process that ends between two of its scrapes would
//! be gone without a word: it waits for the next one.

use std::time::{Duration, Instant};

/// A client that asked for the status within this time is waiting for the end.
pub(super) const LINGER: Duration = Duration::from_secs(3);
/// Scrapes further apart than this are not waited for: who waits for the end of a cutover
/// would wait as long.
const SCRAPES_APART_MAX: Duration = Duration::from_secs(15);
/// A scrape may come so much later than the one before it said.
const LATE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Seen {
    pub(super) asked: Option<Instant>,
    /// The status that was shown last is final.
    pub(super) end: bool,
    scraped: Option<Instant>,
    /// Between the last two scrapes.
    apart: Option<Duration>,
    /// The metrics that were scraped last are final.
    pub(super) end_scraped: bool,
}

impl Seen {
    pub(super) fn shown(&mut self, is_final: bool) {
        self.asked = Some(Instant::now());
        self.end = is_final;
    }

    pub(super) fn scraped(&mut self, is_final: bool) {
        self.apart = self.scraped.map(|at| at.elapsed());
        self.scraped = Some(Instant::now());
        self.end_scraped = is_final;
    }

    /// A client follows the status.
    pub(super) fn is_followed(&self) -> bool {
        self.asked.is_some_and(|at| at.elapsed() < LINGER)
    }

    /// How long the next scrape may take to come. Zero if none is to be waited for.
    pub(super) fn next_scrape(&self) -> Duration {
        match (self.apart, self.scraped) {
            (Some(apart), Some(at)) if !self.end_scraped => wait(apart, at.elapsed()),
            _ => Duration::ZERO,
        }
    }
}

/// `since` the last of the scrapes that are so far apart.
fn wait(apart: Duration, since: Duration) -> Duration {
    if SCRAPES_APART_MAX < apart || apart * 2 < since {
        return Duration::ZERO;
    }
    apart.saturating_sub(since) + LATE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_scrape_is_waited_for_while_there_are_any() {
        let s = Duration::from_secs;
        let rows = [
            (15, 5, 11),
            (15, 15, 1),
            (15, 29, 1),
            // It has stopped.
            (15, 31, 0),
            (5, 1, 5),
            // Somebody looked, twice.
            (16, 1, 0),
        ];
        for (apart, since, expect) in rows {
            assert_eq!(wait(s(apart), s(since)), s(expect), "{apart} {since}");
        }
    }

    #[test]
    fn one_scrape_is_no_habit_and_one_of_the_end_is_enough() {
        let mut seen = Seen::default();
        assert_eq!(seen.next_scrape(), Duration::ZERO);
        seen.scraped(false);
        assert_eq!(seen.next_scrape(), Duration::ZERO);
        seen.scraped(false);
        seen.apart = Some(Duration::from_secs(15));
        assert!(Duration::ZERO < seen.next_scrape());
        seen.scraped(true);
        assert_eq!(seen.next_scrape(), Duration::ZERO);
    }
}
