//! The outcome of the demo, as a short text and as one JSON object.
//!
//! Decides what a good end is; measures nothing.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::check;
use crate::demo::follow::Moved;
use crate::demo::narrate::{grouped, megabytes};

pub(super) struct Report {
    pub(super) moved: Moved,
    pub(super) check: check::Report,
}

impl Report {
    /// Equal, and the load was never refused anything.
    pub(super) fn is_good(&self) -> bool {
        self.check.equal && self.moved.load.error_count == 0
    }

    /// Documents per second of the copy.
    fn copy_rate(&self) -> f64 {
        self.moved.summary.documents_copied as f64 / self.moved.copy_s
    }

    /// `elapsed` since the build.
    pub(super) fn text(&self, elapsed: Duration) -> String {
        let Report { moved, check } = self;
        let summary = &moved.summary;
        let ms = |us: u64| us as f64 / 1e3;
        let mut rows = vec![
            (
                "size",
                format!(
                    "{} documents, {}, {} collections and views",
                    grouped(check.documents),
                    megabytes(check.bytes),
                    check.namespaces
                ),
            ),
            (
                "copy",
                format!(
                    "{} documents, {} in {:.1} s: {} docs/s",
                    grouped(summary.documents_copied),
                    megabytes(summary.bytes_copied),
                    moved.copy_s,
                    grouped(self.copy_rate() as u64)
                ),
            ),
            (
                "follow",
                format!(
                    "{} ops applied in {} statements, lag at most {} ms",
                    grouped(summary.ops_applied),
                    grouped(summary.statements_sent),
                    grouped(summary.lag_ms_max)
                ),
            ),
            ("indexes", format!("{} built", summary.indexes_built)),
            (
                "load",
                format!(
                    "{} writes/s on average, {} in the worst 5 s; p50 {:.1} ms, p99 {:.1} ms; {} errors",
                    grouped(moved.load.rate as u64),
                    grouped(moved.writes_per_s_min as u64),
                    ms(moved.load.total.p50_us),
                    ms(moved.load.total.p99_us),
                    moved.load.error_count
                ),
            ),
            (
                "cutover",
                format!(
                    "{} ms from the last write to done, {} ms of it in the engine",
                    grouped(moved.cutover_ms),
                    grouped(moved.engine_cutover_ms)
                ),
            ),
            ("check", self.verdict()),
            (
                "time",
                format!("{:.1} s after the build", elapsed.as_secs_f64()),
            ),
        ];
        rows.extend(
            summary
                .warnings
                .iter()
                .map(|warning| ("warning", warning.clone())),
        );
        rows.extend(
            moved
                .load
                .errors
                .iter()
                .map(|(text, count)| ("load error", format!("{count} × {text}"))),
        );
        let mut text = String::new();
        for (name, row) in rows {
            let _ = writeln!(text, "{name:<10} {row}");
        }
        for difference in &check.differences {
            let _ = writeln!(
                text,
                "{:<10} {}: {}: {}",
                "", difference.ns, difference.kind, difference.detail
            );
        }
        text
    }

    fn verdict(&self) -> String {
        if self.check.equal {
            format!(
                "source and target are equal, byte for byte ({:.1} s)",
                self.check.seconds
            )
        } else {
            format!(
                "source and target are NOT EQUAL: {} differences",
                self.check.difference_count
            )
        }
    }

    /// The last line.
    pub(super) fn json(&self) -> Value {
        let Report { moved, check } = self;
        json!({
            "equal": check.equal,
            "documents": check.documents,
            "bytes": check.bytes,
            "documents_copied": moved.summary.documents_copied,
            "copy_docs_per_s": self.copy_rate().round(),
            "ops_applied": moved.summary.ops_applied,
            "lag_max_ms": moved.summary.lag_ms_max,
            "cutover_ms": moved.cutover_ms,
            "engine_cutover_ms": moved.engine_cutover_ms,
            "writes": moved.load.ops,
            "writes_per_s": moved.load.rate.round(),
            "writes_per_s_min": moved.writes_per_s_min.round(),
            "write_p99_ms": moved.load.total.p99_us as f64 / 1e3,
            "load_errors": moved.load.error_count,
            "late_writes": moved.summary.late_writes,
            "differences": check.difference_count,
        })
    }
}
