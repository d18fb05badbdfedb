//! The cutover window: it begins when the run is ready for the first time. When it has
//! passed, following stops, and the run can be taken up again. An operator may extend it.
//!
//! Recorded in the run's state, so that a restart keeps it. `step` and `extended` decide.

use std::convert::Infallible;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::control::run::{self, Run};
use crate::error::{Error, Kind, Policy, Result};
use crate::observe::api::request::Answer;
use crate::observe::phase::Phase;
use crate::state::run_store::RunStore;

const HOUR_MS: u64 = 3_600_000;
/// What one extension adds.
const EXTENSION_MS: u64 = 24 * HOUR_MS;
const POLL: Duration = Duration::from_millis(500);

/// What to do at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    /// It begins, and ends then, ms since 1970.
    Begin(u64),
    Passed,
}

/// `ends_ms` and `now_ms` are since 1970. A cutover that has begun is never stopped.
fn step(phase: Phase, ends_ms: Option<u64>, now_ms: u64, length_ms: u64) -> Step {
    match (phase, ends_ms) {
        (Phase::Ready, None) if 0 < length_ms => Step::Begin(now_ms + length_ms),
        (Phase::CuttingOver | Phase::Done, _) | (_, None) => Step::Wait,
        (_, Some(ends_ms)) if ends_ms <= now_ms => Step::Passed,
        _ => Step::Wait,
    }
}

/// The end after an extension, and how long that is from now, h; or why there is none.
fn extended(
    ends_ms: Option<u64>,
    now_ms: u64,
    length_ms: u64,
) -> std::result::Result<(u64, u64), &'static str> {
    match ends_ms {
        Some(ends_ms) => {
            let ends_ms = ends_ms + EXTENSION_MS;
            Ok((ends_ms, ends_ms.saturating_sub(now_ms) / HOUR_MS))
        }
        None if length_ms == 0 => Err("the way back has no cutover window"),
        None => Err("the cutover window has not begun: it does when the run is ready"),
    }
}

/// The window that a process goes on with: one that has passed begins anew.
fn taken_up(recorded_ms: Option<u64>, now_ms: u64) -> Option<u64> {
    recorded_ms.filter(|ends_ms| now_ms < *ends_ms)
}

/// The window of one run, over all attempts of a process.
#[derive(Debug)]
pub struct Window {
    length_ms: u64,
    ends_ms: Mutex<Option<u64>>,
    /// Those who asked to extend it, and wait for the answer.
    asked: Mutex<Vec<oneshot::Sender<Answer>>>,
    woken: Notify,
}

impl Window {
    /// `hours`: 0: it never begins. `recorded_ms`: its end in the run's state, ms since 1970.
    pub fn new(hours: u64, recorded_ms: Option<u64>) -> Self {
        Window {
            length_ms: hours * HOUR_MS,
            ends_ms: Mutex::new(taken_up(recorded_ms, run::now_ms())),
            asked: Mutex::default(),
            woken: Notify::new(),
        }
    }

    /// Answered once it is recorded. Needs `answer` to be polled.
    pub fn extend(&self, reply: oneshot::Sender<Answer>) {
        self.asked.lock().push(reply);
        self.woken.notify_one();
    }

    /// Extends it for all who ask, in any phase.
    pub async fn answer(&self, run: &Run, store: &RunStore) -> Infallible {
        loop {
            self.woken.notified().await;
            self.answer_all(run, store).await;
        }
    }

    /// Begins and records it. What cannot be recorded now, because the target's majority does
    /// not keep up, is recorded later. Ends when it has passed. Polled by attempts and
    /// pauses: while a run starts or recovers it may pass unseen, until then.
    pub async fn watch(&self, run: &Run, store: &RunStore) -> Error {
        loop {
            match self.look(run, store).await {
                Err(e) if e.kind.policy() == Policy::Retry => {
                    tracing::debug!("the cutover window is recorded later: {e}");
                }
                Err(e) => return e,
                Ok(()) => {}
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// # Errors
    /// `Parked` when it has passed.
    async fn look(&self, run: &Run, store: &RunStore) -> Result<()> {
        let ends_ms = *self.ends_ms.lock();
        run.set_window(ends_ms);
        match step(run.phase(), ends_ms, run::now_ms(), self.length_ms) {
            Step::Wait => Ok(()),
            Step::Begin(ends_ms) => {
                self.set(ends_ms, run, store).await?;
                let hours = self.length_ms / HOUR_MS;
                tracing::info!("the cutover window of {hours} h begins");
                Ok(())
            }
            Step::Passed => Err(Error::new(
                Kind::Parked,
                "the cutover window has passed without a cutover: following has stopped",
            )
            .remedy("run the same command to follow on, as long as the source's oplog or the spool reaches back; `shardlift extend` adds 24 h to a window that is not over")),
        }
    }

    async fn answer_all(&self, run: &Run, store: &RunStore) {
        loop {
            let Some(reply) = self.asked.lock().pop() else {
                return;
            };
            // Whoever asks again must not get it twice.
            if reply.is_closed() {
                continue;
            }
            let ends_ms = *self.ends_ms.lock();
            let answer = match extended(ends_ms, run::now_ms(), self.length_ms) {
                Err(why) => Err(why.to_owned()),
                Ok((ends_ms, left_h)) => {
                    let set = self.set(ends_ms, run, store).await;
                    set.map(|()| {
                        format!("the cutover window is extended by 24 h: {left_h} h are left")
                    })
                    .map_err(|e| format!("the extension could not be recorded, ask again: {e}"))
                }
            };
            // An asker that is gone loses only the answer.
            let _ = reply.send(answer);
        }
    }

    async fn set(&self, ends_ms: u64, run: &Run, store: &RunStore) -> Result<()> {
        store.set_window(ends_ms).await?;
        *self.ends_ms.lock() = Some(ends_ms);
        run.set_window(Some(ends_ms));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_ready_and_never_stops_a_cutover() {
        const LENGTH: u64 = 120 * HOUR_MS;
        // phase, its end, the clock, what is done
        let rows = [
            (Phase::Copying, None, 5, Step::Wait),
            (Phase::Following, None, 5, Step::Wait),
            (Phase::Ready, None, 5, Step::Begin(5 + LENGTH)),
            (Phase::Ready, Some(10), 9, Step::Wait),
            (Phase::Ready, Some(10), 10, Step::Passed),
            (Phase::Following, Some(10), 11, Step::Passed),
            (Phase::Copying, Some(10), 11, Step::Passed),
            (Phase::Paused, Some(10), 11, Step::Passed),
            (Phase::CuttingOver, Some(10), 11, Step::Wait),
            (Phase::Done, Some(10), 11, Step::Wait),
            (Phase::Ready, Some(10 + EXTENSION_MS), 11, Step::Wait),
        ];
        for (phase, ends, now, expect) in rows {
            assert_eq!(
                step(phase, ends, now, LENGTH),
                expect,
                "{phase} {ends:?} {now}"
            );
        }
    }

    #[test]
    fn an_extension_adds_a_day_to_what_is_left() {
        const H: u64 = HOUR_MS;
        // its end, the clock, its length, the new end and the hours left
        let rows = [
            (Some(120 * H), 0, 120 * H, Ok((144 * H, 144))),
            (Some(120 * H), 119 * H + 1, 120 * H, Ok((144 * H, 24))),
            (Some(144 * H), 0, 120 * H, Ok((168 * H, 168))),
            // It has passed, and nobody has seen that yet.
            (Some(10 * H), 12 * H, 2 * H, Ok((34 * H, 22))),
            (Some(10 * H), 50 * H, 2 * H, Ok((34 * H, 0))),
            (None, 5, 120 * H, Err("not begun")),
            (None, 5, 0, Err("no cutover window")),
        ];
        for (ends, now, length, expect) in rows {
            match (extended(ends, now, length), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{ends:?} {now}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, _) => panic!("{ends:?} {now}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_restart_keeps_it_until_it_has_passed() {
        assert_eq!(taken_up(None, 5), None);
        assert_eq!(taken_up(Some(6), 5), Some(6));
        assert_eq!(taken_up(Some(5), 5), None);
    }
}
