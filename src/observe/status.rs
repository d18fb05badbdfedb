//! One snapshot of a run, rendered as a line, as JSON and as metrics.

use serde::{Deserialize, Serialize};

/// Everything an operator can ask about a run, at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub run_id: String,
    /// "validating", "layout", "copying", "following", "ready",
    /// "cutting over", "done", "failed", "cancelled"
    pub phase: String,
    /// Seconds since the run began.
    pub elapsed_s: f64,
    /// True when `cutover` would be accepted now.
    pub can_cutover: bool,
    /// Largest lag of any pair, ms.
    pub lag_ms: u64,
    pub lag_ms_max: u64,
    pub pairs: Vec<PairSnapshot>,
    pub warnings: Vec<String>,
    pub error: Option<String>,
    /// Duration of the finished cutover, ms, from the request to done.
    pub cutover_ms: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PairSnapshot {
    /// "source id → target id"
    pub name: String,
    pub documents_total: u64,
    pub bytes_total: u64,
    pub documents_copied: u64,
    pub bytes_copied: u64,
    pub documents_orphaned: u64,
    pub units_total: u64,
    pub units_copied: u64,
    pub indexes_total: u64,
    pub indexes_built: u64,
    pub ops_read: u64,
    pub ops_applied: u64,
    pub ops_held: u64,
    pub bytes_held: u64,
    pub ops_queued: u64,
    pub lag_ms: u64,
    pub lag_ms_max: u64,
    pub ready: bool,
}
