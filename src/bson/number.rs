//! Numbers of all four BSON types on one line: int32, int64, double, Decimal128
//! compared exactly; NaN below all and equal to itself, -0 equal to 0.
//!
//! Knows nothing about other BSON types.

use std::cmp::Ordering;

use super::decimal::{Decimal, Finite};

/// A number of any BSON type.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    Int(i64),
    Double(f64),
    Decimal(Decimal),
}

/// A number's place on the line: what is left to compare are finite values.
enum Place {
    NaN,
    NegativeInfinity,
    Finite,
    Infinity,
}

impl Number {
    fn place(&self) -> Place {
        match *self {
            Number::Double(v) if v.is_nan() => Place::NaN,
            Number::Double(f64::INFINITY) => Place::Infinity,
            Number::Double(f64::NEG_INFINITY) => Place::NegativeInfinity,
            Number::Decimal(Decimal::NaN) => Place::NaN,
            Number::Decimal(Decimal::Infinite { negative: false }) => Place::Infinity,
            Number::Decimal(Decimal::Infinite { negative: true }) => Place::NegativeInfinity,
            _ => Place::Finite,
        }
    }
}

/// Exact order of two numbers of any types.
#[inline]
pub fn compare(a: Number, b: Number) -> Ordering {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => a.cmp(&b),
        _ => (a.place() as u8)
            .cmp(&(b.place() as u8))
            .then_with(|| compare_same_place(a, b)),
    }
}

/// Compares two numbers of the same place; other than finite they are equal.
fn compare_same_place(a: Number, b: Number) -> Ordering {
    use Decimal::Finite;
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => a.cmp(&b),
        (Number::Double(a), Number::Double(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (Number::Int(a), Number::Double(b)) => compare_int_double(a, b),
        (Number::Double(a), Number::Int(b)) => compare_int_double(b, a).reverse(),
        (Number::Decimal(Finite(a)), Number::Decimal(Finite(b))) => a.compare(&b),
        (Number::Decimal(Finite(a)), Number::Int(b)) => compare_decimal_int(a, b),
        (Number::Int(a), Number::Decimal(Finite(b))) => compare_decimal_int(b, a).reverse(),
        (Number::Decimal(Finite(a)), Number::Double(b)) => compare_decimal_double(a, b),
        (Number::Double(a), Number::Decimal(Finite(b))) => compare_decimal_double(b, a).reverse(),
        _ => Ordering::Equal,
    }
}

/// 2^63, the first double above every i64.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// `double` is finite or infinite, never NaN.
fn compare_int_double(int: i64, double: f64) -> Ordering {
    if I64_END <= double {
        return Ordering::Less;
    }
    if double < -I64_END {
        return Ordering::Greater;
    }
    let whole = double.trunc();
    int.cmp(&(whole as i64))
        .then_with(|| whole.partial_cmp(&double).unwrap_or(Ordering::Equal))
}

fn compare_decimal_int(decimal: Finite, int: i64) -> Ordering {
    decimal.compare(&Finite {
        negative: int < 0,
        coefficient: int.unsigned_abs().into(),
        exponent: 0,
    })
}

fn compare_decimal_double(decimal: Finite, double: f64) -> Ordering {
    let bits = double.to_bits();
    let (biased, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    match biased {
        0 => decimal.compare_binary(double.is_sign_negative(), fraction, -1074),
        _ => decimal.compare_binary(double.is_sign_negative(), fraction | 1 << 52, biased - 1075),
    }
}

/// A figure that never descends where `compare` ascends: of the nearest double.
pub fn about(number: Number) -> i64 {
    let double = match number {
        Number::Int(v) => v as f64,
        Number::Double(v) => v,
        Number::Decimal(Decimal::NaN) => f64::NAN,
        Number::Decimal(Decimal::Infinite { negative: true }) => f64::NEG_INFINITY,
        Number::Decimal(Decimal::Infinite { negative: false }) => f64::INFINITY,
        Number::Decimal(Decimal::Finite(v)) => v.nearest_double(),
    };
    if double.is_nan() {
        return i64::MIN;
    }
    // Doubles of one sign are ordered as their bits are; -0 becomes 0.
    let bits = (double + 0.0).to_bits() as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// `double` as an i64 if it is one exactly.
pub fn exact_i64(double: f64) -> Option<i64> {
    let in_range = (-I64_END..I64_END).contains(&double);
    (in_range && double.trunc() == double).then_some(double as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::Decimal128;
    use proptest::prelude::*;
    use std::str::FromStr;

    fn decimal(text: &str) -> Number {
        Number::Decimal(Decimal::from_bytes(
            Decimal128::from_str(text).unwrap().bytes(),
        ))
    }

    /// Ascending; the values of one row are equal.
    fn line() -> Vec<Vec<Number>> {
        use Number::{Double, Int};
        vec![
            vec![Double(f64::NAN), decimal("NaN"), Double(-f64::NAN)],
            vec![Double(f64::NEG_INFINITY), decimal("-Infinity")],
            vec![decimal("-1E6000")],
            vec![Double(f64::MIN)],
            vec![decimal("-9223372036854775809")],
            vec![
                Int(i64::MIN),
                Double(-I64_END),
                decimal("-9223372036854775808"),
            ],
            vec![decimal("-9223372036854775807.5")],
            vec![Int(i64::MIN + 1)],
            vec![Int(-2), Double(-2.0), decimal("-2.000")],
            vec![Double(-1.5), decimal("-1.50")],
            vec![Int(-1), Double(-1.0), decimal("-1")],
            vec![Double(-5e-324)],
            vec![decimal("-1E-6176")],
            vec![
                Int(0),
                Double(0.0),
                Double(-0.0),
                decimal("0E+100"),
                decimal("-0E-6000"),
            ],
            vec![decimal("1E-6176")],
            vec![decimal("4.940656458412465441765687928682213E-324")],
            vec![Double(5e-324)],
            vec![decimal("4.940656458412465441765687928682214E-324")],
            vec![decimal("0.1")],
            vec![Double(0.1)],
            vec![Double(0.25), decimal("0.25")],
            vec![Int(9_007_199_254_740_992), Double(9_007_199_254_740_992.0)],
            vec![Int(9_007_199_254_740_993), decimal("9007199254740993")],
            vec![Int(9_007_199_254_740_994), Double(9_007_199_254_740_994.0)],
            vec![Int(i64::MAX), decimal("9223372036854775807")],
            vec![Double(I64_END), decimal("9223372036854775808")],
            vec![decimal("1.797693134862315708145274237317043E+308")],
            vec![Double(f64::MAX)],
            vec![decimal("1.797693134862315708145274237317044E+308")],
            vec![decimal("9.999999999999999999999999999999999E+6144")],
            vec![Double(f64::INFINITY), decimal("Infinity")],
        ]
    }

    #[test]
    fn the_line_is_in_order() {
        let line = line();
        for (i, row) in line.iter().enumerate() {
            for (j, other) in line.iter().enumerate() {
                for (a, b) in row.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
                    assert_eq!(compare(a, b), i.cmp(&j), "{a:?} {b:?}");
                }
            }
        }
    }

    fn any_number() -> impl Strategy<Value = Number> {
        let near = (-40i64..40, -10i32..10);
        prop_oneof![
            any::<i64>().prop_map(Number::Int),
            any::<f64>().prop_map(Number::Double),
            any::<i64>().prop_map(|v| Number::Double(v as f64)),
            near.clone().prop_map(|(v, _)| Number::Int(v)),
            near.clone()
                .prop_map(|(v, e)| Number::Double(v as f64 * 2f64.powi(e))),
            near.prop_map(|(v, e)| decimal(&format!("{v}E{e}"))),
            any::<[u8; 16]>().prop_map(|v| Number::Decimal(Decimal::from_bytes(v))),
            (any::<i64>(), -340i32..310).prop_map(|(v, e)| decimal(&format!("{v}E{e}"))),
            any::<f64>()
                .prop_filter("finite", |v| v.is_finite())
                .prop_map(|v| decimal(&format!("{v:.33e}"))),
        ]
    }

    proptest! {
        #[test]
        fn order_is_total(a in any_number(), b in any_number(), c in any_number()) {
            prop_assert_eq!(compare(a, a), Ordering::Equal);
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }

        #[test]
        fn a_decimal_agrees_with_the_double_it_was_cut_from(v in any::<f64>()) {
            prop_assume!(v.is_finite());
            // 34 digits lie within one part in 10^33 of the double.
            let text = format!("{v:.33e}");
            let cut = Number::Decimal(Decimal::from_bytes(Decimal128::from_str(&text).unwrap().bytes()));
            let (below, above) = (Number::Double(v.next_down()), Number::Double(v.next_up()));
            prop_assert_eq!(compare(below, cut), Ordering::Less);
            prop_assert_eq!(compare(above, cut), Ordering::Greater);
        }
    }
}
