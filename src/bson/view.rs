//! One shape for a value wherever it comes from: a driver reference or an
//! element's bytes. Order, identity and the shard-key hash are defined on it.
//!
//! Borrows (a DBPointer that comes from the driver apart). Knows nothing about comparison.

use std::borrow::Cow;

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{RawBsonRef, RawDbPointerRef, RawDocumentBuf};

use super::element::{Element, cstring, elements, kind, string};

/// A value as the index sees it. Strings and code are bytes: the server does
/// not require UTF-8. Documents and arrays are their whole bytes.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    MinKey,
    Undefined,
    Null,
    Int(i64),
    Double(f64),
    Decimal([u8; 16]),
    /// String or Symbol.
    Text(&'a [u8]),
    Document(&'a [u8]),
    Array(&'a [u8]),
    /// `bytes` without the inner length of the old subtype 2; `len` with it.
    Binary {
        len: usize,
        subtype: u8,
        bytes: &'a [u8],
    },
    ObjectId([u8; 12]),
    Boolean(bool),
    Date(i64),
    Timestamp(u64),
    Regex(&'a [u8], &'a [u8]),
    DbPointer(Pointer<'a>),
    Code(&'a [u8]),
    CodeWithScope(&'a [u8], &'a [u8]),
    MaxKey,
}

/// A DBPointer. The driver hides the parts of its own form; this deprecated
/// type is the one whose bytes may have to be made.
#[derive(Debug, Clone, Copy)]
pub enum Pointer<'a> {
    Bytes(&'a [u8]),
    Driver(RawDbPointerRef<'a>),
}

impl<'a> Pointer<'a> {
    /// The value's bytes as a document stores them.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match *self {
            Pointer::Bytes(bytes) => Cow::Borrowed(bytes),
            Pointer::Driver(pointer) => {
                let mut doc = RawDocumentBuf::new();
                doc.append(cstr!(""), RawBsonRef::DbPointer(pointer));
                Cow::Owned(
                    elements(&doc)
                        .next()
                        .map_or_else(Vec::new, |e| e.value.to_vec()),
                )
            }
        }
    }
}

/// Subtype whose bytes repeat their length.
const OLD_BINARY: u8 = 2;

impl View<'_> {
    /// Rank of the type among all types; numbers share one, as do String and
    /// Symbol. The server's `canonicalizeBSONType`; the shard-key hash feeds it.
    #[inline]
    pub fn rank(&self) -> i32 {
        match self {
            View::MinKey => -1,
            View::Undefined => 0,
            View::Null => 5,
            View::Int(_) | View::Double(_) | View::Decimal(_) => 10,
            View::Text(_) => 15,
            View::Document(_) => 20,
            View::Array(_) => 25,
            View::Binary { .. } => 30,
            View::ObjectId(_) => 35,
            View::Boolean(_) => 40,
            View::Date(_) => 45,
            View::Timestamp(_) => 47,
            View::Regex(..) => 50,
            View::DbPointer(..) => 55,
            View::Code(_) => 60,
            View::CodeWithScope(..) => 65,
            View::MaxKey => 127,
        }
    }
}

impl<'a> From<RawBsonRef<'a>> for View<'a> {
    #[inline]
    fn from(value: RawBsonRef<'a>) -> Self {
        match value {
            RawBsonRef::ObjectId(v) => View::ObjectId(v.bytes()),
            RawBsonRef::Int32(v) => View::Int(v.into()),
            RawBsonRef::Int64(v) => View::Int(v),
            RawBsonRef::String(v) | RawBsonRef::Symbol(v) => View::Text(v.as_bytes()),
            RawBsonRef::Double(v) => View::Double(v),
            RawBsonRef::Decimal128(v) => View::Decimal(v.bytes()),
            RawBsonRef::Document(v) => View::Document(v.as_bytes()),
            RawBsonRef::Array(v) => View::Array(v.as_bytes()),
            RawBsonRef::Binary(v) => {
                let inner = if v.subtype == BinarySubtype::BinaryOld {
                    4
                } else {
                    0
                };
                View::Binary {
                    len: v.bytes.len() + inner,
                    subtype: v.subtype.into(),
                    bytes: v.bytes,
                }
            }
            RawBsonRef::Boolean(v) => View::Boolean(v),
            RawBsonRef::Null => View::Null,
            RawBsonRef::DateTime(v) => View::Date(v.timestamp_millis()),
            RawBsonRef::Timestamp(v) => {
                View::Timestamp(u64::from(v.time) << 32 | u64::from(v.increment))
            }
            RawBsonRef::RegularExpression(v) => {
                View::Regex(v.pattern.as_str().as_bytes(), v.options.as_str().as_bytes())
            }
            RawBsonRef::JavaScriptCode(v) => View::Code(v.as_bytes()),
            RawBsonRef::JavaScriptCodeWithScope(v) => {
                View::CodeWithScope(v.code.as_bytes(), v.scope.as_bytes())
            }
            RawBsonRef::DbPointer(v) => View::DbPointer(Pointer::Driver(v)),
            RawBsonRef::Undefined => View::Undefined,
            RawBsonRef::MinKey => View::MinKey,
            RawBsonRef::MaxKey => View::MaxKey,
        }
    }
}

impl<'a> From<Element<'a>> for View<'a> {
    /// A value whose own bytes are malformed counts as Undefined.
    #[inline]
    fn from(element: Element<'a>) -> Self {
        read(element.kind, element.value).unwrap_or(View::Undefined)
    }
}

#[inline]
fn read(kind: u8, value: &[u8]) -> Option<View<'_>> {
    Some(match kind {
        kind::OBJECT_ID => View::ObjectId(value.try_into().ok()?),
        kind::INT32 => View::Int(i32::from_le_bytes(value.try_into().ok()?).into()),
        kind::INT64 => View::Int(i64::from_le_bytes(value.try_into().ok()?)),
        kind::STRING | kind::SYMBOL => View::Text(string(value)?.0),
        kind::DOUBLE => View::Double(f64::from_le_bytes(value.try_into().ok()?)),
        kind::DECIMAL128 => View::Decimal(value.try_into().ok()?),
        kind::DOCUMENT => View::Document(value),
        kind::ARRAY => View::Array(value),
        kind::BINARY => binary(*value.get(4)?, value.get(5..)?),
        kind::BOOLEAN => View::Boolean(*value.first()? != 0),
        kind::NULL => View::Null,
        kind::DATE => View::Date(i64::from_le_bytes(value.try_into().ok()?)),
        kind::TIMESTAMP => View::Timestamp(u64::from_le_bytes(value.try_into().ok()?)),
        kind::REGEX => {
            let (pattern, rest) = cstring(value)?;
            View::Regex(pattern, cstring(rest)?.0)
        }
        kind::CODE => View::Code(string(value)?.0),
        kind::CODE_WITH_SCOPE => {
            let (code, scope) = string(value.get(4..)?)?;
            View::CodeWithScope(code, scope)
        }
        kind::DB_POINTER => View::DbPointer(Pointer::Bytes(value)),
        kind::UNDEFINED => View::Undefined,
        kind::MIN_KEY => View::MinKey,
        kind::MAX_KEY => View::MaxKey,
        _ => return None,
    })
}

/// Binary of the old subtype without its inner length, if that is well formed.
fn binary(subtype: u8, bytes: &[u8]) -> View<'_> {
    let len = bytes.len();
    match bytes.split_first_chunk() {
        Some((inner, rest))
            if subtype == OLD_BINARY && i32::from_le_bytes(*inner) as usize == rest.len() =>
        {
            View::Binary {
                len,
                subtype,
                bytes: rest,
            }
        }
        _ => View::Binary {
            len,
            subtype,
            bytes,
        },
    }
}
