//! Comparison of BSON values as a simple-collation index orders them.

use std::cmp::Ordering;

use bson::{RawBsonRef, RawDocument};

/// Orders two values as an index without collation does. Values of different
/// numeric types that are equal (1, 1.0, Decimal 1.00) are `Equal`.
pub fn compare(_a: RawBsonRef<'_>, _b: RawBsonRef<'_>) -> Ordering {
    Ordering::Equal
}

/// Orders two index keys (documents with the same fields in the same order),
/// by their values only: field names are not looked at on the top level.
pub fn compare_keys(_a: &RawDocument, _b: &RawDocument) -> Ordering {
    Ordering::Equal
}
