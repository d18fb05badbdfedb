//! Counts and digests per range, both sides, in parallel; names the first
//! documents that differ.

use serde::Serialize;

use crate::cluster::catalog::Catalog;
use crate::cluster::connect::Deployment;
use crate::error::Result;

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
pub async fn run(_job: &Job<'_>) -> Result<Report> {
    Err(crate::error::Error::internal("not yet"))
}
