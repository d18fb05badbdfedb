//! Counts and digests per range, both sides, in parallel; names the first
//! documents that differ.
//!
//! Every collection is compared shard by shard with the pair's target. Big ones
//! are cut into `_id` ranges, read side by side from both servers. Reads only,
//! straight from the shards. Knows nothing about phases, or why anyone asks.

// Reading order: what is compared, cut into ranges, read, digested, explained; then
// what is looked at while it changes.
pub mod compare;
pub mod digest;
pub mod difference;
pub mod explain;
pub mod part;
pub mod cut;
pub mod range;
pub mod read;
pub mod recheck;
pub mod sweep;
pub mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use bson::Uuid;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::bson::identity::IdKey;
use crate::cluster::catalog::Catalog;
use crate::cluster::deployment::Deployment;
use crate::error::{Error, Result};
use compare::Outcome;
use part::Part;
use range::Range;

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
    /// The source's; of what was verified ahead as counted when it was read.
    pub documents: u64,
    pub bytes: u64,
    /// Those of them verified ahead, which were not read whole again.
    pub documents_ahead: u64,
    /// Touched since they were verified ahead, and read again one by one.
    pub documents_rechecked: u64,
    /// First differences, one sentence each; never document contents beyond `_id` and names
    /// of fields.
    pub differences: Vec<String>,
    /// The collections that differ, by source shard.
    pub differing: Vec<Differing>,
    /// The comparison stopped early because there were enough differences.
    pub cut_short: bool,
}

/// A collection that differs.
#[derive(Debug, Clone, Serialize)]
pub struct Differing {
    pub shard: String,
    pub ns: String,
    /// 0 where only the order differs.
    pub documents: u64,
}

impl Report {
    /// The differences, for people: the first ones, then how many, and what to do.
    pub fn told(&self) -> Vec<String> {
        let at_least = if self.cut_short { "at least " } else { "" };
        let counted = self.differing.iter().map(|Differing { shard, ns, documents }| {
            let count =
                if *documents == 0 { String::new() } else { format!("{at_least}{documents} documents differ; ") };
            format!(
                "{ns} on source shard {shard}: {count}to have it copied again, run `shardlift recopy \
                 --shard {shard} --ns {ns}` with the same --source and --target"
            )
        });
        self.differences.iter().cloned().chain(counted).collect()
    }
}

/// The inputs of a comparison.
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

/// What is verified before the comparison, by source shard and source UUID.
pub type Verified = HashMap<(usize, Uuid), VerifiedPart>;

/// A part that was verified ahead.
#[derive(Debug, Default)]
pub struct VerifiedPart {
    /// Documents in the verified ranges.
    pub documents: u64,
    pub bytes: u64,
    /// The others.
    pub open: Vec<Range>,
    /// Documents that may have changed since.
    pub touched: Vec<IdKey>,
}

/// Compares both sides at majority read concern. Writes must have stopped for
/// the answer to mean something.
///
/// # Errors
/// `Transient`, `Connect` or `Server` if a side cannot be read. Differences are
/// no error: they are in the report.
pub async fn run(job: &Job<'_>) -> Result<Report> {
    run_beyond(job, Verified::new()).await
}

/// Like `run`, without what is verified already.
///
/// # Errors
/// Those of `run`.
pub async fn run_beyond(job: &Job<'_>, mut verified: Verified) -> Result<Report> {
    let parts = part::list(job).await?;
    let mut progress = Progress {
        report: Report {
            equal: true,
            ..Report::default()
        },
        running: JoinSet::new(),
    };
    progress.report.collections = part::collection_count(job.catalog);
    let concurrency = job.concurrency.max(1);
    let parts = parts.into_iter().map(|part| {
        let ahead = part
            .uuid
            .and_then(|uuid| verified.remove(&(part.shard, uuid)));
        (part, ahead)
    });
    let mut opened = stream::iter(parts)
        .map(|(part, ahead)| open_ranges(part, ahead))
        .buffered(concurrency);
    while let Some(opened) = opened.next().await {
        let (part, ahead) = opened?;
        progress.know(&ahead);
        for ids in recheck::chunks(&ahead.touched) {
            progress.make_room(concurrency).await?;
            progress
                .running
                .spawn(compare::recheck(part.clone(), ids.to_vec()));
        }
        for range in ahead.open {
            progress.make_room(concurrency).await?;
            progress
                .running
                .spawn(compare::compare(part.clone(), range));
        }
        if DIFFERENCES_MAX <= progress.report.differences.len() {
            progress.report.cut_short = true;
            break;
        }
    }
    progress.make_room(1).await?;
    Ok(progress.report)
}

async fn open_ranges(part: Part, ahead: Option<VerifiedPart>) -> Result<(Arc<Part>, VerifiedPart)> {
    let ahead = match ahead {
        Some(ahead) => ahead,
        None => VerifiedPart {
            open: cut::ranges(&part).await?,
            ..VerifiedPart::default()
        },
    };
    Ok((Arc::new(part), ahead))
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
                Some(Err(e)) => {
                    return Err(Error::internal(format!("comparing a range failed: {e}")));
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn know(&mut self, ahead: &VerifiedPart) {
        self.report.documents += ahead.documents;
        self.report.documents_ahead += ahead.documents;
        self.report.bytes += ahead.bytes;
    }

    fn add(&mut self, outcome: Outcome) {
        let report = &mut self.report;
        report.documents += outcome.documents;
        report.bytes += outcome.bytes;
        report.documents_rechecked += outcome.rechecked;
        report.equal &= outcome.differences.is_empty();
        // A touched document may be in a range that is compared whole.
        let new: Vec<String> = outcome
            .differences
            .into_iter()
            .filter(|d| !report.differences.contains(d))
            .collect();
        report.differences.extend(new);
        report.differences.truncate(DIFFERENCES_MAX);
        let Some(differing) = outcome.differing else {
            return;
        };
        let same =
            |known: &&mut Differing| known.shard == differing.shard && known.ns == differing.ns;
        match report.differing.iter_mut().find(same) {
            Some(known) => known.documents += differing.documents,
            None => report.differing.push(differing),
        }
    }
}
