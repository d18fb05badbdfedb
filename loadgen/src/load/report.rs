//! What a load did: counts, latencies and errors, per kind and together.
//!
//! Knows nothing about how operations are run.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::mix::Kind;

/// Latencies above are recorded as this, microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Distinct error texts kept; the rest is only counted.
const ERROR_TEXTS_MAX: usize = 50;

/// Counts and latencies of one worker, or of all of them together.
#[derive(Default)]
pub(super) struct Stats {
    kinds: BTreeMap<Kind, KindStats>,
    errors: BTreeMap<String, u64>,
    error_count: u64,
    raced: u64,
    unknown: u64,
}

struct KindStats {
    ops: u64,
    latency_us: Histogram<u64>,
}

impl KindStats {
    fn new() -> Self {
        let latency_us =
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).expect("bounds and digits are legal");
        KindStats { ops: 0, latency_us }
    }
}

impl Stats {
    /// Counts `ops` operations that were answered together after `latency`.
    pub(super) fn record(&mut self, kind: Kind, ops: u64, latency: Duration) {
        let stats = self.kinds.entry(kind).or_insert_with(KindStats::new);
        stats.ops += ops;
        stats
            .latency_us
            .saturating_record_n((latency.as_micros() as u64).max(1), ops);
    }

    /// An operation lost a race that the workload itself makes, such as two
    /// inserts of one `_id`.
    pub(super) fn raced(&mut self) {
        self.raced += 1;
    }

    /// The servers failed under an operation: it may have taken effect.
    pub(super) fn unknown(&mut self) {
        self.unknown += 1;
    }

    pub(super) fn error(&mut self, text: String) {
        self.error_count += 1;
        if self.errors.len() < ERROR_TEXTS_MAX || self.errors.contains_key(&text) {
            *self.errors.entry(text).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Stats) {
        for (kind, more) in &other.kinds {
            let stats = self.kinds.entry(*kind).or_insert_with(KindStats::new);
            stats.ops += more.ops;
            stats
                .latency_us
                .add(&more.latency_us)
                .expect("all histograms have the same bounds");
        }
        for (text, count) in &other.errors {
            *self.errors.entry(text.clone()).or_default() += count;
        }
        self.error_count += other.error_count;
        self.raced += other.raced;
        self.unknown += other.unknown;
    }

    pub(super) fn report(&self, elapsed: Duration) -> LoadReport {
        let mut all = KindStats::new();
        for stats in self.kinds.values() {
            all.ops += stats.ops;
            all.latency_us
                .add(&stats.latency_us)
                .expect("all histograms have the same bounds");
        }
        LoadReport {
            ops: all.ops,
            seconds: elapsed.as_secs_f64(),
            rate: all.ops as f64 / elapsed.as_secs_f64().max(1e-9),
            total: KindReport::from(&all),
            by_kind: self
                .kinds
                .iter()
                .map(|(kind, stats)| (kind.name(), KindReport::from(stats)))
                .collect(),
            raced: self.raced,
            unknown: self.unknown,
            error_count: self.error_count,
            errors: self.errors.clone(),
        }
    }
}

/// What a load did over some time.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Operations answered, whether they found their document or not.
    pub ops: u64,
    pub seconds: f64,
    /// Operations per second.
    pub rate: f64,
    pub total: KindReport,
    pub by_kind: BTreeMap<&'static str, KindReport>,
    /// Lost races that the workload itself makes: no errors.
    pub raced: u64,
    /// Interrupted by a failing server, so that nobody knows whether they took
    /// effect: with `tolerant` no errors.
    pub unknown: u64,
    pub error_count: u64,
    /// Error texts with how often each came.
    pub errors: BTreeMap<String, u64>,
}

impl LoadReport {
    /// The whole in one line.
    pub fn line(&self) -> String {
        let ms = |us: u64| us as f64 / 1e3;
        let (p50, p99) = (ms(self.total.p50_us), ms(self.total.p99_us));
        format!(
            "{:.0} ops/s  p50 {p50:.2} ms  p99 {p99:.2} ms  {} errors",
            self.rate, self.error_count
        )
    }
}

/// Operations of one kind and their latencies, microseconds from the time due.
#[derive(Debug, Clone, Serialize)]
pub struct KindReport {
    pub ops: u64,
    pub p50_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

impl From<&KindStats> for KindReport {
    fn from(stats: &KindStats) -> Self {
        let at = |quantile| stats.latency_us.value_at_quantile(quantile);
        let max_us = stats.latency_us.max();
        KindReport {
            ops: stats.ops,
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us,
        }
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |f: &mut std::fmt::Formatter<'_>, name: &str, kind: &KindReport| {
            let ms = |us: u64| us as f64 / 1e3;
            writeln!(
                f,
                "{name:<20} {:>9} ops   p50 {:>8.2}  p95 {:>8.2}  p99 {:>8.2}  p99.9 {:>8.2}  max {:>8.2} ms",
                kind.ops,
                ms(kind.p50_us),
                ms(kind.p95_us),
                ms(kind.p99_us),
                ms(kind.p999_us),
                ms(kind.max_us)
            )
        };
        for (name, kind) in &self.by_kind {
            line(f, name, kind)?;
        }
        line(f, "all", &self.total)?;
        for (text, count) in &self.errors {
            writeln!(f, "{count} × {text}")?;
        }
        writeln!(
            f,
            "{:.0} ops/s over {:.1} s, {} errors, {} lost races, {} interrupted",
            self.rate, self.seconds, self.error_count, self.raced, self.unknown
        )
    }
}
