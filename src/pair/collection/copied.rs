//! How much of a collection is copied: for people only.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Debug, Default)]
pub struct Copied {
    /// As the source estimates them.
    total: AtomicU64,
    done: AtomicU64,
    indexes: AtomicU64,
}

impl Copied {
    /// An attempt begins: so many of its units are copied; they are taken to be of one size.
    pub fn begin_at(&self, total: u64, units: usize, units_copied: usize) {
        let done = u128::from(total) * units_copied as u128 / units.max(1) as u128;
        self.total.store(total, Relaxed);
        self.done.store(done as u64, Relaxed);
    }

    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }

    /// What was added will be added again.
    pub fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Relaxed);
    }

    pub fn built(&self, indexes: u64) {
        self.indexes.fetch_add(indexes, Relaxed);
    }

    /// Bytes copied and in all.
    pub fn bytes(&self) -> (u64, u64) {
        let (done, total) = (self.done.load(Relaxed), self.total.load(Relaxed));
        (done, total.max(done))
    }

    /// Those that are on the target.
    pub fn indexes(&self) -> u64 {
        self.indexes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_attempt_copied_counts_and_an_estimate_may_be_too_small() {
        let copied = Copied::default();
        assert_eq!(copied.bytes(), (0, 0));
        copied.begin_at(1_000, 4, 1);
        copied.add(300);
        copied.add(100);
        copied.take_back(300);
        assert_eq!(copied.bytes(), (350, 1_000));
        copied.add(900);
        assert_eq!(copied.bytes(), (1_250, 1_250));
        copied.built(2);
        assert_eq!(copied.indexes(), 2);
        copied.begin_at(1_000, 0, 0);
        assert_eq!(copied.bytes(), (0, 1_000));
    }
}
