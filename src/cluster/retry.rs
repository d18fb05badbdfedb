//! Patience with servers that are away: pauses that grow, with jitter, and an
//! end to them.
//!
//! | what is tried again | until | by |
//! |---|---|---|
//! | whatever a task reads, again and again | nothing worked for `away_max` | [`Retry`] |
//! | one command that says "not now" | a time is over | [`while_it_passes`] |
//! | a piece of work that was disturbed | so many attempts | [`a_few_times`] |
//!
//! Loops elsewhere do something between two tries, or end with the deadline of another.

use std::time::{Duration, Instant, SystemTime};

use crate::codes;
use crate::error::{Error, Kind, Policy, Result};
use crate::failpoint;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The patience of one caller. Starts over whenever something `worked`.
#[derive(Debug)]
pub struct Retry {
    away_max: Duration,
    away_since: Option<Instant>,
    pause: Duration,
}

impl Retry {
    /// `away_max`: how long a side may be away in one piece.
    pub fn new(away_max: Duration) -> Self {
        Retry {
            away_max,
            away_since: None,
            pause: PAUSE_MIN,
        }
    }

    pub fn worked(&mut self) {
        self.away_since = None;
        self.pause = PAUSE_MIN;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The cause itself if it does not pass; `Parked` if it lasted too long.
    pub async fn pause(&mut self, cause: Error) -> Result<()> {
        if cause.kind.policy() != Policy::Retry {
            return Err(cause);
        }
        let since = *self.away_since.get_or_insert_with(|| {
            tracing::warn!("trying again: {}", cause.message);
            Instant::now()
        });
        if self.away_max < since.elapsed() {
            return Err(parked(&cause, since.elapsed()));
        }
        tracing::debug!("trying again: {}", cause.message);
        tokio::time::sleep(jittered(self.pause)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    /// Repeats `work` until it succeeds, or fails for good.
    pub async fn until_it_works<T, F: Future<Output = Result<T>>>(
        &mut self,
        work: impl Fn() -> F,
    ) -> Result<T> {
        loop {
            match work().await {
                Ok(done) => {
                    self.worked();
                    return Ok(done);
                }
                Err(cause) => self.pause(cause).await?,
            }
        }
    }
}

/// How long one question about what a deployment holds may take. A router waits for a
/// shard without a primary, and a frozen one never answers: the driver waits for ever.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Asks a question about what a deployment holds (R12).
///
/// # Errors
/// `Transient` if the answer does not come in a minute; else as the server's.
pub async fn answered<T>(what: &str, question: impl Future<Output = Result<T>>) -> Result<T> {
    within(failpoint::wait("answer", ANSWER_PATIENCE), what, question).await
}

/// Fails with `Transient` if `work` takes longer than `patience`: the answer of a
/// frozen server never comes.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = || {
        Error::new(
            Kind::Transient,
            format!("{what}: no answer within {} s", patience.as_secs()),
        )
    };
    tokio::time::timeout(patience, work)
        .await
        .map_err(|_| late())?
}

const STALE_PAUSE: Duration = Duration::from_millis(10);
const STALE_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Asks again for as long as the answer is `StaleConfig`, up to `patience`.
pub async fn while_stale<T, F: Future<Output = Result<T>>>(
    patience: Duration,
    ask: impl Fn() -> F,
) -> Result<T> {
    let is_stale = |e: &Error| e.code == Some(codes::STALE_CONFIG);
    while_it_passes(patience, (STALE_PAUSE, STALE_PAUSE_MAX), is_stale, ask).await
}

/// Asks again for as long as the answer is an error that `passes`, up to `patience`. The
/// pause between grows from one length to the other.
pub async fn while_it_passes<T, F: Future<Output = Result<T>>>(
    patience: Duration,
    (mut pause, pause_max): (Duration, Duration),
    passes: impl Fn(&Error) -> bool,
    ask: impl Fn() -> F,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match ask().await {
            Err(e) if passes(&e) && Instant::now() < deadline => {
                tracing::debug!("asking again: {}", e.message);
            }
            answer => return answer,
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(pause_max);
    }
}

/// Does `work` again after passing faults: `attempts` times in all at most, with the same
/// pause between. `fault` hears of each that it goes on after, with the attempt's number.
pub async fn a_few_times<T, F: Future<Output = Result<T>>>(
    attempts: u32,
    pause: Duration,
    fault: impl Fn(u32, &Error),
    work: impl Fn() -> F,
) -> Result<T> {
    for attempt in 1..attempts {
        match work().await {
            Err(e) if e.kind.policy() == Policy::Retry => fault(attempt, &e),
            done => return done,
        }
        tokio::time::sleep(pause).await;
    }
    work().await
}

fn parked(cause: &Error, away: Duration) -> Error {
    let found = format!(
        "a server was away for {} s: {}",
        away.as_secs(),
        cause.message
    );
    Error::new(Kind::Parked, found).remedy(
        "nothing is lost: bring the server back and run the same command to resume; away_max_s sets how long a run waits",
    )
}

/// Between half of `pause` and all of it, so that those who failed together do
/// not come back together.
fn jittered(pause: Duration) -> Duration {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    pause.mul_f64(0.5 + f64::from(nanos % 1_000) / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shard_that_does_not_know_what_it_owns_is_asked_again_and_not_for_ever() {
        let asked = std::cell::Cell::new(0);
        let stale_until = |times: u32, code| {
            asked.set(0);
            let asked = &asked;
            move || async move {
                asked.set(asked.get() + 1);
                let e = || Error {
                    code: Some(code),
                    ..Error::new(Kind::Transient, "x")
                };
                if asked.get() < times {
                    Err(e())
                } else {
                    Ok(asked.get())
                }
            }
        };
        let patience = Duration::from_secs(60);
        assert_eq!(
            while_stale(patience, stale_until(3, codes::STALE_CONFIG))
                .await
                .ok(),
            Some(3)
        );
        assert!(while_stale(patience, stale_until(3, 91)).await.is_err() && asked.get() == 1);
        assert!(
            while_stale(Duration::ZERO, stale_until(3, codes::STALE_CONFIG))
                .await
                .is_err()
                && asked.get() == 1
        );
    }

    #[tokio::test]
    async fn passing_faults_are_tried_again_a_few_times_and_no_others() {
        let done = std::cell::Cell::new(0);
        let failing = |times: u32, kind| {
            done.set(0);
            let done = &done;
            move || async move {
                done.set(done.get() + 1);
                if done.get() <= times {
                    return Err(Error::new(kind, "x"));
                }
                Ok(())
            }
        };
        let of = |times, kind| {
            let heard = |attempt, _: &Error| assert_eq!(attempt, done.get());
            a_few_times(3, Duration::ZERO, heard, failing(times, kind))
        };
        assert!(of(2, Kind::Transient).await.is_ok() && done.get() == 3);
        assert!(of(3, Kind::Transient).await.is_err() && done.get() == 3);
        assert!(of(1, Kind::Server).await.is_err() && done.get() == 1);
    }

    #[test]
    fn jitter_stays_between_half_and_whole() {
        let pause = Duration::from_millis(100);
        assert!((pause / 2..=pause).contains(&jittered(pause)));
    }

    #[tokio::test]
    async fn only_passing_faults_are_waited_for_and_not_for_ever() {
        let mut retry = Retry::new(PAUSE_MIN / 4);
        let fault = |kind| Error::new(kind, "x");
        assert_eq!(
            retry.pause(fault(Kind::Server)).await.map_err(|e| e.kind),
            Err(Kind::Server)
        );
        assert!(retry.pause(fault(Kind::Transient)).await.is_ok());
        assert_eq!(
            retry
                .pause(fault(Kind::Transient))
                .await
                .map_err(|e| e.kind),
            Err(Kind::Parked)
        );
    }
}
