//! What a soak found, as a text for people and as one line of JSON.
//!
//! Knows nothing about how it came about.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::check;
use crate::faults::Fault;
use crate::faults::record::Record;
use crate::load::LoadReport;

pub(super) struct Outcome {
    pub(super) record: Arc<Record>,
    /// Primaries elected, by a step-down or otherwise.
    pub(super) elections: u64,
    pub(super) engine_starts: u64,
    pub(super) engine_ends: BTreeMap<String, u64>,
    pub(super) load: LoadReport,
    pub(super) check: check::Report,
    pub(super) cutover_ms: u64,
    pub(super) seconds: f64,
}

impl Outcome {
    pub(super) fn text(&self) -> String {
        let mut out = format!("\n{}\n\n{}{}", self.record.table(), self.load, self.check);
        let ends: Vec<String> = self.engine_ends.iter().map(|(how, count)| format!("{how}: {count}")).collect();
        let _ = write!(out, "engine started {} times; ends by {}", self.engine_starts, ends.join(", "));
        out
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "faults": self.record.count(|_| true),
            "kills": self.record.count(Fault::is_kill),
            "elections": self.elections,
            "by_kind": self.record.by_kind(),
            "engine_starts": self.engine_starts,
            "engine_ends": self.engine_ends,
            "documents": self.check.documents,
            "writes": self.load.ops,
            "writes_unknown": self.load.unknown,
            "write_errors": self.load.error_count,
            "cutover_ms": self.cutover_ms,
            "equal": self.check.equal,
            "lost": self.check.lost(),
            "differences": self.check.by_kind,
            "seconds": (self.seconds * 10.0).round() / 10.0,
        })
    }
}
