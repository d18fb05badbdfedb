//! Counters of the data plane, written by workers and read for snapshots; and
//! every metric's name, unit and meaning, rendered for Prometheus.
//!
//! Knows nothing about who scrapes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use crate::observe::obstacles::Obstacles;
use crate::observe::status::{PairSnapshot, Snapshot};

/// Counters of one pair, of all attempts of a process. All only grow, save those said to
/// be gauges.
#[derive(Debug, Default)]
pub struct PairMetrics {
    /// Documents and bytes the source says there are to copy (estimate).
    pub documents_total: AtomicU64,
    pub bytes_total: AtomicU64,
    pub documents_copied: AtomicU64,
    pub bytes_copied: AtomicU64,
    /// What of the totals was copied when the attempt began, less the counters then.
    documents_before: AtomicI64,
    bytes_before: AtomicI64,
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
    /// Statements the target refused, and gauge: the documents they made
    /// doubtful (R3); documents read again from the source.
    pub ops_refused: AtomicU64,
    /// Ops that do not say what they made of their document: it is doubtful too.
    pub ops_unclear: AtomicU64,
    pub documents_doubtful: AtomicU64,
    pub documents_resolved: AtomicU64,
    /// Writes that found no document where one must be (R3).
    pub writes_missed: AtomicU64,
    /// Gauge: ops held for units in flight, and their bytes.
    pub ops_held: AtomicU64,
    pub bytes_held: AtomicU64,
    /// Held ops that memory had no room for, left to the spool; and those read
    /// again from it (fewer, where their collection was dropped).
    pub ops_spooled: AtomicU64,
    pub ops_replayed: AtomicU64,
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
    /// Gauges: seconds the source's oplog reaches back from its newest entry, and
    /// from the position a restart would resume at.
    pub oplog_kept_s: AtomicU64,
    pub oplog_spare_s: AtomicU64,
    /// Gauge: bytes of the spool on disk.
    pub spool_bytes: AtomicU64,
    /// Gauges: documents verified ahead of the cutover, those touched since, and
    /// whether all is verified that can be.
    pub documents_verified: AtomicU64,
    pub documents_touched: AtomicU64,
    pub verified: AtomicBool,
    /// Gauge: every unit copied and every index built.
    pub ready: AtomicBool,
    /// What of this pair stands in the way of a cutover.
    pub obstacles: Obstacles,
}

/// What an attempt has before it, as the source estimates it, and what of it is copied.
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
    /// An attempt begins: what the one before was in the middle of is over.
    pub fn begin(&self) {
        for gauge in [
            &self.indexes_total,
            &self.indexes_built,
            &self.documents_doubtful,
        ] {
            gauge.store(0, Relaxed);
        }
        for gauge in [&self.documents_verified, &self.documents_touched] {
            gauge.store(0, Relaxed);
        }
        self.verified.store(false, Relaxed);
        self.ready.store(false, Relaxed);
        self.obstacles.clear_all();
    }

    /// What the attempt has before it.
    pub fn plan(&self, totals: Totals) {
        let less = |then: u64, counter: &AtomicU64| then as i64 - counter.load(Relaxed) as i64;
        self.documents_before.store(
            less(totals.documents_copied, &self.documents_copied),
            Relaxed,
        );
        self.bytes_before
            .store(less(totals.bytes_copied, &self.bytes_copied), Relaxed);
        self.documents_total.store(totals.documents, Relaxed);
        self.bytes_total.store(totals.bytes, Relaxed);
        self.units_total.store(totals.units, Relaxed);
        self.units_copied.store(totals.units_copied, Relaxed);
    }

    /// Documents and bytes of the totals that are copied, whichever attempt did it.
    pub fn done(&self) -> (u64, u64) {
        let sum = |before: &AtomicI64, counter: &AtomicU64| {
            before
                .load(Relaxed)
                .saturating_add_unsigned(counter.load(Relaxed))
                .max(0) as u64
        };
        (
            sum(&self.documents_before, &self.documents_copied),
            sum(&self.bytes_before, &self.bytes_copied),
        )
    }
}

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
    read: fn(&T) -> f64,
}

const fn counter<T>(name: &'static str, help: &'static str, read: fn(&T) -> f64) -> Metric<T> {
    Metric {
        name,
        r#type: Type::Counter,
        help,
        read,
    }
}

const fn gauge<T>(name: &'static str, help: &'static str, read: fn(&T) -> f64) -> Metric<T> {
    Metric {
        name,
        r#type: Type::Gauge,
        help,
        read,
    }
}

/// Metrics of the run.
#[rustfmt::skip]
pub const RUN_METRICS: &[Metric<Snapshot>] = &[
    gauge("shardlift_elapsed_seconds", "Time since the run began.", |s| s.elapsed_s),
    gauge("shardlift_lag_seconds", "Largest lag of any pair.", |s| seconds(s.lag_ms)),
    gauge("shardlift_lag_max_seconds", "Largest lag of any pair so far.", |s| seconds(s.lag_ms_max)),
    gauge("shardlift_can_cutover", "1 when a cutover would be accepted now.", |s| flag(s.can_cutover)),
    gauge("shardlift_obstacles", "What stands in the way of a cutover now.", |s| s.obstacles.len() as f64),
    gauge("shardlift_failed", "1 when the run stopped with an error.", |s| flag(s.error.is_some())),
    gauge("shardlift_warnings", "Warnings an operator should read.", |s| s.warnings.len() as f64),
    counter("shardlift_cutovers_given_up_total", "Cutovers that went back to following.", |s| s.cutovers_given_up as f64),
    counter("shardlift_recoveries_total", "Times the run went back to its last checkpoint.", |s| s.recoveries as f64),
    gauge("shardlift_cutover_seconds", "Duration of the finished cutover; 0 before.", |s| seconds(s.cutover_ms.unwrap_or(0))),
];

/// Metrics of each pair, labelled `pair`.
#[rustfmt::skip]
pub const PAIR_METRICS: &[Metric<PairSnapshot>] = &[
    gauge("shardlift_pair_documents", "Documents to copy, as the source estimates them.", |p| p.documents_total as f64),
    gauge("shardlift_pair_bytes", "Bytes to copy, as the source estimates them.", |p| p.bytes_total as f64),
    counter("shardlift_pair_documents_copied_total", "Documents copied.", |p| p.documents_copied as f64),
    counter("shardlift_pair_bytes_copied_total", "Bytes copied.", |p| p.bytes_copied as f64),
    counter("shardlift_pair_documents_orphaned_total", "Orphans left behind.", |p| p.documents_orphaned as f64),
    gauge("shardlift_pair_documents_done", "Of the documents to copy, copied by now (estimate).", |p| p.documents_done as f64),
    gauge("shardlift_pair_bytes_done", "Of the bytes to copy, copied by now (estimate).", |p| p.bytes_done as f64),
    gauge("shardlift_pair_units", "Units to copy.", |p| p.units_total as f64),
    gauge("shardlift_pair_units_copied", "Units copied.", |p| p.units_copied as f64),
    gauge("shardlift_pair_indexes", "Secondary indexes to build.", |p| p.indexes_total as f64),
    gauge("shardlift_pair_indexes_built", "Secondary indexes built.", |p| p.indexes_built as f64),
    counter("shardlift_pair_entries_read_total", "Oplog entries read.", |p| p.entries_read as f64),
    counter("shardlift_pair_ops_read_total", "Ops read from the oplog.", |p| p.ops_read as f64),
    counter("shardlift_pair_ops_applied_total", "Ops whose effect the target acknowledged.", |p| p.ops_applied as f64),
    counter("shardlift_pair_statements_sent_total", "Write statements the applied ops took.", |p| p.statements_sent as f64),
    counter("shardlift_pair_ops_refused_total", "Writes the target refused; their documents are read again.", |p| p.ops_refused as f64),
    gauge("shardlift_pair_documents_doubtful", "Documents that wait to be read again after a refused write.", |p| p.documents_doubtful as f64),
    counter("shardlift_pair_documents_resolved_total", "Documents read again after a refused write.", |p| p.documents_resolved as f64),
    counter("shardlift_pair_writes_missed_total", "Writes that found no document where one must be.", |p| p.writes_missed as f64),
    gauge("shardlift_pair_ops_held", "Ops held for units in flight.", |p| p.ops_held as f64),
    gauge("shardlift_pair_held_bytes", "Bytes of the ops held for units in flight.", |p| p.bytes_held as f64),
    counter("shardlift_pair_ops_spooled_total", "Held ops left to the spool, for want of memory.", |p| p.ops_spooled as f64),
    counter("shardlift_pair_ops_replayed_total", "Of those, ops read again from the spool.", |p| p.ops_replayed as f64),
    gauge("shardlift_pair_ops_queued", "Ops in lanes.", |p| p.ops_queued as f64),
    gauge("shardlift_pair_source_timestamp_seconds", "Newest source entry known, unix time.", |p| p.source_seconds as f64),
    gauge("shardlift_pair_tail_timestamp_seconds", "Newest entry read, unix time.", |p| p.tail_seconds as f64),
    gauge("shardlift_pair_applied_timestamp_seconds", "Watermark, unix time.", |p| p.applied_seconds as f64),
    gauge("shardlift_pair_lag_seconds", "How far the target's data is behind the source's newest write.", |p| seconds(p.lag_ms)),
    gauge("shardlift_pair_lag_max_seconds", "Largest lag so far.", |p| seconds(p.lag_ms_max)),
    gauge("shardlift_pair_oplog_kept_seconds", "How far the source's oplog reaches back.", |p| p.oplog_kept_s as f64),
    gauge("shardlift_pair_oplog_spare_seconds", "How far it reaches back beyond what a restart needs.", |p| p.oplog_spare_s as f64),
    gauge("shardlift_pair_spool_bytes", "Oplog read ahead of the target, on local disk.", |p| p.spool_bytes as f64),
    gauge("shardlift_pair_documents_verified", "Documents verified ahead of the cutover.", |p| p.documents_verified as f64),
    gauge("shardlift_pair_documents_touched", "Documents touched since, which the cutover looks at again.", |p| p.documents_touched as f64),
    gauge("shardlift_pair_verified", "1 when all that can be is verified ahead.", |p| flag(p.verified)),
    gauge("shardlift_pair_ready", "1 when every unit is copied and every index built.", |p| flag(p.ready)),
];

/// Constant 1, labelled with the run's id and phase.
const INFO: &str = "shardlift_run_info";

/// The snapshot in Prometheus' text format (version 0.0.4).
pub fn render(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    head(&mut out, INFO, Type::Gauge, "The run and its phase.");
    let (run, phase) = (escape(&snapshot.run_id), escape(&snapshot.phase));
    out += &format!("{INFO}{{run_id=\"{run}\",phase=\"{phase}\"}} 1\n");
    for metric in RUN_METRICS {
        head(&mut out, metric.name, metric.r#type, metric.help);
        out += &format!("{} {}\n", metric.name, (metric.read)(snapshot));
    }
    for metric in PAIR_METRICS {
        head(&mut out, metric.name, metric.r#type, metric.help);
        for pair in &snapshot.pairs {
            out += &format!(
                "{}{{pair=\"{}\"}} {}\n",
                metric.name,
                escape(&pair.name),
                (metric.read)(pair)
            );
        }
    }
    out
}

fn head(out: &mut String, name: &str, r#type: Type, help: &str) {
    let r#type = match r#type {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
    };
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {type}\n"));
}

/// A label's value: backslash, quote and line end are escaped.
fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::tests::copying;

    #[test]
    fn every_metric_is_told_once_with_its_values() {
        let text = render(&copying());
        for line in [
            "shardlift_run_info{run_id=\"r1\",phase=\"copying\"} 1",
            "# TYPE shardlift_pair_bytes_copied_total counter",
            "shardlift_pair_bytes_copied_total{pair=\"a → x\"} 1073741824",
            "shardlift_pair_lag_seconds{pair=\"b → y\"} 0.09",
            "shardlift_elapsed_seconds 21",
            "shardlift_can_cutover 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let names: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len());
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn counters_end_with_total_and_only_they() {
        let names = RUN_METRICS.iter().map(|m| (m.name, m.r#type));
        for (name, r#type) in names.chain(PAIR_METRICS.iter().map(|m| (m.name, m.r#type))) {
            assert_eq!(name.ends_with("_total"), r#type == Type::Counter, "{name}");
        }
    }

    #[test]
    fn an_attempt_goes_on_with_what_is_copied() {
        let metrics = PairMetrics::default();
        let mut totals = Totals::default();
        totals.add(100, 1_000, 4, 0);
        metrics.plan(totals);
        metrics.bytes_copied.fetch_add(600, Relaxed);
        assert_eq!(metrics.done().1, 600);
        // A fault: two of the four units are settled, part of a third is copied again.
        metrics.begin();
        let mut totals = Totals::default();
        totals.add(100, 1_000, 4, 2);
        totals.add(0, 0, 0, 0);
        metrics.plan(totals);
        assert_eq!(metrics.done(), (50, 500));
        metrics.bytes_copied.fetch_add(500, Relaxed);
        assert_eq!(
            (metrics.done().1, metrics.bytes_copied.load(Relaxed)),
            (1_000, 1_100)
        );
    }

    #[test]
    fn labels_are_escaped() {
        let mut snapshot = copying();
        snapshot.pairs[0].name = "a\"\\\n".into();
        assert!(render(&snapshot).contains(r#"{pair="a\"\\\n"}"#));
    }
}
