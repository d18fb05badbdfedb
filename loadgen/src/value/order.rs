//! The server's order of values: by type first, then within the type (server manual,
//! "Comparison/Sort Order"). Collations and `Decimal128` beyond the precision of a double
//! are left out.

use std::cmp::Ordering;

use bson::{Bson, Document};

/// Largest power of two up to which every whole number is a double.
const DOUBLE_WHOLE_MAX: i64 = 1 << 53;

pub fn compare(a: &Bson, b: &Bson) -> Ordering {
    rank(a).cmp(&rank(b)).then_with(|| within_type(a, b))
}

/// One after the other, as shard keys of several fields are.
pub fn compare_all<'a>(
    a: impl IntoIterator<Item = &'a Bson>,
    b: impl IntoIterator<Item = &'a Bson>,
) -> Ordering {
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) => match compare(a, b) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
}

/// Types that compare with each other share one (server source, `canonicalizeBSONType`).
pub(super) fn rank(value: &Bson) -> i32 {
    match value {
        Bson::MinKey => -1,
        Bson::Undefined => 0,
        Bson::Null => 5,
        Bson::Double(_) | Bson::Int32(_) | Bson::Int64(_) | Bson::Decimal128(_) => 10,
        Bson::String(_) | Bson::Symbol(_) => 15,
        Bson::Document(_) => 20,
        Bson::Array(_) => 25,
        Bson::Binary(_) => 30,
        Bson::ObjectId(_) => 35,
        Bson::Boolean(_) => 40,
        Bson::DateTime(_) => 45,
        Bson::Timestamp(_) => 47,
        Bson::RegularExpression(_) => 50,
        Bson::DbPointer(_) => 55,
        Bson::JavaScriptCode(_) => 60,
        Bson::JavaScriptCodeWithScope(_) => 65,
        Bson::MaxKey => 127,
    }
}

fn within_type(a: &Bson, b: &Bson) -> Ordering {
    match (a, b) {
        (Bson::Document(a), Bson::Document(b)) => documents(a, b),
        (Bson::Array(a), Bson::Array(b)) => compare_all(a, b),
        (Bson::Binary(a), Bson::Binary(b)) => {
            let key = |v: &bson::Binary| (v.bytes.len(), u8::from(v.subtype));
            key(a).cmp(&key(b)).then_with(|| a.bytes.cmp(&b.bytes))
        }
        (Bson::ObjectId(a), Bson::ObjectId(b)) => a.cmp(b),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::Timestamp(a), Bson::Timestamp(b)) => {
            (a.time, a.increment).cmp(&(b.time, b.increment))
        }
        (Bson::RegularExpression(a), Bson::RegularExpression(b)) => {
            let key =
                |v: &bson::Regex| (v.pattern.as_str().to_owned(), v.options.as_str().to_owned());
            key(a).cmp(&key(b))
        }
        (Bson::JavaScriptCode(a), Bson::JavaScriptCode(b)) => a.cmp(b),
        (Bson::JavaScriptCodeWithScope(a), Bson::JavaScriptCodeWithScope(b)) => a
            .code
            .cmp(&b.code)
            .then_with(|| documents(&a.scope, &b.scope)),
        _ if rank(a) == 10 => numbers(a, b),
        _ => text(a).cmp(text(b)),
    }
}

/// Field by field: type, then name, then value.
fn documents(a: &Document, b: &Document) -> Ordering {
    let (mut a, mut b) = (a.iter(), b.iter());
    loop {
        match (a.next(), b.next()) {
            (Some((a_name, a)), Some((b_name, b))) => {
                let by_name = || a_name.as_bytes().cmp(b_name.as_bytes());
                let order = rank(a).cmp(&rank(b)).then_with(by_name);
                match order.then_with(|| compare(a, b)) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
}

fn text(value: &Bson) -> &str {
    match value {
        Bson::String(text) | Bson::Symbol(text) => text,
        _ => "",
    }
}

fn numbers(a: &Bson, b: &Bson) -> Ordering {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => whole_and_double(a, double(b)),
        (None, Some(b)) => whole_and_double(b, double(a)).reverse(),
        (None, None) => doubles(double(a), double(b)),
    }
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        _ => None,
    }
}

fn double(value: &Bson) -> f64 {
    match value {
        Bson::Double(n) => *n,
        Bson::Decimal128(n) => n.to_string().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// NaN is below every number.
fn doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn whole_and_double(a: i64, b: f64) -> Ordering {
    let near = doubles(a as f64, b);
    if near != Ordering::Equal || a.abs() <= DOUBLE_WHOLE_MAX {
        return near;
    }
    // Both are near; the double is a whole number then. 2^63 is above all of them.
    if b == -(i64::MIN as f64) {
        return Ordering::Less;
    }
    a.cmp(&(b as i64))
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};

    use super::*;

    /// Read from a sorted find on a 6.0 server.
    #[test]
    fn values_of_all_types_are_in_the_order_of_a_server() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
        let ascending = [
            Bson::MinKey,
            Bson::Null,
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            Bson::Int32(-1),
            decimal("0.5"),
            Bson::Int64(1 << 53),
            Bson::Int64((1 << 53) + 1),
            Bson::Int64(i64::MAX),
            Bson::Double(9.3e18),
            "".into(),
            "a".into(),
            "é".into(),
            Bson::Document(doc! {}),
            Bson::Document(doc! { "b": 1 }),
            Bson::Document(doc! { "a": "" }),
            Bson::Array(vec![]),
            Bson::Array(vec![Bson::Int32(1)]),
            Bson::ObjectId(ObjectId::from_bytes([1; 12])),
            Bson::Boolean(false),
            Bson::Boolean(true),
            Bson::DateTime(bson::DateTime::from_millis(-1)),
            Bson::MaxKey,
        ];
        for (at, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), at.cmp(&other), "{a} {b}");
            }
        }
    }

    #[test]
    fn equal_numbers_of_different_types_are_equal() {
        let one = [
            Bson::Int32(1),
            Bson::Int64(1),
            Bson::Double(1.0),
            Bson::Decimal128("1.0".parse().unwrap()),
        ];
        for a in &one {
            for b in &one {
                assert_eq!(compare(a, b), Ordering::Equal);
            }
        }
    }
}
