//! The one place that grants memory. A permit stands for bytes in flight, lives
//! inside what holds those bytes, and gives them back when dropped.
//!
//! Every stage of every pair has its own share (R12), so no stage can take the memory
//! that another needs to make room. Nobody waits here while holding a permit that the
//! same stage would have to give back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::DOCUMENT_BYTES_MAX;

/// Bytes of one stage of one pair.
#[derive(Debug, Clone)]
pub struct Share {
    bytes: Arc<Semaphore>,
    total: usize,
}

/// Bytes granted, given back on drop.
#[derive(Debug)]
pub struct Permit(OwnedSemaphorePermit);

/// A set of permits. Those of the same share are merged into one.
#[derive(Debug, Default)]
pub struct Permits(Vec<Permit>);

/// Largest size of a server reply, in bytes; reserved before the reply is asked for.
pub const REPLY_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

impl Share {
    /// `total` bytes, but never fewer than two replies need.
    pub fn new(total: usize) -> Self {
        let total = total.max(2 * REPLY_BYTES_MAX);
        Share {
            bytes: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits until one reply's worth is free.
    pub async fn reserve_reply(&self) -> Permit {
        self.reserve(REPLY_BYTES_MAX).await
    }

    /// One reply's worth, if it is free now.
    pub fn try_reserve_reply(&self) -> Option<Permit> {
        let bytes = self.bytes.clone();
        let permit = bytes.try_acquire_many_owned(REPLY_BYTES_MAX as u32);
        permit.ok().map(Permit)
    }

    /// Waits until `bytes` are free; more than one reply's worth counts as one.
    pub async fn reserve(&self, bytes: usize) -> Permit {
        let bytes = self
            .bytes
            .clone()
            .acquire_many_owned(bytes.min(REPLY_BYTES_MAX) as u32)
            .await;
        Permit(bytes.expect("a share's semaphore is never closed"))
    }

    /// `bytes` are free now.
    pub fn has(&self, bytes: usize) -> bool {
        bytes.min(REPLY_BYTES_MAX) <= self.bytes.available_permits()
    }

    pub fn total(&self) -> usize {
        self.total
    }

    pub fn used(&self) -> usize {
        self.total - self.bytes.available_permits().min(self.total)
    }
}

impl Permit {
    /// Gives back all but `bytes`, when a reply turned out smaller.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(bytes);
        drop(self.0.split(surplus));
    }

    /// Takes up to `bytes` out into a permit of their own.
    pub fn split(&mut self, bytes: usize) -> Permit {
        let bytes = bytes.min(self.0.num_permits());
        Permit(self.0.split(bytes).expect("no more than there are"))
    }

    /// Adds what another permit of the same share stands for.
    pub fn merge(&mut self, other: Permit) {
        self.0.merge(other.0);
    }

    pub fn bytes(&self) -> usize {
        self.0.num_permits()
    }

    fn is_of_one_share_with(&self, other: &Permit) -> bool {
        Arc::ptr_eq(self.0.semaphore(), other.0.semaphore())
    }
}

impl Permits {
    pub fn add(&mut self, permit: Permit) {
        match self
            .0
            .iter_mut()
            .find(|known| known.is_of_one_share_with(&permit))
        {
            Some(known) => known.merge(permit),
            None => self.0.push(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_come_back_whole() {
        let share = Share::new(0);
        let mut reply = share.reserve_reply().await;
        reply.shrink_to(1000);
        let op = reply.split(400);
        assert_eq!((reply.bytes(), op.bytes(), share.used()), (600, 400, 1000));
        drop(reply);
        assert_eq!(share.used(), 400);
        drop(op);
        assert_eq!(share.used(), 0);
    }

    #[tokio::test]
    async fn permits_of_several_shares_go_back_to_their_own() {
        let (one, other) = (Share::new(0), Share::new(0));
        let mut permits = Permits::default();
        for (share, bytes) in [(&one, 100), (&other, 30), (&one, 20)] {
            permits.add(share.reserve(bytes).await);
        }
        assert_eq!((permits.0.len(), one.used(), other.used()), (2, 120, 30));
        drop(permits);
        assert_eq!((one.used(), other.used()), (0, 0));
    }
}
