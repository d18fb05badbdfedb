//! The counters of a pair. Workers write them ([`PairMetrics`]), a snapshot has their
//! values ([`PairSnapshot`]), Prometheus has a metric of each ([`PAIR_METRICS`]). All
//! three are made from one table with a row per counter.
//!
//! Knows nothing about who looks at them.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::observe::collections::CollectionCopied;
use crate::observe::obstacles::Obstacles;

/// How a metric behaves, as Prometheus calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
}

/// One metric: its name ends with its unit, counters with `_total`.
pub struct Metric<T> {
    pub name: &'static str,
    pub r#type: Type,
    pub help: &'static str,
    pub read: fn(&T) -> f64,
}

pub const fn counter<T>(name: &'static str, help: &'static str, read: fn(&T) -> f64) -> Metric<T> {
    Metric {
        name,
        r#type: Type::Counter,
        help,
        read,
    }
}

pub const fn gauge<T>(name: &'static str, help: &'static str, read: fn(&T) -> f64) -> Metric<T> {
    Metric {
        name,
        r#type: Type::Gauge,
        help,
        read,
    }
}

/// A row: the field, as what it is kept and what a snapshot has of it; how it is read; how
/// those of two pairs become one; counter or gauge, and the number Prometheus is given;
/// its metric's name and meaning.
macro_rules! counters {
    ($(
        $(#[doc = $doc:literal])*
        $field:ident: $kept:ty => $value:ty, $read:ident, $join:ident, $type:ident, $number:ident,
            $name:literal, $help:literal;
    )*) => {
        /// Counters of one pair, of all attempts of a process. All only grow, save those
        /// said to be gauges.
        #[derive(Debug, Default)]
        pub struct PairMetrics {
            $($(#[doc = $doc])* pub $field: $kept,)*
            /// Ops that do not say what they made of their document: it is doubtful too.
            /// For the engine itself.
            pub ops_unclear: AtomicU64,
            /// Up to which position transactions that cross the filters are counted: one that is
            /// read again after a fault counts once.
            pub crossed_to: AtomicU64,
            /// Obstacles of this pair to a cutover.
            pub obstacles: Obstacles,
            /// How far each collection is, the largest by name.
            pub collections: Mutex<Arc<Vec<CollectionCopied>>>,
        }

        /// One pair at one moment.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct PairSnapshot {
            /// "source id → target id"
            pub name: String,
            $(#[doc = $help] pub $field: $value,)*
            /// How far each collection is. For mongomirror's status only.
            #[serde(skip)]
            pub collections: Arc<Vec<CollectionCopied>>,
            /// Averages of the last seconds, set by `rates::Rates`.
            pub documents_per_s: f64,
            pub bytes_per_s: f64,
            pub ops_per_s: f64,
            /// Seconds until the copy is done, then until lag is gone; None if unknown.
            pub eta_s: Option<f64>,
        }

        impl PairSnapshot {
            /// Reads every counter once; values may be some µs apart.
            pub fn of(name: &str, metrics: &PairMetrics) -> Self {
                // First: what it says holds for what was verified and touched.
                let verified = flag(metrics, &metrics.verified);
                let mut pair = PairSnapshot {
                    name: name.to_owned(),
                    $($field: $read(metrics, &metrics.$field),)*
                    collections: metrics.collections.lock().clone(),
                    documents_per_s: 0.0,
                    bytes_per_s: 0.0,
                    ops_per_s: 0.0,
                    eta_s: None,
                };
                pair.verified = verified;
                pair
            }

            /// Takes another pair in: this becomes both as one.
            pub fn join(&mut self, other: &PairSnapshot) {
                $($join(&mut self.$field, other.$field);)*
                self.documents_per_s += other.documents_per_s;
                self.bytes_per_s += other.bytes_per_s;
                self.ops_per_s += other.ops_per_s;
                let slowest = [self.eta_s, other.eta_s].into_iter().flatten();
                self.eta_s = slowest.reduce(f64::max);
            }
        }

        /// Each counter of a snapshot: its field, its type and its meaning.
        pub const PAIR_FIELDS: &[(&str, &str, &str)] =
            &[$((stringify!($field), stringify!($value), $help)),*];

        /// Metrics of each pair, labelled `pair`.
        pub const PAIR_METRICS: &[Metric<PairSnapshot>] =
            &[$($type($name, $help, |pair| $number(pair.$field))),*];
    };
}

counters! {
    /// Documents and bytes the source says there are to copy (estimate).
    documents_total: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_documents", "Documents to copy, as the source estimates them.";
    bytes_total: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_bytes", "Bytes to copy, as the source estimates them.";
    documents_copied: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_documents_copied_total", "Documents copied.";
    bytes_copied: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_bytes_copied_total", "Bytes copied.";
    /// What of the totals is copied, by whichever process.
    documents_done: Before => u64, documents_done, sum, gauge, whole,
        "shardlift_pair_documents_done", "Of the documents to copy, copied by now (estimate).";
    bytes_done: Before => u64, bytes_done, sum, gauge, whole,
        "shardlift_pair_bytes_done", "Of the bytes to copy, copied by now (estimate).";
    /// Orphans the scan left behind.
    documents_orphaned: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_documents_orphaned_total", "Orphans left behind.";
    units_total: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_units", "Ranges to copy.";
    units_copied: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_units_copied", "Ranges copied.";
    indexes_total: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_indexes", "Secondary indexes to build.";
    indexes_built: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_indexes_built", "Secondary indexes built.";
    /// Oplog entries and ops read by the tail.
    entries_read: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_entries_read_total", "Oplog entries read.";
    ops_read: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_ops_read_total", "Ops read from the oplog.";
    /// Ops whose effect is acknowledged by the target.
    ops_applied: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_ops_applied_total", "Ops whose effect the target acknowledged.";
    /// Write statements those took (fewer, by coalescing).
    statements_sent: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_statements_sent_total", "Write statements the applied ops took.";
    /// Statements the target refused, and gauge: the documents they made
    /// doubtful (R3); documents read again from the source.
    ops_refused: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_ops_refused_total",
        "Writes the target refused; their documents are read again.";
    documents_doubtful: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_documents_doubtful",
        "Documents that wait to be read again after a refused write.";
    documents_resolved: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_documents_resolved_total", "Documents read again after a refused write.";
    /// Writes that found no document where one must be (R3).
    writes_missed: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_writes_missed_total", "Writes that found no document where one must be.";
    /// Transactions that are applied in part (the filters).
    transactions_crossed: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_transactions_crossed_total",
        "Transactions, as a shard logs them, of which the filters let only some ops through; since this process began.";
    /// Gauge: ops held for ranges in flight, and their bytes.
    ops_held: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_ops_held", "Ops held for ranges in flight.";
    bytes_held: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_held_bytes", "Bytes of the ops held for ranges in flight.";
    /// Held ops that memory had no room for, left to the spool; and those read
    /// again from it (fewer, where their collection was dropped).
    ops_spooled: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_ops_spooled_total", "Held ops left to the spool for lack of memory.";
    ops_replayed: AtomicU64 => u64, count, sum, counter, whole,
        "shardlift_pair_ops_replayed_total", "Of those, ops read again from the spool.";
    /// Gauge: ops in lanes.
    ops_queued: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_ops_queued", "Ops in lanes.";
    /// Gauge: seconds (unix) of the newest source entry known, of the tail and
    /// of the watermark.
    source_seconds: AtomicU64 => u64, count, max, gauge, whole,
        "shardlift_pair_source_timestamp_seconds", "Newest source entry known, unix time.";
    tail_seconds: AtomicU64 => u64, count, min, gauge, whole,
        "shardlift_pair_tail_timestamp_seconds", "Newest entry read, unix time.";
    applied_seconds: AtomicU64 => u64, count, min, gauge, whole,
        "shardlift_pair_applied_timestamp_seconds", "Watermark, unix time.";
    /// Gauge: lag, ms: how far the target's data is behind the source's newest write.
    lag_ms: AtomicU64 => u64, count, max, gauge, seconds,
        "shardlift_pair_lag_seconds",
        "How far the target's data is behind the source's newest write.";
    lag_ms_max: AtomicU64 => u64, count, max, gauge, seconds,
        "shardlift_pair_lag_max_seconds", "Largest lag so far.";
    /// Gauges: seconds the source's oplog reaches back from its newest entry, and
    /// from the position a restart would resume at.
    oplog_kept_s: AtomicU64 => u64, count, min, gauge, whole,
        "shardlift_pair_oplog_kept_seconds", "How far the source's oplog reaches back.";
    oplog_spare_s: AtomicU64 => u64, count, min, gauge, whole,
        "shardlift_pair_oplog_spare_seconds",
        "How far it reaches back beyond what a restart needs.";
    /// Gauges: how long each side took to answer the last question, µs; 0 before the first.
    source_ping_us: AtomicU64 => u64, count, max, gauge, micros,
        "shardlift_pair_source_ping_seconds", "How long the source took to answer a question.";
    target_ping_us: AtomicU64 => u64, count, max, gauge, micros,
        "shardlift_pair_target_ping_seconds", "How long the target took to answer a question.";
    /// Gauges: collections, and those that are copied and have their indexes.
    collections_total: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_collections", "Collections to copy.";
    collections_done: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_collections_done", "Collections that are copied and have their indexes.";
    /// Gauge: bytes of the spool on disk.
    spool_bytes: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_spool_bytes", "Oplog read ahead of the target, on local disk.";
    /// Gauges: documents verified ahead of the cutover, those touched since, and
    /// whether all is verified that can be.
    documents_verified: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_documents_verified", "Documents verified ahead of the cutover.";
    documents_touched: AtomicU64 => u64, count, sum, gauge, whole,
        "shardlift_pair_documents_touched",
        "Documents touched since, which the cutover reads again.";
    verified: AtomicBool => bool, flag, all, gauge, one_or_zero,
        "shardlift_pair_verified", "1 when all that can be is verified ahead.";
    /// Gauge: every unit copied and every index built.
    ready: AtomicBool => bool, flag, all, gauge, one_or_zero,
        "shardlift_pair_ready", "1 when every range is copied and every index built.";
}

fn count(_: &PairMetrics, counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn flag(_: &PairMetrics, flag: &AtomicBool) -> bool {
    flag.load(Acquire)
}

fn documents_done(metrics: &PairMetrics, before: &Before) -> u64 {
    before.and(&metrics.documents_copied)
}

fn bytes_done(metrics: &PairMetrics, before: &Before) -> u64 {
    before.and(&metrics.bytes_copied)
}

fn sum(of: &mut u64, pair: u64) {
    *of += pair;
}

fn max(of: &mut u64, pair: u64) {
    *of = pair.max(*of);
}

fn min(of: &mut u64, pair: u64) {
    *of = pair.min(*of);
}

fn all(of: &mut bool, pair: bool) {
    *of &= pair;
}

fn whole(number: u64) -> f64 {
    number as f64
}

/// From ms.
pub fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn micros(us: u64) -> f64 {
    us as f64 / 1_000_000.0
}

pub fn one_or_zero(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// What was there when the attempt began, less what a counter had counted by then: with
/// what it has counted since, it gives what is there now.
#[derive(Debug, Default)]
pub struct Before(AtomicI64);

impl Before {
    fn begin_at(&self, there: u64, counter: &AtomicU64) {
        self.0
            .store(there as i64 - counter.load(Relaxed) as i64, Relaxed);
    }

    fn and(&self, counter: &AtomicU64) -> u64 {
        let now = self.0.load(Relaxed);
        now.saturating_add_unsigned(counter.load(Relaxed)).max(0) as u64
    }
}

/// The work of an attempt, as the source estimates it, and how much of it is copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub documents: u64,
    pub bytes: u64,
    pub units: u64,
    pub documents_copied: u64,
    pub bytes_copied: u64,
    pub units_copied: u64,
}

impl Totals {
    /// Adds a collection of so many units; they are taken to be of one size.
    pub fn add(&mut self, documents: u64, bytes: u64, units: usize, units_copied: usize) {
        let share =
            |all: u64| (u128::from(all) * units_copied as u128 / units.max(1) as u128) as u64;
        self.documents += documents;
        self.bytes += bytes;
        self.units += units as u64;
        self.documents_copied += share(documents);
        self.bytes_copied += share(bytes);
        self.units_copied += units_copied as u64;
    }
}

impl PairMetrics {
    /// Begins an attempt: units that the one before was working on are over.
    pub fn begin(&self) {
        for gauge in [
            &self.indexes_total,
            &self.indexes_built,
            &self.documents_doubtful,
            &self.documents_verified,
            &self.documents_touched,
        ] {
            gauge.store(0, Relaxed);
        }
        self.verified.store(false, Relaxed);
        self.ready.store(false, Relaxed);
        self.obstacles.clear_all();
    }

    /// Sets the work of the attempt.
    pub fn plan(&self, totals: Totals) {
        self.documents_done
            .begin_at(totals.documents_copied, &self.documents_copied);
        self.bytes_done
            .begin_at(totals.bytes_copied, &self.bytes_copied);
        self.documents_total.store(totals.documents, Relaxed);
        self.bytes_total.store(totals.bytes, Relaxed);
        self.units_total.store(totals.units, Relaxed);
        self.units_copied.store(totals.units_copied, Relaxed);
    }
}

#[cfg(test)]
mod tests;
