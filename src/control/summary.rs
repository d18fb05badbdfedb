//! The result of a finished migration.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::control::run::Run;
use crate::observe::plain;
use crate::verify;

#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub run_id: String,
    pub documents_copied: u64,
    pub bytes_copied: u64,
    pub documents_orphaned: u64,
    pub ops_applied: u64,
    pub statements_sent: u64,
    /// Writes the target refused, and the documents read again for them.
    pub ops_refused: u64,
    pub documents_resolved: u64,
    /// Writes that found no document where one must be.
    pub writes_missed: u64,
    /// Transactions of which the filters let only some ops through.
    pub transactions_crossed: u64,
    pub indexes_built: u64,
    pub lag_ms_max: u64,
    /// From the request (or the automatic start) to done.
    pub cutover_ms: u64,
    /// Since the run began, over all its processes.
    pub elapsed_s: f64,
    /// Compared at cutover; None if that was switched off.
    pub verified: Option<verify::Report>,
    /// Pairs whose source took writes after the cutover.
    pub late_writes: u64,
    pub warnings: Vec<String>,
}

impl Summary {
    pub fn of(
        run: &Run,
        verified: Option<verify::Report>,
        cutover_ms: u64,
        late_writes: u64,
    ) -> Self {
        Summary {
            run_id: run.id(),
            documents_copied: run.sum(|m| m.documents_copied.load(Relaxed)),
            bytes_copied: run.sum(|m| m.bytes_copied.load(Relaxed)),
            documents_orphaned: run.sum(|m| m.documents_orphaned.load(Relaxed)),
            ops_applied: run.sum(|m| m.ops_applied.load(Relaxed)),
            statements_sent: run.sum(|m| m.statements_sent.load(Relaxed)),
            ops_refused: run.sum(|m| m.ops_refused.load(Relaxed)),
            documents_resolved: run.sum(|m| m.documents_resolved.load(Relaxed)),
            writes_missed: run.sum(|m| m.writes_missed.load(Relaxed)),
            transactions_crossed: run.sum(|m| m.transactions_crossed.load(Relaxed)),
            indexes_built: run.sum(|m| m.indexes_built.load(Relaxed)),
            lag_ms_max: run.max(|m| m.lag_ms_max.load(Relaxed)),
            cutover_ms,
            elapsed_s: run.run_s(),
            verified,
            late_writes,
            warnings: run.warnings(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "run {} is done after {:.1} s",
            self.run_id, self.elapsed_s
        )?;
        let mb = self.bytes_copied as f64 / 1e6;
        writeln!(
            f,
            "copied    {} documents, {mb:.1} MB ({} orphans left behind)",
            self.documents_copied, self.documents_orphaned
        )?;
        writeln!(
            f,
            "followed  {} ops in {} statements, lag at most {} ms",
            self.ops_applied, self.statements_sent, self.lag_ms_max
        )?;
        writeln!(f, "indexes   {} built", self.indexes_built)?;
        match &self.verified {
            Some(report) => {
                writeln!(
                    f,
                    "verified  {} collections, {} documents equal",
                    report.collections, report.documents
                )?;
                let (ahead, again) = (report.documents_ahead, report.documents_rechecked);
                if 0 < ahead {
                    writeln!(
                        f,
                        "          {ahead} of them ahead of the cutover, {again} read again in it"
                    )?;
                }
            }
            None => writeln!(f, "verified  nothing, as configured")?,
        }
        writeln!(f, "cutover   {} ms", self.cutover_ms)?;
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "WARNING   {}", plain::line(warning)))
    }
}
