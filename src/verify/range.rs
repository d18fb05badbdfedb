//! A range of a part: what is read and compared at a time.
//!
//! Knows nothing about what is done with it.

use bson::RawDocumentBuf;

/// `[min, max)` in `_id` order; None is open.
#[derive(Debug, Clone)]
pub struct Range {
    pub min: Option<RawDocumentBuf>,
    pub max: Option<RawDocumentBuf>,
    pub batch_documents: u32,
}

impl Range {
    /// The range of the last of all `_id`s, which no other range reads.
    pub fn is_max_key(&self) -> bool {
        let is =
            |min: &RawDocumentBuf| matches!(min.get("_id"), Ok(Some(bson::RawBsonRef::MaxKey)));
        self.max.is_none() && self.min.as_ref().is_some_and(is)
    }
}
