//! Walking the elements of raw documents by their bytes alone.
//!
//! Servers store what clients send: strings that are not UTF-8, wrong array
//! names, any boolean byte. The driver's iterators refuse such values, so the
//! passes that see every document use this walk instead. Malformed lengths end
//! the walk. Knows nothing about order, hashes or which fields matter.

use bson::RawDocument;

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
    Elements { rest: bytes.get(4..).unwrap_or_default() }
}

/// The first element named `name` on the top level of the document `bytes`.
pub fn field<'a>(bytes: &'a [u8], name: &[u8]) -> Option<Element<'a>> {
    elements_of(bytes).find(|e| e.name == name)
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
    let end = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
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

/// Bytes of a value of type `kind` that `rest` begins with.
#[inline]
fn value_bytes(kind: u8, rest: &[u8]) -> Option<usize> {
    Some(match kind {
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => 0,
        kind::BOOLEAN => 1,
        kind::INT32 => 4,
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => 8,
        kind::OBJECT_ID => 12,
        kind::DECIMAL128 => 16,
        kind::DOCUMENT | kind::ARRAY | kind::CODE_WITH_SCOPE => int32(rest)?,
        kind::STRING | kind::CODE | kind::SYMBOL => 4 + int32(rest)?,
        kind::BINARY => 5 + int32(rest)?,
        kind::DB_POINTER => 16 + int32(rest)?,
        kind::REGEX => {
            let (pattern, after) = cstring(rest)?;
            pattern.len() + cstring(after)?.0.len() + 2
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{rawdoc, spec::ElementType};

    #[test]
    fn walks_every_type_as_the_driver_does() {
        let doc = crate::bson::samples::every_type();
        let ours: Vec<_> = elements(&doc).map(|e| (e.kind, e.name.to_vec(), e.value.len())).collect();
        let theirs: Vec<_> = doc
            .iter_elements()
            .map(|e| e.unwrap())
            .map(|e| (e.element_type() as u8, e.key().as_str().as_bytes().to_vec(), e.size()))
            .collect();
        assert_eq!(ours, theirs);
        assert!(ours.iter().any(|(kind, ..)| *kind == ElementType::DbPointer as u8));
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
