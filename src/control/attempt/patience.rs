//! Decides when a run that keeps failing parks. Progress means a recorded checkpoint: an
//! attempt whose work is undone before it records anything counts for nothing, however
//! long it ran.
//!
//! Knows nothing about what the faults are.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::retry::Retry;
use crate::error::{Error, Kind, Result};
use crate::pair::run::Outcome;

/// Attempts in vain, one after the other, before patience begins to run out: rare
/// faults may each time hit a unit that takes long.
const FORGIVEN: u64 = 2;

/// The patience of a run with its servers.
#[derive(Debug)]
pub struct Patience {
    retry: Retry,
    /// Pairs that came on, or had nothing to do, in some attempt since it began.
    came_on: BTreeSet<usize>,
    /// Attempts since then whose pairs ran.
    attempts: u64,
}

impl Patience {
    /// `away_max`: how long there may be no progress in one piece.
    pub fn new(away_max: Duration) -> Self {
        Patience {
            retry: Retry::new(away_max),
            came_on: BTreeSet::new(),
            attempts: 0,
        }
    }

    /// Notes how an attempt ended for each pair. Patience starts over when all pairs have
    /// made progress: the others do not make up for one that cannot.
    pub fn saw(&mut self, outcomes: impl Iterator<Item = Outcome>) {
        self.attempts += 1;
        let (mut pairs, mut all) = (0, true);
        for (pair, outcome) in outcomes.enumerate() {
            if outcome != Outcome::Stuck {
                self.came_on.insert(pair);
            }
            all &= self.came_on.contains(&pair);
            pairs += 1;
        }
        if all && 0 < pairs {
            self.came_on.clear();
            self.attempts = 0;
        }
        if self.attempts <= FORGIVEN {
            self.retry.worked();
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The cause itself if it does not pass; `Parked` if it lasted too long.
    pub async fn pause(&mut self, cause: Error) -> Result<()> {
        let last = cause.message.clone();
        let paused = self.retry.pause(cause).await;
        paused.map_err(|e| match (e.kind, self.attempts) {
            (Kind::Parked, 1..) => Error {
                message: format!(
                    "{} attempts in a row ended before every pair had recorded progress, the last one with: {last}",
                    self.attempts
                ),
                ..e
            },
            _ => e,
        })
    }
}

#[cfg(test)]
mod tests {
    use Outcome::{CameOn, Idle, Stuck};

    use super::*;

    /// Shorter than any pause.
    const AWAY_MAX: Duration = Duration::from_millis(10);
    const ATTEMPTS: usize = 8;

    /// The attempt after which the run parks, and why.
    async fn parks_after(outcomes: impl Fn(usize) -> Vec<Outcome>) -> Option<(usize, String)> {
        let mut patience = Patience::new(AWAY_MAX);
        for attempt in 1..=ATTEMPTS {
            patience.saw(outcomes(attempt).into_iter());
            if let Err(parked) = patience.pause(Error::new(Kind::Transient, "a fault")).await {
                assert_eq!(parked.kind, Kind::Parked);
                return Some((attempt, parked.message));
            }
        }
        None
    }

    #[tokio::test]
    async fn a_run_that_gets_nowhere_parks_however_long_its_attempts_hold() {
        let (attempt, why) = parks_after(|_| vec![CameOn, Stuck]).await.unwrap();
        assert!(
            attempt == 3 && why.contains("3 attempts") && why.contains("a fault"),
            "{attempt} {why}"
        );
        // The last time it came on was long ago.
        let once = |i: usize| vec![if i == 2 { CameOn } else { Stuck }];
        assert_eq!(parks_after(once).await.unwrap().0, 5);
    }

    #[tokio::test]
    async fn a_run_that_comes_on_goes_on_for_ever() {
        assert_eq!(parks_after(|_| vec![CameOn, Idle]).await, None);
        // As long as each came on since the patience began.
        let mut patience = Patience::new(Duration::from_secs(60));
        patience.saw([CameOn, Stuck].into_iter());
        assert_eq!(patience.attempts, 1);
        patience.saw([Stuck, CameOn].into_iter());
        assert_eq!(patience.attempts, 0);
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_waited_for_as_it_was_before() {
        let mut patience = Patience::new(AWAY_MAX);
        patience.saw([CameOn].into_iter());
        let away = || Error::new(Kind::Transient, "away");
        assert!(patience.pause(away()).await.is_ok());
        let parked = patience.pause(away()).await.unwrap_err();
        assert!(
            parked.kind == Kind::Parked && parked.message.contains("was away"),
            "{parked}"
        );
    }
}
