//! Walking the elements of raw documents by their bytes alone.
//!
//! Servers store what clients send: strings that are not UTF-8, wrong array
//! names, any boolean byte. The driver's iterators refuse such values, so the
//! passes that see every document use this walk instead. Malformed lengths end
//! the walk. The same way back: documents are put together from elements, byte for
//! byte. Knows nothing about order, hashes or which fields matter.

use bson::{RawDocument, RawDocumentBuf};

/// BSON element types, by their byte (<https://bsonspec.org/spec.html>).
pub mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const REGEX: u8 = 0x0b;
    pub const DB_POINTER: u8 = 0x0c;
    pub const CODE: u8 = 0x0d;
    pub const SYMBOL: u8 = 0x0e;
    pub const CODE_WITH_SCOPE: u8 = 0x0f;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL128: u8 = 0x13;
    pub const MAX_KEY: u8 = 0x7f;
    pub const MIN_KEY: u8 = 0xff;
}

/// One element of a raw document: type byte, name without its null, value bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub kind: u8,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl Element<'_> {
    /// Bytes that it takes in its document.
    pub fn bytes(&self) -> usize {
        1 + self.name.len() + 1 + self.value.len()
    }
}

/// The elements of a document in stored order.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

/// The elements of `doc`.
pub fn elements(doc: &RawDocument) -> Elements<'_> {
    elements_of(doc.as_bytes())
}

/// The elements of a document given as bytes, length and final null included.
pub fn elements_of(bytes: &[u8]) -> Elements<'_> {
    Elements {
        rest: bytes.get(4..).unwrap_or_default(),
    }
}

/// The first element named `name` on the top level of the document `bytes`.
pub fn field<'a>(bytes: &'a [u8], name: &[u8]) -> Option<Element<'a>> {
    elements_of(bytes).find(|e| e.name == name)
}

/// A document of these elements, in this order.
pub fn document<'a>(elements: impl IntoIterator<Item = Element<'a>>) -> RawDocumentBuf {
    let mut bytes = vec![0; size_of::<i32>()];
    for Element { kind, name, value } in elements {
        bytes.push(kind);
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
    }
    bytes.push(0);
    let length = i32::try_from(bytes.len()).expect("documents are far below 2 GB");
    bytes[..size_of::<i32>()].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).expect("it has its length and its end")
}

/// The value of an element that holds this string.
pub fn string_value(text: &[u8]) -> Vec<u8> {
    let length = i32::try_from(text.len() + 1).expect("strings are far below 2 GB");
    [&length.to_le_bytes(), text, &[0]].concat()
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let (&kind, rest) = self.rest.split_first()?;
        self.rest = &[];
        if kind == 0 {
            return None;
        }
        let (name, rest) = cstring(rest)?;
        let (value, rest) = rest.split_at_checked(value_bytes(kind, rest)?)?;
        self.rest = rest;
        Some(Element { kind, name, value })
    }
}

/// Splits a null-terminated string off the front.
#[inline]
pub fn cstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(first_null(bytes)?)?;
    Some((text, rest.get(1..)?))
}

/// Where the first null is. Eight bytes at a time: most names end within those.
#[inline]
fn first_null(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    while let Some(word) = bytes.get(at..)?.first_chunk() {
        let word = u64::from_le_bytes(*word);
        // The lowest bit set is that of the first null; above it there may be others.
        let nulls = word.wrapping_sub(ONES) & !word & HIGH_BITS;
        if nulls != 0 {
            return Some(at + nulls.trailing_zeros() as usize / 8);
        }
        at += size_of::<u64>();
    }
    bytes[at..].iter().position(|&b| b == 0).map(|end| at + end)
}

/// Splits a length-prefixed string (int32 length with its null) off the front.
#[inline]
pub fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.get(4..)?.split_at_checked(int32(bytes)?)?;
    Some((text.split_last()?.1, rest))
}

/// The non-negative int32 that `bytes` begins with.
#[inline]
fn int32(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    usize::try_from(length).ok()
}

/// How long a value is.
#[derive(Clone, Copy)]
enum Size {
    Fixed(u8),
    /// The int32 at its beginning gives the length, except for this many bytes.
    Told(u8),
    /// Two null-terminated strings.
    Strings,
    NoType,
}

const SIZES: [Size; 256] = {
    let mut sizes = [Size::NoType; 256];
    let mut kind = 0;
    while kind < 256 {
        sizes[kind] = size(kind as u8);
        kind += 1;
    }
    sizes
};

const fn size(kind: u8) -> Size {
    match kind {
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => Size::Fixed(0),
        kind::BOOLEAN => Size::Fixed(1),
        kind::INT32 => Size::Fixed(4),
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => Size::Fixed(8),
        kind::OBJECT_ID => Size::Fixed(12),
        kind::DECIMAL128 => Size::Fixed(16),
        kind::DOCUMENT | kind::ARRAY | kind::CODE_WITH_SCOPE => Size::Told(0),
        kind::STRING | kind::CODE | kind::SYMBOL => Size::Told(4),
        kind::BINARY => Size::Told(5),
        kind::DB_POINTER => Size::Told(16),
        kind::REGEX => Size::Strings,
        _ => Size::NoType,
    }
}

/// Bytes of a value of type `kind` that `rest` begins with.
#[inline]
fn value_bytes(kind: u8, rest: &[u8]) -> Option<usize> {
    match SIZES[kind as usize] {
        Size::Fixed(bytes) => Some(bytes.into()),
        Size::Told(besides) => Some(usize::from(besides) + int32(rest)?),
        Size::Strings => {
            let (pattern, after) = cstring(rest)?;
            Some(pattern.len() + cstring(after)?.0.len() + 2)
        }
        Size::NoType => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{rawdoc, spec::ElementType};

    #[test]
    fn walks_every_type_as_the_driver_does() {
        let doc = crate::bson::samples::every_type();
        let ours: Vec<_> = elements(&doc)
            .map(|e| (e.kind, e.name.to_vec(), e.value.len()))
            .collect();
        let theirs: Vec<_> = doc
            .iter_elements()
            .map(|e| e.unwrap())
            .map(|e| {
                (
                    e.element_type() as u8,
                    e.key().as_str().as_bytes().to_vec(),
                    e.size(),
                )
            })
            .collect();
        assert_eq!(ours, theirs);
        assert!(
            ours.iter()
                .any(|(kind, ..)| *kind == ElementType::DbPointer as u8)
        );
    }

    #[test]
    fn a_document_put_together_from_its_elements_has_its_bytes() {
        let doc = crate::bson::samples::every_type();
        assert_eq!(document(elements(&doc)), doc);
        let text = [0xff, b'x'];
        let value = string_value(&text);
        assert_eq!(string(&value), Some((&text[..], &[][..])));
        let odd = document(
            [Element {
                kind: kind::STRING,
                name: b"\xfe",
                value: &value,
            }; 2],
        );
        assert_eq!(
            elements(&odd)
                .map(|e| (e.name, e.value))
                .collect::<Vec<_>>(),
            [(&b"\xfe"[..], &value[..]); 2]
        );
    }

    #[test]
    fn names_of_every_length_end_at_their_null() {
        for length in 0..40 {
            for fill in [0x01, 0x7f, 0x80, 0x81, 0xff] {
                let name = vec![fill; length];
                let bytes = [&name[..], &[0, 0x01, 0x80, 0]].concat();
                assert_eq!(cstring(&bytes), Some((&name[..], &[0x01, 0x80, 0][..])));
                assert_eq!(cstring(&name), None);
            }
        }
    }

    #[test]
    fn a_bad_length_ends_the_walk() {
        let mut bytes = rawdoc! { "a": 1, "s": "text", "b": 2 }.into_bytes();
        let at = bytes.windows(2).position(|w| w == b"s\0").unwrap() + 2;
        bytes[at..at + 4].copy_from_slice(&i32::MAX.to_le_bytes());
        assert_eq!(elements_of(&bytes).count(), 1);
        bytes[at..at + 4].copy_from_slice(&(-1i32).to_le_bytes());
        assert_eq!(elements_of(&bytes).count(), 1);
    }
}
