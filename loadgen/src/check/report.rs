//! What a comparison found: counted always, named up to a limit.
//!
//! Knows nothing about where a difference comes from.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;

use super::balancer::Balancers;

/// One difference between source and target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Namespace or database it is in.
    pub ns: String,
    /// Such as `missing document`, `index`, `options`, `chunks`.
    pub kind: &'static str,
    /// What is where, on both sides.
    pub detail: String,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub equal: bool,
    pub namespaces: usize,
    /// Documents and bytes of the source.
    pub documents: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// All differences, named or not.
    pub difference_count: u64,
    /// The same by kind.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// The first ones.
    pub differences: Vec<Difference>,
    /// Users' collections of the source in `admin`, `config` and `local`, which no
    /// migration carries: no difference, but to be known.
    pub left_behind: Vec<String>,
    /// Where both sides are sharded.
    pub balancers: Option<Balancers>,
}

/// What was looked at besides differences.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) namespaces: usize,
    pub(super) left_behind: Vec<String>,
    pub(super) balancers: Option<Balancers>,
}

/// Collects differences from many tasks.
pub(super) struct Findings {
    limit: usize,
    pub(super) documents: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Neither lock is held across an await.
    by_kind: Mutex<BTreeMap<&'static str, u64>>,
    named: Mutex<Vec<Difference>>,
}

impl Findings {
    pub(super) fn new(limit: usize) -> Self {
        let zero = || AtomicU64::new(0);
        Findings {
            limit,
            documents: zero(),
            bytes: zero(),
            by_kind: Mutex::default(),
            named: Mutex::default(),
        }
    }

    /// Counts a difference; `detail` is made only where it will be shown.
    pub(super) fn add(&self, ns: &str, kind: &'static str, detail: impl FnOnce() -> String) {
        *self
            .by_kind
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .entry(kind)
            .or_default() += 1;
        let mut named = self
            .named
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if named.len() < self.limit {
            named.push(Difference {
                ns: ns.to_string(),
                kind,
                detail: detail(),
            });
        }
    }

    pub(super) fn report(&self, seen: Seen, elapsed: Duration) -> Report {
        let mut differences = self
            .named
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone();
        differences.sort_by(|a, b| a.ns.cmp(&b.ns));
        let by_kind = self
            .by_kind
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone();
        let difference_count = by_kind.values().sum();
        Report {
            equal: difference_count == 0,
            namespaces: seen.namespaces,
            documents: self.documents.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            seconds: elapsed.as_secs_f64(),
            difference_count,
            by_kind,
            differences,
            left_behind: seen.left_behind,
            balancers: seen.balancers,
        }
    }
}

impl Report {
    /// Documents that are missing on the target or differ there.
    pub fn lost(&self) -> u64 {
        let of = |kind| self.by_kind.get(kind).copied().unwrap_or_default();
        of("missing document") + of("different document")
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for difference in &self.differences {
            writeln!(
                f,
                "{}: {}: {}",
                difference.ns, difference.kind, difference.detail
            )?;
        }
        let hidden = self.difference_count - self.differences.len() as u64;
        if 0 < hidden {
            writeln!(f, "… and {hidden} more differences")?;
        }
        for ns in &self.left_behind {
            writeln!(f, "{ns}: left behind: no migration carries it")?;
        }
        let verdict = if self.equal { "equal" } else { "DIFFERENT" };
        writeln!(
            f,
            "{verdict}: {} namespaces, {} documents, {:.1} MB compared in {:.1} s, {} differences",
            self.namespaces,
            self.documents,
            self.bytes as f64 / 1e6,
            self.seconds,
            self.difference_count
        )
    }
}
