//! What happened when: a line of JSON for each fault, counts by kind, and by
//! the phase the engine was in.
//!
//! Knows nothing about how faults are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use serde_json::{Value, json};

use crate::faults::Fault;

/// Phases in the order a run passes them; others come after.
const PHASES: [&str; 10] = [
    "down",
    "starting",
    "silent",
    "validating",
    "layout",
    "copying",
    "following",
    "ready",
    "cutting over",
    "done",
];

pub struct Record {
    began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    log: Box<dyn Write + Send>,
    counts: BTreeMap<Fault, BTreeMap<String, u64>>,
}

impl Record {
    pub fn new(log: Box<dyn Write + Send>) -> Record {
        Record {
            began: Instant::now(),
            inner: Mutex::new(Inner {
                log,
                counts: BTreeMap::new(),
            }),
        }
    }

    /// Counts a fault that began.
    pub fn began(&self, fault: Fault, place: &str, phase: &str, details: Value) {
        *self
            .lock()
            .counts
            .entry(fault)
            .or_default()
            .entry(phase.to_owned())
            .or_default() += 1;
        self.tell(
            "begin",
            json!({"fault": fault.name(), "where": place, "phase": phase, "details": details}),
        );
    }

    /// One line; `fields` must be an object.
    pub fn tell(&self, event: &str, fields: Value) {
        let mut line = json!({"t_s": (self.began.elapsed().as_secs_f64() * 1e3).round() / 1e3, "event": event});
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        // A log that cannot be written ends no run.
        let log = &mut self.lock().log;
        let _ = writeln!(log, "{line}").and_then(|()| log.flush());
    }

    /// Faults so far.
    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let inner = self.lock();
        inner
            .counts
            .iter()
            .map(|(fault, phases)| (fault.name(), phases.values().sum()))
            .collect()
    }

    /// Faults so far that are `wanted`.
    pub fn count(&self, wanted: impl Fn(Fault) -> bool) -> u64 {
        self.lock()
            .counts
            .iter()
            .filter(|(fault, _)| wanted(**fault))
            .flat_map(|(_, phases)| phases.values())
            .sum()
    }

    /// Faults by the engine's phase.
    pub fn table(&self) -> String {
        let inner = self.lock();
        let seen: BTreeSet<&String> = inner.counts.values().flat_map(BTreeMap::keys).collect();
        let known = PHASES
            .iter()
            .filter(|phase| seen.contains(&phase.to_string()))
            .map(|phase| phase.to_string());
        let others = seen
            .iter()
            .filter(|phase| !PHASES.contains(&phase.as_str()))
            .map(|phase| phase.to_string());
        let phases: Vec<String> = known.chain(others).collect();
        let mut out = format!("{:<14}", "fault");
        phases
            .iter()
            .chain([&"all".to_owned()])
            .for_each(|phase| _ = write!(out, "{phase:>13}"));
        let mut sums = vec![0; phases.len() + 1];
        for (fault, counts) in &inner.counts {
            let mut row: Vec<u64> = phases
                .iter()
                .map(|phase| counts.get(phase).copied().unwrap_or_default())
                .collect();
            row.push(row.iter().sum());
            sums.iter_mut()
                .zip(&row)
                .for_each(|(sum, count)| *sum += count);
            add_row(&mut out, fault.name(), &row);
        }
        add_row(&mut out, "all", &sums);
        out
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn add_row(out: &mut String, name: &str, counts: &[u64]) {
    let _ = write!(out, "\n{name:<14}");
    counts
        .iter()
        .for_each(|count| _ = write!(out, "{count:>13}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_adds_up() {
        let record = Record::new(Box::new(std::io::sink()));
        for (fault, phase) in [
            (Fault::Kill, "ready"),
            (Fault::Kill, "copying"),
            (Fault::Cut, "copying"),
        ] {
            record.began(fault, "here", phase, json!({}));
        }
        let table = record.table();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0], ["fault", "copying", "ready", "all"]);
        assert_eq!(rows[1], ["kill", "1", "1", "2"]);
        assert_eq!(rows[3], ["all", "2", "1", "3"]);
        assert_eq!(
            (record.count(Fault::is_kill), record.by_kind()["cut"]),
            (2, 1)
        );
    }
}
