//! Counts and digests per range, both sides, in parallel; names the first
//! documents that differ.
//!
//! Every collection is compared shard by shard with the pair's target. Big ones
//! are cut into `_id` ranges, read side by side from both servers. Reads only,
//! straight from the shards. Knows nothing about phases, or why anyone asks.

// Reading order: what is compared, cut into ranges, read, digested, explained.
pub mod digest;
pub mod explain;
pub mod part;
pub mod plan;
pub mod range;
pub mod read;

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::cluster::catalog::Catalog;
use crate::cluster::connect::Deployment;
use crate::error::{Error, Result};
use part::Part;
use range::{Outcome, Range};

/// Differences named in a report; a run ends early when it has that many.
pub const DIFFERENCES_MAX: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Document counts only.
    Counts,
    /// Counts and a digest of every byte.
    Digests,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub equal: bool,
    pub collections: u64,
    pub documents: u64,
    pub bytes: u64,
    /// First differences, one sentence each; never document contents beyond `_id`.
    pub differences: Vec<String>,
}

/// What to compare with what.
pub struct Job<'a> {
    pub source: &'a Deployment,
    pub target: &'a Deployment,
    /// The source's catalog.
    pub catalog: &'a Catalog,
    /// `pairs[i]` is the target shard of source shard i.
    pub pairs: &'a [usize],
    /// Ranges compared at a time.
    pub concurrency: usize,
    pub depth: Depth,
}

/// Compares both sides at majority read concern. Writes must have stopped for
/// the answer to mean something.
///
/// # Errors
/// `Transient`, `Connect` or `Server` if a side cannot be read. Differences are
/// no error: they are in the report.
pub async fn run(job: &Job<'_>) -> Result<Report> {
    let parts = part::list(job).await?;
    let mut progress = Progress { report: Report { equal: true, ..Report::default() }, running: JoinSet::new() };
    progress.report.collections = part::collection_count(job.catalog);
    let concurrency = job.concurrency.max(1);
    let mut planned = stream::iter(parts).map(plan).buffered(concurrency);
    while let Some(ranges) = planned.next().await {
        let (part, ranges) = ranges?;
        for range in ranges {
            progress.make_room(concurrency).await?;
            progress.running.spawn(range::compare(part.clone(), range));
        }
        if DIFFERENCES_MAX <= progress.report.differences.len() {
            break;
        }
    }
    progress.make_room(1).await?;
    Ok(progress.report)
}

async fn plan(part: Part) -> Result<(Arc<Part>, Vec<Range>)> {
    let ranges = plan::ranges(&part).await?;
    Ok((Arc::new(part), ranges))
}

/// A run in progress. Dropped, it ends the ranges still being compared.
struct Progress {
    report: Report,
    running: JoinSet<Result<Outcome>>,
}

impl Progress {
    /// Collects outcomes until fewer than `limit` ranges are running.
    async fn make_room(&mut self, limit: usize) -> Result<()> {
        while limit <= self.running.len() {
            match self.running.join_next().await {
                Some(Ok(outcome)) => self.add(outcome?),
                Some(Err(e)) => return Err(Error::internal(format!("comparing a range failed: {e}"))),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn add(&mut self, outcome: Outcome) {
        let report = &mut self.report;
        report.documents += outcome.documents;
        report.bytes += outcome.bytes;
        report.equal &= outcome.differences.is_empty();
        report.differences.extend(outcome.differences);
        report.differences.truncate(DIFFERENCES_MAX);
    }
}
