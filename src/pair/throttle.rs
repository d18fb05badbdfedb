//! How fast a process may go: bytes/s of its copy, ops/s of what it applies, and whether
//! copying holds. One for all pairs, changed while they run.
//!
//! Asked once a batch, after it: what a batch costs is paid back before the next one, so
//! that the mean holds whatever the size of a batch. Where nothing is limited, asking is
//! one load of an atomic. Decides nothing: control sets it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

#[derive(Debug)]
pub struct Throttle {
    /// Bytes.
    copy: Bucket,
    /// Ops.
    apply: Bucket,
    holds: watch::Sender<bool>,
}

impl Default for Throttle {
    fn default() -> Self {
        Throttle {
            copy: Bucket::default(),
            apply: Bucket::default(),
            holds: watch::Sender::new(false),
        }
    }
}

impl Throttle {
    /// Bytes/s of the copy; 0: no limit.
    pub fn limit_copy(&self, bytes_per_s: u64) {
        self.copy.set(bytes_per_s);
    }

    /// Ops/s applied; 0: no limit.
    pub fn limit_apply(&self, ops_per_s: u64) {
        self.apply.set(ops_per_s);
    }

    /// Whether copying holds.
    pub fn hold(&self, holds: bool) {
        self.holds.send_if_modified(|held| {
            let changed = *held != holds;
            *held = holds;
            changed
        });
    }

    /// Copying holds now.
    pub fn holds(&self) -> bool {
        *self.holds.borrow()
    }

    /// Waits while copying holds. Nothing may be in hand meanwhile (R12).
    pub async fn may_copy(&self) {
        if self.holds() {
            // An error would say that `self` is gone.
            let _ = self.holds.subscribe().wait_for(|holds| !holds).await;
        }
    }

    /// Pays for what was read to be copied, and waits until the next may be.
    pub async fn copied(&self, bytes: u64) {
        self.copy.pay(bytes).await;
        self.may_copy().await;
    }

    /// The same for what ops wait for meanwhile: a hold of copying lasts no longer than `most`.
    pub async fn copied_within(&self, bytes: u64, most: Duration) {
        self.copy.pay(bytes).await;
        let _ = tokio::time::timeout(most, self.may_copy()).await;
    }

    /// Pays for ops that were applied.
    pub async fn applied(&self, ops: u64) {
        self.apply.pay(ops).await;
    }
}

/// A token bucket that may be overdrawn by one batch.
#[derive(Debug, Default)]
struct Bucket {
    /// Per second; 0: no limit.
    rate: AtomicU64,
    // A short lock, never held across an await.
    debt: Mutex<Debt>,
    changed: Notify,
}

impl Bucket {
    fn rate(&self) -> u64 {
        self.rate.load(Relaxed)
    }

    fn set(&self, rate: u64) {
        if rate == self.rate() {
            return;
        }
        let mut debt = self.debt.lock();
        debt.settle(Instant::now(), self.rate());
        self.rate.store(rate, Relaxed);
        drop(debt);
        self.changed.notify_waiters();
    }

    async fn pay(&self, amount: u64) {
        if self.rate() == 0 {
            return;
        }
        self.debt.lock().owed += amount as f64;
        loop {
            // Before the look: a change after it is noticed.
            let changed = self.changed.notified();
            let wait = self.debt.lock().settle(Instant::now(), self.rate());
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }
}

#[derive(Debug)]
struct Debt {
    owed: f64,
    /// When it was settled last.
    at: Instant,
}

impl Default for Debt {
    fn default() -> Self {
        Debt {
            owed: 0.0,
            at: Instant::now(),
        }
    }
}

impl Debt {
    /// Pays back at `rate` since the last time; returns how long the rest takes. Without a
    /// limit nothing is owed.
    fn settle(&mut self, now: Instant, rate: u64) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        if rate == 0 {
            self.owed = 0.0;
            return Duration::ZERO;
        }
        self.owed = (self.owed - rate as f64 * passed.as_secs_f64()).max(0.0);
        Duration::from_secs_f64(self.owed / rate as f64)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_debt_is_paid_back_at_the_rate() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let mut debt = Debt {
            owed: 0.0,
            at: begun,
        };
        // what is added, when, at which rate, how long is to be waited then, ms
        let rows = [
            (0.0, 0, 100, 0),
            (200.0, 0, 100, 2_000),
            (0.0, 500, 100, 1_500),
            (50.0, 1_000, 100, 1_500),
            // Faster from then on.
            (0.0, 1_000, 300, 500),
            (0.0, 1_500, 300, 0),
            // Nothing is saved up.
            (300.0, 60_000, 100, 0),
            (0.0, 60_000, 0, 0),
            (0.0, 60_000, 1, 0),
        ];
        for (added, ms, rate, expect) in rows {
            debt.owed += added;
            let wait = debt.settle(at(ms), rate);
            assert_eq!(wait.as_millis(), expect, "{added} at {ms} by {rate}");
        }
    }

    #[tokio::test]
    async fn what_is_limited_waits_until_it_is_paid_or_the_limit_is_lifted() {
        let throttle = Throttle::default();
        assert!(throttle.copied(1 << 40).now_or_never().is_some());
        throttle.limit_copy(1);
        let mut paying = std::pin::pin!(throttle.copied(1 << 40));
        assert!(paying.as_mut().now_or_never().is_none());
        assert!(throttle.applied(1 << 40).now_or_never().is_some());
        throttle.limit_copy(0);
        paying.await;
        throttle.limit_apply(1);
        let mut paying = std::pin::pin!(throttle.applied(1 << 40));
        assert!(paying.as_mut().now_or_never().is_none());
        throttle.limit_apply(u64::MAX);
        paying.await;
    }

    #[test]
    fn copying_holds_until_it_may_go_on() {
        let throttle = Throttle::default();
        throttle.hold(true);
        assert!(throttle.holds());
        let mut waiting = std::pin::pin!(throttle.copied(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(throttle.applied(1).now_or_never().is_some());
        throttle.hold(false);
        assert!(waiting.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_ops_wait_for_is_not_held_for_long() {
        let throttle = Throttle::default();
        throttle.hold(true);
        throttle.copied_within(1, Duration::from_millis(1)).await;
        assert!(throttle.holds());
    }
}
