//! What the second operator did, by kind.
//!
//! Knows nothing about what came of it in the engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::faults::plan::Side;
use crate::operator::Deed;

#[derive(Debug, Default)]
pub struct Tally {
    /// Done and failed. Never held across an await.
    deeds: Mutex<BTreeMap<Deed, (u64, u64)>>,
    writes: Arc<AtomicU64>,
    balancers: [AtomicBool; 2],
}

impl Tally {
    pub(super) fn count(&self, deed: Deed, done: bool) {
        let mut deeds = self
            .deeds
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (well, badly) = deeds.entry(deed).or_default();
        *(if done { well } else { badly }) += 1;
    }

    /// Counts the writes to what is moved.
    pub(super) fn writes(&self) -> Arc<AtomicU64> {
        self.writes.clone()
    }

    pub(super) fn touch_balancer(&self, side: Side) {
        self.balancers[side as usize].store(true, Ordering::Relaxed);
    }

    pub(super) fn touched_balancer(&self, side: Side) -> bool {
        self.balancers[side as usize].load(Ordering::Relaxed)
    }

    pub fn done(&self) -> BTreeMap<&'static str, u64> {
        self.by_name(|(done, _)| done)
    }

    /// Where a server failed, or did not let it.
    pub fn failed(&self) -> BTreeMap<&'static str, u64> {
        self.by_name(|(_, failed)| failed)
    }

    pub fn written(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    fn by_name(&self, of: impl Fn((u64, u64)) -> u64) -> BTreeMap<&'static str, u64> {
        let deeds = self
            .deeds
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        deeds
            .iter()
            .map(|(deed, counts)| (deed.name(), of(*counts)))
            .filter(|(_, count)| 0 < *count)
            .collect()
    }
}
