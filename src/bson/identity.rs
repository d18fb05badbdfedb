//! When two `_id`s name the same document: equality of the `_id` index.
//!
//! Knows nothing about collations: a collection with its own has one lane.

use std::hash::{Hash, Hasher};

use bson::{RawBsonRef, RawDocumentBuf};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::decimal::Decimal;
use super::element::elements_of;
use super::number::exact_i64;
use super::order;
use super::value::{self, Value, ValueRef};
use super::view::View;

/// Hash of a value that agrees with `order::compare`: values that compare
/// equal hash equal (1 = 1.0 = Decimal 1, inside documents too; String = Symbol).
/// Not stable between versions: for lanes and maps, never for storage.
pub fn hash(value: RawBsonRef<'_>) -> u64 {
    hash_view(&value.into())
}

/// `hash` of a view.
pub fn hash_view(view: &View<'_>) -> u64 {
    let seed = view.rank() as u64;
    let bytes = |bytes: &[u8]| xxh3_64_with_seed(bytes, seed);
    match view {
        View::Int(v) => mix(seed, *v as u64),
        View::Double(v) => hash_double(seed, *v),
        View::Decimal(v) => hash_decimal(seed, *v),
        View::Text(v) | View::Code(v) => bytes(v),
        View::ObjectId(v) => bytes(v),
        View::Binary {
            subtype, bytes: v, ..
        } => mix(bytes(v), (*subtype).into()),
        View::Document(v) => elements_of(v).fold(seed, |h, e| {
            mix(mix(h, xxh3_64_with_seed(e.name, 0)), hash_view(&e.into()))
        }),
        View::Array(v) => elements_of(v).fold(seed, |h, e| mix(h, hash_view(&e.into()))),
        View::Boolean(v) => mix(seed, (*v).into()),
        View::Date(v) => mix(seed, *v as u64),
        View::Timestamp(v) => mix(seed, *v),
        View::Regex(pattern, options) => mix(bytes(pattern), bytes(options)),
        View::DbPointer(v) => bytes(&v.bytes()),
        View::CodeWithScope(code, scope) => mix(bytes(code), hash_view(&View::Document(scope))),
        View::MinKey | View::Undefined | View::Null | View::MaxKey => mix(seed, 0),
    }
}

/// Integers of every type hash as i64, all else as the nearest double.
fn hash_double(seed: u64, value: f64) -> u64 {
    match exact_i64(value) {
        Some(int) => mix(seed, int as u64),
        None if value.is_nan() => mix(seed, f64::NAN.to_bits()),
        None => mix(seed, value.to_bits()),
    }
}

/// Rounding is a function of the value alone, so a decimal that equals a double
/// meets it; decimals that share a nearest double collide, which is allowed.
fn hash_decimal(seed: u64, bytes: [u8; 16]) -> u64 {
    match Decimal::from_bytes(bytes) {
        Decimal::NaN => hash_double(seed, f64::NAN),
        Decimal::Infinite { negative: false } => hash_double(seed, f64::INFINITY),
        Decimal::Infinite { negative: true } => hash_double(seed, f64::NEG_INFINITY),
        Decimal::Finite(v) => match v.as_i64() {
            Some(int) => mix(seed, int as u64),
            None => mix(seed, v.nearest_double().to_bits()),
        },
    }
}

/// Folds the 128-bit product of both, so that every bit of either counts.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64 ^ (product >> 64) as u64)
        .rotate_left(29)
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        ^ a.rotate_left(7)
}

/// An owned `_id` whose equality and hash are those of the `_id` index.
#[derive(Debug, Clone)]
pub struct IdKey {
    value: Value,
    hash: u64,
}

impl IdKey {
    #[inline]
    pub fn new(value: ValueRef<'_>) -> Self {
        IdKey {
            value: value.to_owned(),
            hash: hash_view(&value.view()),
        }
    }

    /// The key of a driver's value.
    pub fn of(value: RawBsonRef<'_>) -> Self {
        IdKey::new(Value::from(value).as_ref())
    }

    pub fn value(&self) -> ValueRef<'_> {
        self.value.as_ref()
    }

    /// Bytes that the value takes in a document.
    pub fn bytes(&self) -> usize {
        self.value().bytes.len()
    }

    /// The number that `hash_view` gives for the value.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Its approximate place in the `_id` index (`order::place`).
    pub fn place(&self) -> u128 {
        order::place(&self.value().view())
    }
}

impl PartialEq for IdKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && order::compare_views(&self.value().view(), &other.value().view()).is_eq()
    }
}

impl Eq for IdKey {}

impl Hash for IdKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// `{$in: [...]}`. An `_id` is never an array or a regex, and never missing, so `$in` has
/// the same equality as the index.
pub fn any_of(ids: &[IdKey]) -> RawDocumentBuf {
    value::any_of(ids.iter().map(IdKey::value))
}

/// Cuts `ids` into what one command may name: at most `count_max` of them, and
/// `bytes_max` bytes unless one alone has more.
pub fn split(ids: &[IdKey], count_max: usize, bytes_max: usize) -> impl Iterator<Item = &[IdKey]> {
    let mut rest = ids;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |id: &&IdKey| {
            bytes += id.bytes();
            bytes <= bytes_max
        };
        let count = rest
            .iter()
            .take(count_max)
            .take_while(fits)
            .count()
            .max(1)
            .min(rest.len());
        let (some, after) = rest.split_at(count);
        rest = after;
        (!some.is_empty()).then_some(some)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::samples::{self, any_value};
    use bson::{RawBson, rawdoc};
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    const fn is_shareable<T: Send + Sync>() {}
    const _: () = is_shareable::<IdKey>();

    #[test]
    fn equal_values_of_other_types_are_one_key() {
        let doc = samples::every_type();
        let mut keys: HashMap<IdKey, usize> = HashMap::new();
        for (at, element) in doc.iter().enumerate() {
            let row = samples::ROWS[at];
            assert_eq!(
                *keys.entry(IdKey::of(element.unwrap().1)).or_insert(row),
                row
            );
        }
        assert_eq!(
            keys.len(),
            samples::ROWS.iter().collect::<HashSet<_>>().len()
        );
    }

    #[test]
    fn nested_numbers_do_not_split_a_key() {
        let one = rawdoc! { "a": 1, "b": [1, { "c": 2.0 }] };
        let two =
            rawdoc! { "a": 1.0, "b": [1i64, { "c": "2.00".parse::<bson::Decimal128>().unwrap() }] };
        let (one, two) = (RawBsonRef::Document(&one), RawBsonRef::Document(&two));
        assert_eq!(IdKey::of(one), IdKey::of(two));
        assert_eq!(hash(one), hash(two));
    }

    #[test]
    fn ids_are_split_by_number_and_by_bytes_and_none_is_lost() {
        let sizes = |ids: &[IdKey]| split(ids, 1_000, 100).map(<[_]>::len).collect::<Vec<_>>();
        let key = |text: &str| IdKey::of(RawBsonRef::String(text));
        assert_eq!(
            sizes(&[key("a"), key("b"), key(&"x".repeat(101)), key("c")]),
            [2, 1, 1]
        );
        assert_eq!(sizes(&vec![key(&"x".repeat(45)); 5]), [2, 2, 1]);
        assert!(sizes(&[]).is_empty());
        let many: Vec<IdKey> = (0..2_500)
            .map(|id| IdKey::of(RawBsonRef::Int32(id)))
            .collect();
        assert_eq!(
            split(&many, 1_000, 1 << 20)
                .map(<[_]>::len)
                .collect::<Vec<_>>(),
            [1_000, 1_000, 500]
        );
        assert_eq!(any_of(&many[..2]), rawdoc! { "$in": [0, 1] });
    }

    #[test]
    fn neighbours_spread_over_few_lanes() {
        let mut lanes = [0u32; 8];
        (0..8000).for_each(|i| lanes[(hash(RawBsonRef::Int32(i)) % 8) as usize] += 1);
        assert!(lanes.iter().all(|&n| (850..1150).contains(&n)), "{lanes:?}");
    }

    proptest! {
        #[test]
        fn equal_hashes_equal(a in any_value(), b in any_value()) {
            let (a, b) = (RawBson::try_from(a).unwrap(), RawBson::try_from(b).unwrap());
            let (a, b) = (a.as_raw_bson_ref(), b.as_raw_bson_ref());
            if order::compare(a, b).is_eq() {
                prop_assert_eq!(hash(a), hash(b));
            }
            if order::compare(a, b).is_lt() {
                prop_assert!(order::place(&a.into()) <= order::place(&b.into()), "{:?} {:?}", a, b);
            }
            prop_assert_eq!(order::compare(a, b), order::compare(b, a).reverse());
            prop_assert_eq!(order::compare(a, a), std::cmp::Ordering::Equal);
        }
    }
}
