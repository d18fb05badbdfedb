//! Commands under way on a collection of a target that does not bind them to its UUID
//! (before 6.0). A late one would make a collection that was dropped, or hit another of
//! its name (R8).
//!
//! Counts only. Knows nothing about what is sent.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// How often a drop looks whether the last answer is there.
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub struct Count(AtomicUsize);

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct UnderWay<'a>(&'a AtomicUsize);

impl Count {
    pub fn one_more(&self) -> UnderWay<'_> {
        self.0.fetch_add(1, SeqCst);
        UnderWay(&self.0)
    }

    /// Waits until there is none. Bounded by the patience of each command.
    pub async fn none_left(&self) {
        while self.0.load(SeqCst) != 0 {
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_last_one_to_go_ends_the_wait() {
        let count = Count::default();
        assert!(count.none_left().now_or_never().is_some());
        let (one, other) = (count.one_more(), count.one_more());
        drop(one);
        assert!(count.none_left().now_or_never().is_none());
        drop(other);
        assert!(count.none_left().now_or_never().is_some());
    }
}
