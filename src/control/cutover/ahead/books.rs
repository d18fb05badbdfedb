//! The bookkeeping of the verification ahead: all work that goes over every collection.
//! It has a pace of its own; otherwise comparing one of many small collections would cost
//! a walk over all of them.
//!
//! A cutover believes nothing here: it asks the gate whether a round is still on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Instant;

use super::Key;
use super::sweeper::{LIST_EVERY, POLL, Sweep, key_of};
use crate::error::Result;
use crate::verify::Depth;
use crate::verify::part::{Counted, Order, Part};

/// How often the collections are listed again, and the books are kept: as a multiple of
/// what that takes.
const PAUSE_PER_LIST: u32 = 50;
const PAUSE_PER_BOOKS: u32 = 50;

impl Sweep {
    /// Does so if it is time.
    pub(super) fn keep_books(&mut self) {
        let began = Instant::now();
        if began < self.books_at {
            return;
        }
        self.let_go();
        self.publish();
        self.todo = self.open_parts();
        self.books_at = began + POLL.max(began.elapsed() * PAUSE_PER_BOOKS);
    }

    /// The collections that can be verified ahead: those that both sides give in the
    /// order of `_id`. All others are compared whole by the cutover.
    pub(super) fn list(&mut self) -> Result<()> {
        let began = Instant::now();
        if self.list_at.is_some_and(|at| began < at) {
            return Ok(());
        }
        let mut parts = Vec::new();
        for collection in self.of.coordinator.laid_out().values() {
            parts.extend(self.readers.parts(collection, Depth::Digests)?);
        }
        parts.retain(|part| {
            part.order == Order::Id && !matches!(part.source.counted, Counted::Nothing)
        });
        parts.sort_by(|a, b| (&a.ns, a.shard).cmp(&(&b.ns, b.shard)));
        let keys: HashSet<Key> = parts.iter().map(key_of).collect();
        self.resting.retain(|key, _| keys.contains(key));
        self.unread.retain(|key, _| keys.contains(key));
        self.parts = parts.into_iter().map(Arc::new).collect();
        self.list_at = Some(began + LIST_EVERY.max(began.elapsed() * PAUSE_PER_LIST));
        Ok(())
    }

    /// Drops parts for which the gate keeps touched documents no more: their collection
    /// was dropped, or too many were touched.
    fn let_go(&mut self) {
        let pairs = &self.of.pairs;
        let over = self.of.ahead.let_go(|(shard, uuid), round| {
            pairs
                .get(*shard)
                .is_some_and(|pair| pair.with_gate(|gate| gate.is_tracked(uuid, round)))
        });
        for (shard, uuid) in over {
            let alive = self.of.pairs[shard]
                .with_gate(|gate| gate.tracked(&uuid).filter(|t| t.counts()).cloned());
            if let Some(tracked) = alive {
                tracing::info!(ns = %tracked.ns(), "too many documents were touched: it counts as unverified again");
                self.rest((shard, uuid));
            }
        }
    }

    /// Open parts, in the reverse of the order they are worked on: parts already begun
    /// last.
    fn open_parts(&self) -> Vec<Arc<Part>> {
        let open = self
            .parts
            .iter()
            .rev()
            .filter(|part| self.is_open(&key_of(part)))
            .cloned();
        let (begun, mut open): (Vec<_>, Vec<_>) =
            open.partition(|part| self.of.ahead.round(&key_of(part)).is_some());
        open.extend(begun);
        open
    }

    fn publish(&self) {
        for pair in &self.of.pairs {
            let mut of_pair = self.parts.iter().filter(|part| part.shard == pair.index);
            let verified = self.list_at.is_some()
                && of_pair.all(|part| self.of.ahead.is_covered(&key_of(part)));
            let touched = pair.with_gate(|gate| gate.touched_count());
            pair.metrics
                .documents_verified
                .store(self.of.ahead.documents(pair.index), Relaxed);
            pair.metrics
                .documents_touched
                .store(touched as u64, Relaxed);
            pair.metrics.verified.store(verified, Release);
            let mut unread = self
                .unread
                .iter()
                .filter(|((shard, _), _)| *shard == pair.index);
            pair.metrics
                .obstacles
                .put("verify", unread.next().map(|(_, why)| why.clone()));
        }
    }
}
