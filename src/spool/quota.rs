//! How many bytes all spools of a process may take on disk, logs and spills of
//! every pair together.
//!
//! A log never fails here: it waits before it reads more, and its newest
//! segment is its guaranteed share. A spill cannot wait and is refused.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::fault;
use crate::error::Result;

#[derive(Debug)]
pub struct Quota {
    bytes_max: u64,
    used: AtomicU64,
    /// Told whenever bytes come back.
    pub(super) freed: Notify,
}

impl Quota {
    pub fn new(bytes_max: u64) -> Self {
        Quota { bytes_max, used: AtomicU64::new(0), freed: Notify::new() }
    }

    /// Takes `bytes`, or says that there are no more.
    pub(super) fn take(&self, bytes: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(bytes).filter(|&after| after <= self.bytes_max);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(used) => Err(fault::quota(used, self.bytes_max)),
        }
    }

    /// Takes `bytes` that are already on disk, beyond the bound if need be.
    pub(super) fn charge(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_waiters();
    }

    pub fn has_room(&self) -> bool {
        self.used() < self.bytes_max
    }

    /// Bytes on disk now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}
