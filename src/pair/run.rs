//! A running pair, as control sees it: its progress, what waits on what, and closing the
//! gates at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, Uuid};
use parking_lot::Mutex;

use crate::cluster::catalog::{Collection, MapVersion, Namespace};
use crate::cluster::ownership::Ownership;
use crate::error;
use crate::observe::collections::{self, CollectionCopied};
use crate::observe::counters::PairMetrics;
use crate::pair::budget::Share;
use crate::pair::checkpoint::Checkpointer;
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::ddl::index::Indexer;
use crate::pair::gate::Gate;
use crate::pair::lanes::inbox::Inbox;
use crate::pair::oplog::feed::Feed;
use crate::pair::tail::view::TailView;
use crate::position::Position;

/// What control sees of a running pair.
pub struct Pair {
    pub name: String,
    /// Index of the source shard.
    pub index: usize,
    pub metrics: Arc<PairMetrics>,
    pub(super) gate: Arc<Mutex<Gate>>,
    pub(super) view: Arc<Mutex<TailView>>,
    pub(super) lanes: Vec<Arc<Inbox>>,
    pub(super) chores: Chores,
    pub(super) indexer: Arc<Indexer>,
    pub(super) checkpointer: Arc<Checkpointer>,
    pub(super) feed: Arc<Feed>,
    /// The source's clock as the attempt began: earlier ones met no entry beyond.
    pub(super) newest_at_start: Position,
    /// Ops left to the spool, and read again, by the attempts before.
    pub(super) left_before: u64,
    pub(super) replayed_before: u64,
    pub(super) scans_pending: Arc<AtomicUsize>,
    /// The tail's.
    pub(super) share: Share,
}

/// Index options held back, by source UUID: the collection's name, and the options of
/// each index that has some.
pub type HeldBackOf = HashMap<Uuid, (Namespace, Vec<RawDocumentBuf>)>;

/// The progress of a pair in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The resume position moved on, or units were settled: recorded, and proven.
    CameOn,
    /// Nothing was to be done.
    Idle,
    /// The work of the attempt will have to be repeated.
    Stuck,
}

impl Pair {
    /// Brings the recorded state up to date.
    pub async fn record_all(&self) -> error::Result<()> {
        self.checkpointer.record_all().await
    }

    /// A position below every unapplied op.
    pub fn watermark(&self) -> Position {
        self.gate.lock().watermark()
    }

    /// A short look at the gate, or a word to it, under its lock.
    pub fn with_gate<T>(&self, work: impl FnOnce(&mut Gate) -> T) -> T {
        work(&mut self.gate.lock())
    }

    /// Every unit is copied, every index built, no DDL under way.
    pub fn is_complete(&self) -> bool {
        self.scans_pending.load(SeqCst) == 0 && self.chores.pending() == 0
    }

    /// The position at which a restart would resume.
    pub fn resume_position(&self) -> Position {
        self.checkpointer.recorded()
    }

    /// No entry beyond was ever met.
    pub fn reached(&self) -> Position {
        self.gate.lock().begun().max(self.newest_at_start)
    }

    /// Forgets dropped collections that the tail will not meet again.
    pub async fn forget(&self, uuids: &[Uuid]) -> error::Result<()> {
        self.checkpointer.store.forget(uuids).await?;
        self.gate.lock().forget(uuids);
        Ok(())
    }

    /// Records how a collection is sharded by now on both sides. It changes no document's owner,
    /// so what is tracked of it stays, but that it is sharded.
    pub async fn sharded_anew(
        &self,
        collection: &Collection,
        target_version: Option<MapVersion>,
    ) -> error::Result<()> {
        let store = &self.checkpointer.store;
        store.sharded_anew(collection, target_version).await?;
        let tracked = collection
            .uuid
            .and_then(|uuid| self.gate.lock().tracked(&uuid).cloned());
        if let (Some(tracked), Some(sharded)) = (tracked, &collection.sharded) {
            tracked.own(Ownership::of(sharded, self.index)?);
        }
        Ok(())
    }

    /// The source's oldest entry.
    pub async fn oldest_on_source(&self) -> error::Result<Option<Position>> {
        self.feed.oldest_on_source().await
    }

    /// A value that changes with any work done.
    pub fn progress(&self) -> (u64, u64, u64, Position) {
        let m = &self.metrics;
        let done = [&m.documents_copied, &m.ops_applied, &m.indexes_built]
            .map(|counter| counter.load(Relaxed));
        (done[0], done[1], done[2], self.watermark())
    }

    /// Something is to be copied, applied or built.
    pub fn has_work(&self) -> bool {
        let (watermark, passed) = {
            let gate = self.gate.lock();
            (gate.watermark(), gate.passed())
        };
        !self.is_complete() || watermark < passed || !self.feed.is_read_to(passed)
    }

    /// The progress of an attempt that is about to end.
    pub fn outcome(&self) -> Outcome {
        if self.checkpointer.came_on.load(SeqCst) {
            Outcome::CameOn
        } else if self.has_work() {
            Outcome::Stuck
        } else {
            Outcome::Idle
        }
    }

    /// A text for people: what waits on what.
    pub fn waits_on(&self) -> String {
        let (watermark, passed, held, left, fence, read) = {
            let gate = self.gate.lock();
            (
                gate.watermark(),
                gate.passed(),
                gate.held(),
                gate.left(),
                gate.oldest_fence(),
                gate.oldest_read(),
            )
        };
        let replayed = self.metrics.ops_replayed.load(Relaxed) - self.replayed_before;
        let queued: usize = self.lanes.iter().map(|lane| lane.len()).sum();
        let mut parts = vec![
            format!(
                "the tail is at {passed}, applied up to {watermark}, recorded up to {}",
                self.resume_position()
            ),
            format!(
                "{} of {} MB of the tail's memory are in use",
                self.share.used() >> 20,
                self.share.total() >> 20
            ),
            format!(
                "{} ops ({} bytes) are held, {queued} wait for the target",
                held.0, held.1
            ),
            format!("the spool holds {} MB", self.feed.bytes() >> 20),
            format!("{left} held ops were left to it, {replayed} of them read again"),
        ];
        parts.extend(fence.map(|fence| format!("the oldest range being copied began at {fence}")));
        let waits = |read| format!("ops wait for a read in the order of the disk from {read} on");
        parts.extend(read.map(waits));
        parts.extend(self.chores.stuck(Duration::from_secs(10)));
        parts.join("; ")
    }

    /// DDL and index builds that have taken longer than `patience`.
    pub fn stuck(&self, patience: std::time::Duration) -> Vec<String> {
        self.chores.stuck(patience)
    }

    /// Brings gauges up to date. `source_ms`: wall clock of the source's newest
    /// write, ms since 1970, as far as known.
    pub fn observe(&self, source_ms: u64) {
        let (watermark, passed, held, left) = {
            let gate = self.gate.lock();
            (gate.watermark(), gate.passed(), gate.held(), gate.left())
        };
        let lag_ms = {
            let mut view = self.view.lock();
            let caught_up = self.feed.is_read_to(passed) && watermark == passed;
            view.walls
                .lag_ms(watermark, source_ms, caught_up, Instant::now())
        };
        let m = &self.metrics;
        m.lag_ms.store(lag_ms, Relaxed);
        m.lag_ms_max.fetch_max(lag_ms, Relaxed);
        m.ops_held.store(held.0, Relaxed);
        m.bytes_held.store(held.1, Relaxed);
        m.ops_spooled.store(self.left_before + left, Relaxed);
        m.ops_queued.store(
            self.lanes.iter().map(|lane| lane.len() as u64).sum(),
            Relaxed,
        );
        m.source_seconds.store(source_ms / 1_000, Relaxed);
        m.tail_seconds.store(passed.seconds(), Relaxed);
        m.applied_seconds.store(watermark.seconds(), Relaxed);
        m.spool_bytes.store(self.feed.bytes(), Relaxed);
        m.ready.store(self.is_complete(), Relaxed);
        let unread = |why| {
            format!(
                "the source's oplog cannot be read further: {why}; it is retried, and the run parks after away_max_s without progress"
            )
        };
        m.obstacles.put("oplog", self.feed.trouble().map(unread));
    }

    /// Brings the numbers of collections up to date. One is done when it is copied and
    /// nothing is built or changed on it.
    pub fn count_collections(&self) {
        let busy = self.chores.names();
        let all: Vec<(Arc<Tracked>, bool)> = self.with_gate(|gate| {
            let counts = gate.all_that_count();
            counts
                .map(|tracked| (tracked.clone(), gate.is_copied(&tracked.uuid)))
                .collect()
        });
        let one = |(tracked, is_copied): (Arc<Tracked>, bool)| {
            let (bytes_copied, bytes) = tracked.copied.bytes();
            CollectionCopied {
                ns: tracked.ns().public().to_string(),
                is_done: is_copied && !busy.contains(&tracked.logged_ns().public()),
                bytes_copied,
                bytes,
                indexes_built: tracked.copied.indexes(),
            }
        };
        let all: Vec<CollectionCopied> = all.into_iter().map(one).collect();
        let done = all.iter().filter(|one| one.is_done).count();
        self.metrics
            .collections_total
            .store(all.len() as u64, Relaxed);
        self.metrics.collections_done.store(done as u64, Relaxed);
        *self.metrics.collections.lock() = Arc::new(collections::bounded(all));
    }

    /// Reads the part of the tail's state that the cutover needs.
    pub fn with_view<T>(&self, read: impl FnOnce(&TailView) -> T) -> T {
        read(&self.view.lock())
    }

    /// The collection of the newest change by users after `marker`.
    pub fn changed_since(&self, marker: Position) -> Option<String> {
        let view = self.view.lock();
        view.user_change
            .as_ref()
            .filter(|(position, _)| marker < *position)
            .map(|(_, ns)| ns.clone())
    }

    /// A delete after `marker` on a collection with an expiry: by the source itself, or
    /// by a user.
    pub fn expired_since(&self, marker: Position) -> bool {
        self.view
            .lock()
            .expiry_delete
            .is_some_and(|newest| marker < newest)
    }

    /// Gives a collection the source's indexes and options, in turn with the DDL on it. The
    /// pair is not complete before. Does nothing if the collection is gone.
    pub fn mend_definition(&self, uuid: &Uuid) {
        let tracked = self.with_gate(|gate| {
            gate.tracked(uuid)
                .filter(|tracked| tracked.counts())
                .cloned()
        });
        let Some(tracked) = tracked else { return };
        let (of, indexer) = (tracked.clone(), self.indexer.clone());
        let repair = async move { indexer.mend(&of).await };
        tracked.as_logged(|ns| self.chores.add("repairing", ns, repair));
    }

    /// Index options of this pair that are set at the cutover, in the form that `collMod`
    /// takes.
    pub fn held_back(&self) -> HeldBackOf {
        let gate = self.gate.lock();
        let of = |tracked: &Arc<Tracked>| (tracked.uuid, (tracked.ns(), tracked.held_back.all()));
        gate.all_that_count().map(of).collect()
    }
}

/// A reason why the gates cannot be closed for good.
#[derive(Debug, PartialEq, Eq)]
pub enum Noise {
    /// A user's change of this collection.
    Change(String),
    /// A delete that may be the source's own expiry: it is applied, or will be.
    Expiry,
}

/// Closes the gates of all pairs for good if no user changed anything after `first` and
/// nothing expired after `second`; otherwise closes none. Later ops are late writes,
/// which are counted and not applied (R11).
pub fn close_all_if_quiet(
    pairs: &[Arc<Pair>],
    first: &[Position],
    second: &[Position],
) -> Result<(), Noise> {
    // All locks at once, in the order of the pairs: the tails note changes under
    // them, so none can come between the look and the last gate.
    let mut gates: Vec<_> = pairs.iter().map(|pair| pair.gate.lock()).collect();
    let mut changed = pairs
        .iter()
        .zip(first)
        .filter_map(|(pair, marker)| pair.changed_since(*marker));
    if let Some(ns) = changed.next() {
        return Err(Noise::Change(ns));
    }
    if pairs
        .iter()
        .zip(second)
        .any(|(pair, marker)| pair.expired_since(*marker))
    {
        return Err(Noise::Expiry);
    }
    gates.iter_mut().for_each(|gate| gate.close());
    Ok(())
}
