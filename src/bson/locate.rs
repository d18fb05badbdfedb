//! Finding fields in raw documents without decoding the rest.
//!
//! Reads bytes only: what these passes see of a document is as cheap as its
//! number of top-level elements. Knows nothing about servers or commands.

use std::collections::HashSet;

use bson::{RawDocument, RawDocumentBuf};

use super::element::{Element, elements, elements_of, field, kind};
use super::value::ValueRef;

/// The `_id` of a document, wherever it is, readable or not; None if there is none. Reads
/// no further than the `_id`.
#[inline]
pub fn id_of(doc: &RawDocument) -> Option<ValueRef<'_>> {
    field(doc.as_bytes(), b"_id").map(ValueRef::from)
}

/// `{_id: …}` with the `_id` of a document, byte for byte. None if there is none.
pub fn id_query(doc: &RawDocument) -> Option<RawDocumentBuf> {
    id_of(doc).map(ValueRef::document)
}

/// Bytes that came as a document in a server's reply.
pub fn raw(document: &[u8]) -> &RawDocument {
    RawDocument::from_bytes(document)
        .expect("a document that a server sent has its length in front")
}

/// True if a plain `insert` or replacement would not store this document byte
/// for byte on 6.0.5 (`tests/bson_literal.rs` has the table):
///
/// - a top-level `Timestamp(0, 0)` other than the `_id` becomes the current time;
/// - a top-level name that starts with `$` is refused by a replacement of a
///   document that is there, or taken for an update operator if it comes first;
/// - a second `_id` is refused by an insert.
///
/// Such documents are written with `$replaceWith: {$literal: …}`, where
/// `Look::duplicate_names` allows it, or as `d` and `i` of one `applyOps`. An
/// `_id` that is not first counts too: only `applyOps` leaves it there.
pub fn needs_literal(doc: &RawDocument) -> bool {
    let mut elements = elements(doc);
    let first = elements.next();
    first.is_some_and(|e| e.name != b"_id" && is_special(&e)) || elements.any(|e| is_special(&e))
}

/// True if a top-level field other than the `_id` holds `Timestamp(0, 0)`.
pub fn has_zero_timestamp(document: &[u8]) -> bool {
    elements_of(document).any(|e| e.name != b"_id" && is_zero_timestamp(&e))
}

/// Facts that decide how a whole document is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// True if a field name occurs twice in one document, at any depth.
    ///
    /// mongod 6.0.5 **aborts** on an update by pipeline (`$replaceWith`,
    /// `$_internalApplyOplogUpdate`) where the document there or the new one has
    /// such fields, if the difference it computes for its oplog would name one of
    /// them twice (5 of 10 literals over random small documents with duplicates, 1
    /// of 15 deltas). Safe over any document: a replacement (without special
    /// fields), `applyOps` (`u` with a delta; `d` then `i` for a whole document,
    /// which keeps every byte), and a literal upsert where nothing is there.
    pub duplicate_names: bool,
    /// The result of `needs_literal`.
    pub needs_literal: bool,
}

/// Finds both in one walk.
pub fn look(doc: &RawDocument) -> Look {
    let mut needs_literal = false;
    let mut note =
        |at, e: &Element<'_>| needs_literal |= is_special(e) && (at != 0 || e.name != b"_id");
    if duplicates_in(doc.as_bytes(), &mut note) {
        // It ended there.
        Look {
            duplicate_names: true,
            needs_literal: self::needs_literal(doc),
        }
    } else {
        Look {
            duplicate_names: false,
            needs_literal,
        }
    }
}

#[inline]
fn is_special(element: &Element<'_>) -> bool {
    is_zero_timestamp(element) || element.name.first() == Some(&b'$') || element.name == b"_id"
}

#[inline]
fn is_zero_timestamp(element: &Element<'_>) -> bool {
    element.kind == kind::TIMESTAMP && element.value == [0; 8]
}

/// Names up to which one is looked for among those before it.
const NAMES_COMPARED_MAX: usize = 128;

/// Whether a name occurs twice; array positions are not names. Each name sets one bit,
/// and names are compared only if two share a bit. Stops at the first that occurs twice.
/// `note` sees each top-level element up to there.
fn duplicates_in(bytes: &[u8], note: &mut impl FnMut(usize, &Element<'_>)) -> bool {
    let mut seen = [0u64; 16];
    let mut unsure = false;
    for (at, e) in elements_of(bytes).enumerate() {
        note(at, &e);
        if is_container(e.kind) && duplicates_below(e.kind, e.value) {
            return true;
        }
        let hash = hash_of_name(e.name);
        let (word, bit) = ((hash >> 6 & 15) as usize, 1 << (hash & 63));
        if seen[word] & bit != 0 {
            let mut before = elements_of(bytes).take(at);
            if NAMES_COMPARED_MAX <= at {
                unsure = true;
            } else if before.any(|before| before.name == e.name) {
                return true;
            }
        }
        seen[word] |= bit;
    }
    unsure && {
        let mut names = HashSet::new();
        elements_of(bytes).any(|e| !names.insert(e.name))
    }
}

/// A hash of a name, from its length and at most 16 bytes: equal names have equal hashes.
#[inline]
fn hash_of_name(name: &[u8]) -> u64 {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (low, high) = match name.len() {
        8.. => (word(name.first_chunk()), word(name.last_chunk())),
        _ => (
            name.iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            0,
        ),
    };
    let mixed =
        (low ^ high.rotate_left(23) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 54
}

fn duplicates_below(kind: u8, bytes: &[u8]) -> bool {
    match kind {
        kind::ARRAY => {
            elements_of(bytes).any(|e| is_container(e.kind) && duplicates_below(e.kind, e.value))
        }
        _ => duplicates_in(bytes, &mut |_, _| {}),
    }
}

fn is_container(kind: u8) -> bool {
    matches!(kind, kind::DOCUMENT | kind::ARRAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_duplicate_names(doc: &RawDocument) -> bool {
        look(doc).duplicate_names
    }
    use bson::{Timestamp, rawdoc};

    use crate::bson::value::Value;

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        let one = Value::from(bson::RawBsonRef::Int32(1));
        assert_eq!(id_of(&rawdoc! { "_id": 1, "a": 2 }), Some(one.as_ref()));
        assert_eq!(
            id_of(&rawdoc! { "a": { "_id": 2 }, "_id": 1 }),
            Some(one.as_ref())
        );
        assert_eq!(id_of(&rawdoc! { "a": 2 }), None);
    }

    #[test]
    fn an_id_that_cannot_be_read_can_be_asked_for() {
        assert_eq!(
            id_query(&rawdoc! { "a": 2, "_id": "x" }),
            Some(rawdoc! { "_id": "x" })
        );
        assert_eq!(id_query(&rawdoc! { "a": 2 }), None);
        let no_utf8 =
            RawDocumentBuf::from_bytes(b"\x10\0\0\0\x02_id\0\x02\0\0\0\xff\0\0".to_vec()).unwrap();
        assert_eq!(id_query(&no_utf8), Some(no_utf8.clone()));
    }

    #[test]
    fn only_zero_timestamps_and_dollars_on_top_need_a_literal() {
        let zero = Timestamp {
            time: 0,
            increment: 0,
        };
        let rows = [
            (rawdoc! { "_id": 1, "a": "x" }, false),
            (rawdoc! { "_id": 1, "a": zero }, true),
            (
                rawdoc! { "_id": 1, "a": Timestamp { time: 0, increment: 1 } },
                false,
            ),
            (rawdoc! { "_id": 1, "a": { "b": zero } }, false),
            (rawdoc! { "_id": zero }, false),
            (rawdoc! { "_id": 1, "_id": 2 }, true),
            (rawdoc! { "a": 1, "_id": 2 }, true),
            (rawdoc! { "_id": 1, "$a": 1 }, true),
            (rawdoc! { "_id": 1, "a$": 1, "": 2, "a.b": 3 }, false),
            (rawdoc! { "_id": 1, "a": { "$b": 1 } }, false),
        ];
        for (doc, expected) in rows {
            assert_eq!(needs_literal(&doc), expected, "{doc:?}");
            assert_eq!(look(&doc).needs_literal, expected, "{doc:?}");
        }
    }

    #[test]
    fn duplicates_are_found_at_any_depth() {
        assert!(!has_duplicate_names(
            &rawdoc! { "_id": 1, "a": { "_id": 1 }, "b": [1, 1] }
        ));
        let twice = bson::RawDocumentBuf::from_bytes(
            b"\x13\0\0\0\x10a\0\0\0\0\0\x10a\0\0\0\0\0\0".to_vec(),
        )
        .unwrap();
        assert!(has_duplicate_names(&twice));
        assert!(has_duplicate_names(
            &rawdoc! { "_id": 1, "b": [{ "c": twice.clone() }] }
        ));
        let seen = look(
            &rawdoc! { "_id": 1, "b": [{ "c": twice }], "d": Timestamp { time: 0, increment: 0 } },
        );
        assert_eq!(
            seen,
            Look {
                duplicate_names: true,
                needs_literal: true
            }
        );
    }

    #[test]
    fn one_name_twice_is_found_among_many() {
        for count in [2, 100, 127, 128, 129, 5_000] {
            let names: Vec<String> = (0..count)
                .map(|i| format!("a name of its own {i}"))
                .collect();
            let with = |last: &str| {
                let mut document = RawDocumentBuf::new();
                for name in names.iter().map(String::as_str).chain([last]) {
                    document.append(bson::raw::CString::try_from(name.to_owned()).unwrap(), 1);
                }
                document
            };
            assert!(!has_duplicate_names(&with("one more")), "{count}");
            for at in [0, count / 2, count - 1] {
                assert!(has_duplicate_names(&with(&names[at])), "{at} of {count}");
            }
        }
    }
}
