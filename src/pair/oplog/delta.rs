//! The two forms of a change that is no whole document, as the servers log them.
//!
//! | form | written by | new fields |
//! |---|---|---|
//! | `{$v: 2, diff: {…}}` | 5.0 and 6.0 | go to the end, also those that are there |
//! | `{$v: 1, $set, $unset}`, `$v` may be missing | 4.2 and 4.4, and 5.0 below its own feature compatibility version | stay where they are if they are there |
//!
//! The form is told by the entry, never by the release.
//!
//! # Replay over a document that is newer
//!
//! A `$v: 2` delta makes the same bytes as over the older one, once all that follows is
//! replayed. So does one of `$v: 1` that only sets. Take any part of the document: if a later
//! delta sets all of it, it is as it was from there on. If none does, nothing in it was ever
//! taken out, so its fields are those of the older document and then new ones in the order
//! they were made in; to set them again moves none.
//!
//! **One that unsets a field may move it for good**: the newer document has it again, behind
//! others; taken out and set once more, it goes behind all that were there by then. Seen on
//! 4.2.6 and 4.4.2: `{a, x}` with x unset, x set, y set is `{a, x, y}`, and `{a, y, x}` after
//! a replay.
//!
//! Pure.

use bson::RawDocument;

use crate::bson::element::{Element, elements, elements_of, field, kind};

/// Whether an update's `o` is a delta; else it is the whole document. None if it is neither
/// as far as known.
pub fn is_delta(o: &RawDocument) -> Option<bool> {
    // Whole documents begin with their `_id`.
    match elements(o).next().map_or(&b""[..], |first| first.name) {
        b"$v" | b"$set" | b"$unset" => (is_diff(o) || is_fields(o)).then_some(true),
        _ => Some(false),
    }
}

/// Whether replaying the delta `o` over a document that is newer may change the order of
/// fields.
pub fn may_move_fields(o: &[u8]) -> bool {
    let unsets = |e: Element<'_>| e.name == b"$unset" && e.kind == kind::DOCUMENT;
    match elements_of(o).next().map(|first| first.name) {
        Some(b"$v" | b"$set" | b"$unset") => elements_of(o).any(unsets),
        _ => false,
    }
}

fn is_diff(o: &RawDocument) -> bool {
    field(o.as_bytes(), b"diff").is_some_and(|diff| diff.kind == kind::DOCUMENT)
}

fn is_fields(o: &RawDocument) -> bool {
    elements(o).all(|e| match e.name {
        b"$v" => is_one(e),
        b"$set" | b"$unset" => e.kind == kind::DOCUMENT,
        _ => false,
    })
}

fn is_one(version: Element<'_>) -> bool {
    matches!(
        (version.kind, version.value),
        (kind::INT32, [1, 0, 0, 0]) | (kind::INT64, [1, 0, 0, 0, 0, 0, 0, 0])
    )
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    #[test]
    fn the_form_is_told_by_the_entry() {
        // Those of `$v: 1` as 4.2.6 and 4.4.2 logged them, those of `$v: 2` as 5.0.4 did.
        let rows: [(RawDocumentBuf, Option<bool>, bool); 12] = [
            (rawdoc! {"$v": 1, "$unset": {"x": true}}, Some(true), true),
            (rawdoc! {"$v": 1, "$set": {"x": 5}}, Some(true), false),
            (
                rawdoc! {"$v": 1, "$set": {"z": 1}, "$unset": {"a": true}},
                Some(true),
                true,
            ),
            (rawdoc! {"$v": 1, "$set": {"arr.1": 2}}, Some(true), false),
            (rawdoc! {"$set": {"x": 5}}, Some(true), false),
            (rawdoc! {"$unset": {"x": true}}, Some(true), true),
            (
                rawdoc! {"$v": 2, "diff": {"d": {"x": false}}},
                Some(true),
                false,
            ),
            (
                rawdoc! {"$v": 2, "diff": {"sarr": {"a": true, "u1": 2}}},
                Some(true),
                false,
            ),
            (rawdoc! {"_id": 4, "b": 1}, Some(false), false),
            (
                rawdoc! {"_id": 4, "$unset": {"x": true}},
                Some(false),
                false,
            ),
            (rawdoc! {"$v": 3, "patch": {}}, None, false),
            (rawdoc! {"$v": 1, "$inc": {"x": 1}}, None, false),
        ];
        for (o, expect, moves) in rows {
            assert_eq!(is_delta(&o), expect, "{o:?}");
            assert_eq!(may_move_fields(o.as_bytes()), moves, "{o:?}");
        }
    }
}
