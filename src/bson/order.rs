//! Comparison of BSON values as a simple-collation index orders them.
//!
//! The rules are the server's, seen on 6.0.5 (`tests/bson_order.rs` compares
//! with its `_id` index): type first, where all numbers are one type and String
//! and Symbol are one; then the value. Knows nothing about collations.

use std::cmp::Ordering;

use bson::{RawBsonRef, RawDocument};

use super::decimal::Decimal;
use super::element::{elements, elements_of};
use super::number::{self, Number};
use super::view::View;

/// Orders two values as an index without collation does. Values of different
/// numeric types that are equal (1, 1.0, Decimal 1.00) are `Equal`.
pub fn compare(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
    compare_views(&a.into(), &b.into())
}

/// Orders two index keys (documents with the same fields in the same order),
/// by their values only: field names are not looked at on the top level.
pub fn compare_keys(a: &RawDocument, b: &RawDocument) -> Ordering {
    elements(a)
        .map(View::from)
        .cmp_by_views(elements(b).map(View::from))
}

/// `compare` on views.
pub fn compare_views(a: &View<'_>, b: &View<'_>) -> Ordering {
    match (a, b) {
        (View::Int(a), View::Int(b)) => a.cmp(b),
        (View::ObjectId(a), View::ObjectId(b)) => a.cmp(b),
        (View::Text(a), View::Text(b)) => a.cmp(b),
        (View::Document(a), View::Document(b)) => compare_documents(a, b),
        (View::Array(a), View::Array(b)) => compare_arrays(a, b),
        (View::Boolean(a), View::Boolean(b)) => a.cmp(b),
        (View::Date(a), View::Date(b)) => a.cmp(b),
        (View::Timestamp(a), View::Timestamp(b)) => a.cmp(b),
        (
            View::Binary {
                len,
                subtype,
                bytes,
            },
            View::Binary {
                len: len_b,
                subtype: subtype_b,
                bytes: bytes_b,
            },
        ) => (len, subtype, bytes).cmp(&(len_b, subtype_b, bytes_b)),
        (View::Regex(a, a_options), View::Regex(b, b_options)) => {
            (a, a_options).cmp(&(b, b_options))
        }
        (View::DbPointer(a), View::DbPointer(b)) => {
            let (a, b) = (a.bytes(), b.bytes());
            a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
        }
        (View::Code(a), View::Code(b)) => a.cmp(b),
        (View::CodeWithScope(a, a_scope), View::CodeWithScope(b, b_scope)) => {
            a.cmp(b).then_with(|| compare_documents(a_scope, b_scope))
        }
        _ => match (as_number(a), as_number(b)) {
            (Some(a), Some(b)) => number::compare(a, b),
            _ => a.rank().cmp(&b.rank()),
        },
    }
}

/// A figure that never descends where `compare` ascends, and is the same for some that
/// are not equal: of text and bytes only the beginning counts, of documents only the type.
pub fn place(view: &View<'_>) -> u128 {
    const RANK_BITS: u32 = 8;
    let start = |bytes: &[u8]| {
        let mut word = [0; 16];
        let taken = bytes.len().min(word.len());
        word[..taken].copy_from_slice(&bytes[..taken]);
        u128::from_be_bytes(word)
    };
    let signed = |value: i64| u128::from(value as u64 ^ 1 << 63) << 64;
    let within = match view {
        View::ObjectId(id) => start(id),
        View::Text(text) | View::Code(text) => start(text),
        View::Binary {
            len,
            subtype,
            bytes,
        } => (*len as u128) << 96 | u128::from(*subtype) << 88 | start(bytes) >> 40,
        View::Boolean(value) => u128::from(*value) << 64,
        View::Date(value) => signed(*value),
        View::Timestamp(value) => u128::from(*value) << 64,
        _ => as_number(view).map_or(0, |number| signed(number::about(number))),
    };
    ((view.rank() + 1) as u128) << 120 | within >> RANK_BITS
}

/// The number a view holds, if it is one.
pub(super) fn as_number(view: &View<'_>) -> Option<Number> {
    match view {
        View::Int(v) => Some(Number::Int(*v)),
        View::Double(v) => Some(Number::Double(*v)),
        View::Decimal(bytes) => Some(Number::Decimal(Decimal::from_bytes(*bytes))),
        _ => None,
    }
}

/// Field by field: type, then name, then value; the one that ends first is less.
fn compare_documents(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (elements_of(a), elements_of(b));
    loop {
        let (x, y) = match (a.next(), b.next()) {
            (Some(x), Some(y)) => (x, y),
            (x, y) => return x.is_some().cmp(&y.is_some()),
        };
        let (left, right) = (View::from(x), View::from(y));
        let order = left
            .rank()
            .cmp(&right.rank())
            .then_with(|| x.name.cmp(y.name));
        let order = order.then_with(|| compare_views(&left, &right));
        if order.is_ne() {
            return order;
        }
    }
}

/// Element by element; names (positions) do not count.
fn compare_arrays(a: &[u8], b: &[u8]) -> Ordering {
    elements_of(a)
        .map(View::from)
        .cmp_by_views(elements_of(b).map(View::from))
}

/// Lexicographic comparison of values.
trait CompareViews<'a>: Iterator<Item = View<'a>> + Sized {
    fn cmp_by_views<'b>(mut self, mut other: impl Iterator<Item = View<'b>>) -> Ordering {
        loop {
            let order = match (self.next(), other.next()) {
                (Some(a), Some(b)) => compare_views(&a, &b),
                (a, b) => return a.is_some().cmp(&b.is_some()),
            };
            if order.is_ne() {
                return order;
            }
        }
    }
}

impl<'a, I: Iterator<Item = View<'a>>> CompareViews<'a> for I {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::samples;
    use bson::rawdoc;

    #[test]
    fn one_value_of_every_type_in_order() {
        let doc = samples::every_type();
        let values: Vec<_> = doc.iter().map(|e| e.unwrap().1).collect();
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(
                    compare(*a, *b),
                    samples::ROWS[i].cmp(&samples::ROWS[j]),
                    "{a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn keys_compare_by_value_only() {
        let low = rawdoc! { "a": 1, "b": "x" };
        assert_eq!(
            compare_keys(&low, &rawdoc! { "z": 1.0, "a": "x" }),
            Ordering::Equal
        );
        assert_eq!(
            compare_keys(&low, &rawdoc! { "a": 1, "b": RawBsonRef::MinKey }),
            Ordering::Greater
        );
        assert_eq!(
            compare_keys(&low, &rawdoc! { "a": RawBsonRef::MaxKey }),
            Ordering::Less
        );
    }

    #[test]
    fn documents_compare_type_then_name_then_value() {
        let order = |a: bson::RawDocumentBuf, b: bson::RawDocumentBuf| {
            compare(RawBsonRef::Document(&a), RawBsonRef::Document(&b))
        };
        assert_eq!(
            order(rawdoc! { "b": 1 }, rawdoc! { "a": "s" }),
            Ordering::Less
        );
        assert_eq!(
            order(rawdoc! { "b": 1 }, rawdoc! { "a": 2 }),
            Ordering::Greater
        );
        assert_eq!(
            order(rawdoc! { "a": 1 }, rawdoc! { "a": 1, "b": 1 }),
            Ordering::Less
        );
        assert_eq!(
            order(rawdoc! { "a": 1 }, rawdoc! { "a": 1.0 }),
            Ordering::Equal
        );
    }
}
