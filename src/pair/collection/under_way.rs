//! Commands under way on a collection of the target. A late one would make a collection that
//! was dropped, or hit another of its name (R8). And while the collection is renamed there,
//! none is begun: each names it.
//!
//! Counts only. Knows nothing about what is sent.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use crate::error::Result;

/// How often a drop looks whether the last answer is there.
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub struct Count {
    count: AtomicUsize,
    /// None is begun.
    closed: AtomicBool,
}

/// None is begun and none is under way, until it is opened. One that is dropped stays closed
/// for the rest of the attempt: what was sent meanwhile may still be made.
#[derive(Debug)]
#[must_use]
pub struct Closed<'a>(&'a AtomicBool);

/// Opens when it is dropped.
struct Closing<'a>(&'a AtomicBool);

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct UnderWay<'a>(&'a AtomicUsize);

/// Sends commands that are counted by `begun`, one or more of them. Those that are not answered,
/// or that nobody waits for any more, stay counted: they may still be made, and the attempt ends.
pub async fn until_answered<C, T>(begun: C, sent: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = ManuallyDrop::new(begun);
    let answer = sent.await;
    if is_answered(&answer) {
        drop(ManuallyDrop::into_inner(begun));
    }
    answer
}

/// A server said something, were it that it did not do it.
pub fn is_answered<T>(answer: &Result<T>) -> bool {
    answer.as_ref().err().is_none_or(|e| e.code.is_some())
}

impl Count {
    pub fn one_more(&self) -> UnderWay<'_> {
        self.count.fetch_add(1, SeqCst);
        UnderWay(&self.count)
    }

    /// IMPORTANT: to be asked once it is counted: whoever closes either is seen here, or
    /// sees it.
    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub async fn opened(&self) {
        while self.is_closed() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until none is under way. One caller at a time.
    pub async fn close(&self) -> Closed<'_> {
        self.closed.store(true, SeqCst);
        let closing = Closing(&self.closed);
        self.none_left().await;
        std::mem::forget(closing);
        Closed(&self.closed)
    }

    /// Waits until there is none. Bounded by the patience of each command, and by the attempt,
    /// which ends with one that is not answered.
    pub async fn none_left(&self) {
        while self.count.load(SeqCst) != 0 {
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Closed<'_> {
    /// What was sent meanwhile is answered.
    pub fn open(self) {
        self.0.store(false, SeqCst);
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
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
    use crate::error::{Error, Kind};

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

    #[tokio::test]
    async fn what_is_not_answered_stays_counted() {
        let refused = Error {
            code: Some(11000),
            ..Error::new(Kind::Server, "refused")
        };
        let lost = Error::new(Kind::Transient, "the connection is lost");
        let rows = [(Ok(()), true), (Err(refused), true), (Err(lost), false)];
        for (answer, is_over) in rows {
            let count = Count::default();
            let sent = std::future::ready(answer.clone());
            let _ = until_answered(vec![count.one_more(), count.one_more()], sent).await;
            assert_eq!(
                count.none_left().now_or_never().is_some(),
                is_over,
                "{answer:?}"
            );
        }
        let count = Count::default();
        let mut sent = Box::pin(until_answered(
            count.one_more(),
            std::future::pending::<Result<()>>(),
        ));
        assert!((&mut sent).now_or_never().is_none());
        drop(sent);
        assert!(count.none_left().now_or_never().is_none(), "given up");
    }

    #[tokio::test]
    async fn none_is_begun_while_it_is_closed() {
        let count = Count::default();
        let one = count.one_more();
        let mut closing = Box::pin(count.close());
        assert!((&mut closing).now_or_never().is_none(), "one is under way");
        assert!(count.is_closed());
        drop(one);
        let closed = closing.await;
        assert!(count.opened().now_or_never().is_none());
        closed.open();
        assert!(count.opened().now_or_never().is_some());
    }

    #[tokio::test]
    async fn it_opens_if_nothing_was_sent_and_stays_closed_if_that_is_not_answered() {
        let count = Count::default();
        let one = count.one_more();
        let mut closing = Box::pin(count.close());
        assert!((&mut closing).now_or_never().is_none(), "one is under way");
        drop(closing);
        assert!(!count.is_closed(), "given up while it waited");
        drop(one);
        drop(count.close().await);
        assert!(count.is_closed());
    }
}
