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
