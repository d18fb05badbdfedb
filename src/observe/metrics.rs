//! Counters of the data plane. Written by workers, read for snapshots.

use std::sync::atomic::{AtomicBool, AtomicU64};

/// Counters of one pair. All only grow, save those said to be gauges.
#[derive(Debug, Default)]
pub struct PairMetrics {
    /// Documents and bytes the source says there are to copy (estimate).
    pub documents_total: AtomicU64,
    pub bytes_total: AtomicU64,
    pub documents_copied: AtomicU64,
    pub bytes_copied: AtomicU64,
    /// Orphans the scan left behind.
    pub documents_orphaned: AtomicU64,
    pub units_total: AtomicU64,
    pub units_copied: AtomicU64,
    pub indexes_total: AtomicU64,
    pub indexes_built: AtomicU64,
    /// Oplog entries and ops read by the tail.
    pub entries_read: AtomicU64,
    pub ops_read: AtomicU64,
    /// Ops whose effect is acknowledged by the target.
    pub ops_applied: AtomicU64,
    /// Write statements those took (fewer, by coalescing).
    pub statements_sent: AtomicU64,
    /// Gauge: ops held for units in flight, and their bytes.
    pub ops_held: AtomicU64,
    pub bytes_held: AtomicU64,
    /// Gauge: ops in lanes.
    pub ops_queued: AtomicU64,
    /// Gauge: seconds (unix) of the newest source entry known, of the tail and
    /// of the watermark.
    pub source_seconds: AtomicU64,
    pub tail_seconds: AtomicU64,
    pub applied_seconds: AtomicU64,
    /// Gauge: lag, ms: how far the target's data is behind the source's newest write.
    pub lag_ms: AtomicU64,
    pub lag_ms_max: AtomicU64,
    /// Gauge: every unit copied and every index built.
    pub ready: AtomicBool,
}
