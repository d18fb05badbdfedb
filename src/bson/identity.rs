//! When two `_id`s name the same document: equality of the `_id` index.

use bson::{RawBson, RawBsonRef};

/// Hash of a value that agrees with `order::compare`: values that compare
/// equal hash equal (1 = 1.0 = Decimal 1, inside documents too; String = Symbol).
pub fn hash(_value: RawBsonRef<'_>) -> u64 {
    0
}

/// An owned `_id` that is equal and hashes as the `_id` index compares.
#[derive(Debug, Clone)]
pub struct IdKey {
    pub value: RawBson,
    hash: u64,
}

impl IdKey {
    pub fn new(value: RawBsonRef<'_>) -> Self {
        IdKey { value: value.into(), hash: hash(value) }
    }

    /// The same number as `hash(value)`.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
