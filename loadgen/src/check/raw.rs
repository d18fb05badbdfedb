//! BSON as bytes: a document's fields with their names, types and values, as
//! they lie there. Nothing is decoded, so what a decoded document cannot hold
//! (a name twice, text that is not UTF-8, one number type for another) is kept.
//!
//! Knows nothing about collections, indexes and servers.

use bson::{Bson, RawDocument};

/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 200;

const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BOOLEAN: u8 = 0x08;
pub(super) const INT64: u8 = 0x12;

/// Type and bytes of a value, owned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

/// One field of a document, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: u8,
    pub(super) bytes: &'a [u8],
}

/// The fields up to the first one that is cut short or of unknown type.
pub(super) fn fields(document: &[u8]) -> Vec<Field<'_>> {
    let mut rest = document
        .get(4..document.len().saturating_sub(1))
        .unwrap_or_default();
    let mut fields = Vec::new();
    while let Some((field, after)) = split_field(rest) {
        fields.push(field);
        rest = after;
    }
    fields
}

/// The first field of that name, as the server looks one up.
pub(super) fn field<'a>(document: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(document)
        .into_iter()
        .find(|field| field.name == name.as_bytes())
}

/// Text of a field; empty where it is none, or not UTF-8.
pub(super) fn text<'a>(document: &'a [u8], name: &str) -> &'a str {
    field(document, name)
        .and_then(|field| field.text())
        .unwrap_or_default()
}

/// An embedded document; an empty one where there is none.
pub(super) fn embedded<'a>(document: &'a [u8], name: &str) -> &'a [u8] {
    const EMPTY: &[u8] = &[5, 0, 0, 0, 0];
    field(document, name)
        .filter(|field| field.kind == DOCUMENT)
        .map_or(EMPTY, |field| field.bytes)
}

impl<'a> Field<'a> {
    pub(super) fn value(&self) -> Value {
        Value {
            kind: self.kind,
            bytes: self.bytes.to_vec(),
        }
    }

    /// None where it is no string, or not UTF-8.
    pub(super) fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    /// A string's bytes, whatever they are.
    pub(super) fn text_bytes(&self) -> Option<&'a [u8]> {
        (self.kind == STRING).then(|| &self.bytes[4..self.bytes.len() - 1])
    }

    pub(super) fn is_true(&self) -> bool {
        self.kind == BOOLEAN && self.bytes == [1]
    }

    /// The values of an array, in order.
    pub(super) fn items(&self) -> Vec<Field<'a>> {
        if self.kind == ARRAY {
            fields(self.bytes)
        } else {
            Vec::new()
        }
    }

    pub(super) fn show(&self) -> String {
        show(self.kind, self.bytes)
    }
}

impl Value {
    /// The whole number that a server takes it for; None where it is no number.
    pub(super) fn as_whole(&self) -> Option<i64> {
        match self.decoded()? {
            Bson::Int32(n) => Some(i64::from(n)),
            Bson::Int64(n) => Some(n),
            // Saturates, and NaN is 0, as there.
            Bson::Double(n) => Some(n as i64),
            _ => None,
        }
    }

    pub(super) fn decoded(&self) -> Option<Bson> {
        decoded(self.kind, &self.bytes)
    }

    pub(super) fn show(&self) -> String {
        show(self.kind, &self.bytes)
    }
}

/// A name as text, with what is not UTF-8 marked.
pub(super) fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Two values that differ, so that the difference shows: by what they mean, and
/// by their bytes where that looks alike.
pub(super) fn show_apart(
    left: &str,
    right: &str,
    left_bytes: &[u8],
    right_bytes: &[u8],
) -> (String, String) {
    if left == right {
        (hex(left_bytes), hex(right_bytes))
    } else {
        (left.to_owned(), right.to_owned())
    }
}

fn split_field(rest: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (&kind, rest) = rest.split_first()?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    let length = value_length(kind, rest)?;
    let bytes = rest.get(..length)?;
    Some((Field { name, kind, bytes }, &rest[length..]))
}

fn value_length(kind: u8, rest: &[u8]) -> Option<usize> {
    let length = || Some(i32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize);
    let terminated = |rest: &[u8]| rest.iter().position(|&byte| byte == 0).map(|at| at + 1);
    Some(match kind {
        0x06 | 0x0A | 0x7F | 0xFF => 0,
        BOOLEAN => 1,
        0x10 => 4,
        0x01 | 0x09 | 0x11 | INT64 => 8,
        0x07 => 12,
        0x13 => 16,
        // At least the end of the string.
        STRING | 0x0D | 0x0E => 4 + length().filter(|length| (1..=rest.len()).contains(length))?,
        0x05 => 5 + length().filter(|length| *length <= rest.len())?,
        0x0C => 16 + length().filter(|length| (1..=rest.len()).contains(length))?,
        DOCUMENT | ARRAY | 0x0F => length().filter(|length| (5..=rest.len()).contains(length))?,
        0x0B => {
            let pattern = terminated(rest)?;
            pattern + terminated(&rest[pattern..])?
        }
        _ => return None,
    })
}

fn decoded(kind: u8, bytes: &[u8]) -> Option<Bson> {
    let length = (4 + 2 + bytes.len() + 1) as i32;
    let document = [&length.to_le_bytes()[..], &[kind, 0], bytes, &[0]].concat();
    let document = RawDocument::from_bytes(&document).ok()?;
    let value = document.iter().next()?.ok()?.1;
    Bson::try_from(value).ok()
}

/// With types, cut short; as bytes where it cannot be decoded.
fn show(kind: u8, bytes: &[u8]) -> String {
    let text = match decoded(kind, bytes) {
        Some(value) => format!("{value:?}"),
        None => format!("type {kind} {}", hex(bytes)),
    };
    cut(text, VALUE_CHARS_MAX)
}

fn hex(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{}", cut(text, VALUE_CHARS_MAX))
}

fn cut(text: String, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use bson::raw::cstr;
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    #[test]
    fn every_type_is_passed_over_by_its_length() {
        let mut document = RawDocumentBuf::new();
        let one = [
            bson::RawBson::Double(1.5),
            bson::RawBson::String("text".into()),
            bson::RawBson::Document(rawdoc! { "a": [1, 2] }),
            bson::RawBson::Array(bson::rawbson!([1, "b"]).as_array().unwrap().to_owned()),
            bson::RawBson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: vec![1, 2, 3],
            }),
            bson::RawBson::Undefined,
            bson::RawBson::ObjectId(bson::oid::ObjectId::new()),
            bson::RawBson::Boolean(true),
            bson::RawBson::DateTime(bson::DateTime::from_millis(5)),
            bson::RawBson::Null,
            bson::RawBson::RegularExpression(bson::Regex {
                pattern: cstr!("a.b").into(),
                options: cstr!("ix").into(),
            }),
            bson::RawBson::JavaScriptCode("f()".into()),
            bson::RawBson::Symbol("s".into()),
            bson::RawBson::Int32(1),
            bson::RawBson::Timestamp(bson::Timestamp {
                time: 1,
                increment: 2,
            }),
            bson::RawBson::Int64(1),
            bson::RawBson::Decimal128("1.5".parse().unwrap()),
            bson::RawBson::MinKey,
            bson::RawBson::MaxKey,
        ];
        one.iter()
            .for_each(|value| document.append(cstr!("x"), value.clone()));
        document.append(cstr!("last"), 7_i64);
        let fields = fields(document.as_bytes());
        assert_eq!(fields.len(), one.len() + 1);
        assert_eq!(fields.last().unwrap().show(), "Int64(7)");
        assert!(fields.iter().all(|field| field.value().decoded().is_some()));
    }

    #[test]
    fn what_a_decoded_document_cannot_hold_is_kept() {
        let mut twice = RawDocumentBuf::new();
        twice.append(cstr!("a"), 1);
        twice.append(cstr!("a"), 2);
        assert_eq!(fields(twice.as_bytes()).len(), 2);
        // A string of one byte that is no UTF-8.
        let odd = [
            16, 0, 0, 0, STRING, b's', 0, 2, 0, 0, 0, 0xFE, 0, 0x0A, b'n', 0, 0,
        ];
        let odd = [&(odd.len() as i32).to_le_bytes()[..], &odd[4..]].concat();
        let found = fields(&odd);
        assert_eq!(
            (found.len(), found[0].text(), found[0].text_bytes()),
            (2, None, Some(&[0xFE][..]))
        );
        assert_eq!(found[0].show(), "type 2 0x02000000fe00");
        assert_eq!(text(&odd, "s"), "");
        // Cut short: what is whole before it.
        assert_eq!(fields(&odd[..9]).len(), 0);
    }

    #[test]
    fn a_number_is_what_the_server_takes_it_for() {
        let whole = |value: RawDocumentBuf| fields(value.as_bytes())[0].value().as_whole();
        assert_eq!(whole(rawdoc! { "": 3.7 }), Some(3));
        assert_eq!(whole(rawdoc! { "": 3 }), whole(rawdoc! { "": 3_i64 }));
        assert_eq!(whole(rawdoc! { "": "3" }), None);
    }
}
