//! Bounds the bytes on disk of all spools of a process together.
//!
//! A log never fails because of it: it waits before reading more. Its newest segment is
//! its guaranteed share.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug)]
pub struct Quota {
    bytes_max: u64,
    used: AtomicU64,
    /// Told whenever bytes come back.
    pub(super) freed: Notify,
}

impl Quota {
    pub fn new(bytes_max: u64) -> Self {
        Quota {
            bytes_max,
            used: AtomicU64::new(0),
            freed: Notify::new(),
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
