//! What a soak found, as a text for people and as one line of JSON.
//!
//! Knows nothing about how it came about.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::check;
use crate::engine::keeper::Keeper;
use crate::faults::Fault;
use crate::faults::record::Record;
use crate::load::LoadReport;
use crate::operator::Tally;

pub(super) struct Outcome {
    pub(super) record: Arc<Record>,
    /// Primaries elected, by a step-down or otherwise.
    pub(super) elections: u64,
    pub(super) engine_starts: u64,
    pub(super) engine_ends: BTreeMap<String, u64>,
    pub(super) second: Option<Second>,
    pub(super) load: LoadReport,
    pub(super) check: check::Report,
    pub(super) cutover_ms: u64,
    pub(super) seconds: f64,
}

/// What a second operator did, and what the engine made of it.
pub(super) struct Second {
    done: BTreeMap<&'static str, u64>,
    failed: BTreeMap<&'static str, u64>,
    writes: u64,
    refusals: BTreeMap<&'static str, u64>,
    begun_anew: u64,
    shards_begun_anew: u64,
    called_off: u64,
}

impl Second {
    pub(super) fn of(tally: &Tally, engine: &Keeper) -> Second {
        let refusals = engine.refusals().unwrap_or_default();
        Second {
            done: tally.done(),
            failed: tally.failed(),
            writes: tally.written(),
            refusals: refusals.counts,
            begun_anew: refusals.begun_anew,
            shards_begun_anew: refusals.shards_begun_anew,
            called_off: engine.called_off(),
        }
    }

    fn add_to(&self, json: &mut Value) {
        let deeds = self.done.values().sum::<u64>();
        json["operator"] =
            json!({"deeds": deeds, "did": self.done, "failed": self.failed, "writes": self.writes});
        json["refusals"] = json!(self.refusals);
        json["called_off"] = json!(self.called_off);
        json["begun_anew"] = json!(self.begun_anew);
        json["shards_begun_anew"] = json!(self.shards_begun_anew);
    }
}

impl Outcome {
    pub(super) fn text(&self) -> String {
        let mut out = format!("\n{}\n\n{}{}", self.record.table(), self.load, self.check);
        let ends: Vec<String> = self
            .engine_ends
            .iter()
            .map(|(how, count)| format!("{how}: {count}"))
            .collect();
        let _ = write!(
            out,
            "engine started {} times; ends by {}",
            self.engine_starts,
            ends.join(", ")
        );
        out
    }

    pub(super) fn json(&self) -> Value {
        let mut json = self.of_faults();
        if let Some(second) = &self.second {
            second.add_to(&mut json);
        }
        json
    }

    fn of_faults(&self) -> Value {
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
