//! When an operation is due. Open loop: due times do not wait for answers, and
//! latency is counted from them, so a slow server shows.
//!
//! Knows nothing about operations.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// Deals out due times at a rate.
pub(super) struct Pacer(Mutex<Pace>);

struct Pace {
    /// Operations per second; 0: as fast as it goes.
    rate: f64,
    next: Instant,
}

impl Pacer {
    pub(super) fn new(rate: f64) -> Self {
        Pacer(Mutex::new(Pace {
            rate,
            next: Instant::now(),
        }))
    }

    /// The time the next `ops` operations are due.
    pub(super) fn due(&self, ops: u64) -> Instant {
        let mut pace = self.lock();
        if pace.rate <= 0.0 {
            return Instant::now();
        }
        let due = pace.next;
        pace.next = due + Duration::from_secs_f64(ops as f64 / pace.rate);
        due
    }

    /// Sets the rate from now on; what was due and not begun is forgotten.
    pub(super) fn set_rate(&self, rate: f64) {
        let mut pace = self.lock();
        (pace.rate, pace.next) = (rate, Instant::now());
    }

    /// Forgets what was due while the load was paused.
    pub(super) fn resume(&self) {
        self.lock().next = Instant::now();
    }

    /// Short, and never held across an await.
    fn lock(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
