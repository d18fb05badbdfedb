//! Raw values in words, and compared by their bytes.
//!
//! Pure functions.

use bson::{Document, RawDocument};

use crate::bson::element::{Element, elements};

/// Longest text of a value, characters.
const SHOWN_MAX: usize = 400;

/// A document for people; by its bytes where it cannot be decoded.
pub(super) fn shown(document: &RawDocument) -> String {
    let text = match Document::try_from(document) {
        Ok(document) => document.to_string(),
        Err(_) => String::from_utf8_lossy(document.as_bytes())
            .escape_debug()
            .to_string(),
    };
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Sets of fields with equal names and bytes, whatever their order; `left_out` do not
/// count.
pub(super) fn same_fields(a: &RawDocument, b: &RawDocument, left_out: &[&str]) -> bool {
    let fields = |document| {
        let counts = |e: &Element<'_>| !left_out.iter().any(|name| name.as_bytes() == e.name);
        let mut fields: Vec<Element<'_>> = elements(document).filter(counts).collect();
        fields.sort_by(|a, b| a.name.cmp(b.name));
        fields
    };
    fields(a) == fields(b)
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    #[test]
    fn fields_are_the_same_by_kind_and_bytes_in_any_order() {
        let rows = [
            (rawdoc! {"a": 1, "b": 2}, rawdoc! {"b": 2, "a": 1}, true),
            (rawdoc! {"a": 1}, rawdoc! {"a": 1.0}, false),
            (rawdoc! {"a": f64::NAN}, rawdoc! {"a": f64::NAN}, true),
            (
                rawdoc! {"a": {"x": 1, "y": 2}},
                rawdoc! {"a": {"y": 2, "x": 1}},
                false,
            ),
            (rawdoc! {"a": 1}, rawdoc! {"a": 1, "b": 2}, false),
            (rawdoc! {"a": 1, "left": 1}, rawdoc! {"a": 1}, true),
        ];
        for (a, b, expect) in rows {
            assert_eq!(same_fields(&a, &b, &["left"]), expect, "{a:?} {b:?}");
        }
    }

    #[test]
    fn bytes_that_cannot_be_decoded_count_and_are_shown() {
        let twice = |bytes: &[u8]| {
            let mut raw = vec![0, 0, 0, 0];
            raw.extend_from_slice(bytes);
            raw.push(0);
            let length = raw.len() as i32;
            raw[..4].copy_from_slice(&length.to_le_bytes());
            RawDocumentBuf::from_bytes(raw).unwrap()
        };
        // Strings that are not UTF-8.
        let [a, b] = [
            b"\x02a\x00\x02\x00\x00\x00\xff\x00",
            b"\x02a\x00\x02\x00\x00\x00\xfe\x00",
        ]
        .map(|b| twice(b));
        assert!(same_fields(&a, &a, &[]) && !same_fields(&a, &b, &[]));
        assert!(shown(&a).contains('a'));
        assert!(shown(&rawdoc! {"a": "x".repeat(1_000)}).chars().count() <= SHOWN_MAX + 1);
    }
}
