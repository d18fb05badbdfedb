//! A value as raw bytes of a document: its type byte and its bytes. Servers store strings
//! that are not UTF-8, which the driver's types cannot hold, and an `_id` may be one.
//!
//! Knows nothing about what a value means; `view` does.

use std::fmt;

use bson::raw::cstr;
use bson::{RawBson, RawBsonRef, RawDocumentBuf};
use smallvec::SmallVec;

use super::element::{Element, elements};
use super::view::View;

/// Bytes kept in place: numbers, ObjectIds, UUIDs and short strings.
const INLINE_BYTES: usize = 24;

/// Borrowed from a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ValueRef<'a> {
    pub kind: u8,
    pub bytes: &'a [u8],
}

/// An owned one.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    kind: u8,
    bytes: SmallVec<[u8; INLINE_BYTES]>,
}

impl<'a> ValueRef<'a> {
    #[inline]
    pub fn view(self) -> View<'a> {
        View::from(Element {
            kind: self.kind,
            name: b"",
            value: self.bytes,
        })
    }

    pub fn to_owned(self) -> Value {
        Value {
            kind: self.kind,
            bytes: SmallVec::from_slice(self.bytes),
        }
    }

    /// The driver's form; None if the driver cannot hold it.
    pub fn readable(self) -> Option<RawBson> {
        let document = self.document();
        document.iter().next()?.ok().map(|(_, value)| value.into())
    }

    /// `{_id: value}`.
    pub fn document(self) -> RawDocumentBuf {
        let mut bytes = vec![0; size_of::<i32>()];
        self.write(b"_id", &mut bytes);
        closed(bytes)
    }

    fn write(self, name: &[u8], bytes: &mut Vec<u8>) {
        bytes.push(self.kind);
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(self.bytes);
    }
}

/// `{$in: [...]}`.
pub fn any_of<'a>(values: impl Iterator<Item = ValueRef<'a>>) -> RawDocumentBuf {
    let mut array = vec![0; size_of::<i32>()];
    for (index, value) in values.enumerate() {
        value.write(index.to_string().as_bytes(), &mut array);
    }
    let array = closed(array);
    let mut bytes = vec![0; size_of::<i32>()];
    let value = ValueRef {
        kind: super::element::kind::ARRAY,
        bytes: array.as_bytes(),
    };
    value.write(b"$in", &mut bytes);
    closed(bytes)
}

/// A document whose length is not written yet, and that has no end.
fn closed(mut bytes: Vec<u8>) -> RawDocumentBuf {
    bytes.push(0);
    let length = i32::try_from(bytes.len()).expect("a document of less than 2 GB");
    bytes[..size_of::<i32>()].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).expect("it has its length in front")
}

impl Value {
    pub fn as_ref(&self) -> ValueRef<'_> {
        ValueRef {
            kind: self.kind,
            bytes: &self.bytes,
        }
    }
}

impl<'a> From<Element<'a>> for ValueRef<'a> {
    fn from(element: Element<'a>) -> Self {
        ValueRef {
            kind: element.kind,
            bytes: element.value,
        }
    }
}

impl From<RawBsonRef<'_>> for Value {
    fn from(value: RawBsonRef<'_>) -> Self {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!(""), value);
        let element = elements(&document).next().expect("it was appended");
        ValueRef::from(element).to_owned()
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.readable() {
            Some(value) => write!(f, "{value:?}"),
            None => write!(f, "{self}"),
        }
    }
}

/// For people.
impl fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self
            .readable()
            .and_then(|value| bson::Bson::try_from(value).ok())
        {
            Some(value) => write!(f, "{value}"),
            None => write!(
                f,
                "(type {:#04x}, not UTF-8) \"{}\"",
                self.kind,
                self.bytes.escape_ascii()
            ),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::bson::samples;

    #[test]
    fn every_value_is_kept_as_it_lies() {
        for element in elements(&samples::every_type()) {
            let value = ValueRef::from(element).to_owned();
            assert_eq!(
                (value.kind, &value.bytes[..]),
                (element.kind, element.value)
            );
            let readable = value.as_ref().readable().expect("the samples are readable");
            assert_eq!(Value::from(readable.as_raw_bson_ref()), value);
            assert_eq!(
                elements(&value.as_ref().document()).next().map(|e| e.value),
                Some(element.value)
            );
        }
    }

    #[test]
    fn what_the_driver_cannot_hold_is_shown_and_asked_for() {
        let text = ValueRef {
            kind: super::super::element::kind::STRING,
            bytes: b"\x02\0\0\0\xff\0",
        };
        assert_eq!((text.readable(), text.document().as_bytes()[4]), (None, 2));
        assert!(text.to_string().contains("xff"), "{text}");
        let any = any_of([text, Value::from(RawBsonRef::Int32(7)).as_ref()].into_iter());
        let array = elements(&any).next().expect("$in").value;
        let items: Vec<_> = super::super::element::elements_of(array).collect();
        assert_eq!((items[0].value, items[1].name), (text.bytes, &b"1"[..]));
        let readable = any_of(
            [1, 2]
                .map(|id| Value::from(RawBsonRef::Int32(id)))
                .iter()
                .map(Value::as_ref),
        );
        assert_eq!(readable, rawdoc! { "$in": [1, 2] });
    }
}
