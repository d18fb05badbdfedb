//! Which state of the run clients have seen.

use std::time::{Duration, Instant};

/// A client that asked for the status within this time is waiting for the end.
pub(super) const LINGER: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Seen {
    pub(super) asked: Option<Instant>,
    /// The status that was shown last is final.
    pub(super) end: bool,
}

impl Seen {
    pub(super) fn shown(&mut self, is_final: bool) {
        self.asked = Some(Instant::now());
        self.end = is_final;
    }

    /// A client follows the status.
    pub(super) fn is_followed(&self) -> bool {
        self.asked.is_some_and(|at| at.elapsed() < LINGER)
    }
}
