//! Decimal128 taken apart: sign, coefficient, exponent; exact comparison with
//! integers and doubles by integer arithmetic on the stack.
//!
//! Knows nothing about other BSON types.

use std::cmp::Ordering;
use std::io::Write;

/// Exponent bias of the 128-bit format (IEEE 754-2008, BID encoding).
const BIAS: i32 = 6176;
/// Largest coefficient; an encoding beyond it counts as zero.
const COEFFICIENT_MAX: u128 = 10u128.pow(34) - 1;

/// The value of a Decimal128. Zeros of either sign and any exponent are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    NaN,
    Infinite { negative: bool },
    Finite(Finite),
}

/// `± coefficient × 10^exponent`; a coefficient of 0 is never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finite {
    pub negative: bool,
    pub coefficient: u128,
    pub exponent: i32,
}

impl Decimal {
    /// From its 16 bytes, least significant first.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        let negative = bits >> 127 == 1;
        match bits >> 122 & 0x1f {
            0x1f => Decimal::NaN,
            0x1e => Decimal::Infinite { negative },
            // The long form: its coefficients start at 2^113 > 10^34.
            0x18..=0x1d => Decimal::Finite(Finite::ZERO),
            _ => {
                let coefficient = bits & ((1 << 113) - 1);
                let exponent = (bits >> 113 & 0x3fff) as i32 - BIAS;
                Decimal::Finite(Finite::new(negative, coefficient, exponent))
            }
        }
    }
}

impl Finite {
    pub const ZERO: Finite = Finite {
        negative: false,
        coefficient: 0,
        exponent: 0,
    };

    fn new(negative: bool, coefficient: u128, exponent: i32) -> Self {
        match coefficient {
            1..=COEFFICIENT_MAX => Finite {
                negative,
                coefficient,
                exponent,
            },
            _ => Finite::ZERO,
        }
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match (self.coefficient, self.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// The nearest integer, ties to even; None if beyond i128.
    pub fn rounded(&self) -> Option<i128> {
        let scale = 10i128.checked_pow(self.exponent.unsigned_abs());
        let coefficient = self.coefficient as i128;
        let magnitude = match (scale, self.exponent < 0) {
            (Some(scale), true) => {
                let (whole, rest) = (coefficient / scale, coefficient % scale);
                let up = match rest.cmp(&(scale / 2)) {
                    Ordering::Equal => whole & 1,
                    order => i128::from(order.is_gt()),
                };
                whole + up
            }
            // Below 10^34 / 10^39: far from one half.
            (None, true) => 0,
            (Some(scale), false) => coefficient.checked_mul(scale)?,
            (None, false) if coefficient == 0 => 0,
            (None, false) => return None,
        };
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The value as an i64 if it is one exactly.
    pub fn as_i64(&self) -> Option<i64> {
        let whole = i64::try_from(self.rounded()?).ok()?;
        let exact = self.exponent >= 0 || {
            let scale = 10u128.checked_pow(self.exponent.unsigned_abs());
            scale.map_or(self.coefficient == 0, |scale| {
                self.coefficient.is_multiple_of(scale)
            })
        };
        exact.then_some(whole)
    }

    /// The double nearest to the value, ties to even; infinite beyond the range.
    pub fn nearest_double(&self) -> f64 {
        let mut text = [0u8; 64];
        let mut rest = &mut text[..];
        let sign = if self.negative { "-" } else { "" };
        write!(rest, "{sign}{}e{}", self.coefficient, self.exponent)
            .expect("34 digits and an exponent fit 64 bytes");
        let free = rest.len();
        let text = std::str::from_utf8(&text[..64 - free]).expect("digits are UTF-8");
        text.parse().expect("digits and an exponent are a number")
    }

    /// Decimal places before the point (of the leading digit): the value lies
    /// in `[10^(n - 1), 10^n)`.
    fn magnitude(&self) -> i32 {
        self.coefficient
            .checked_ilog10()
            .map_or(0, |log| log as i32 + 1)
            + self.exponent
    }

    /// Exact comparison with another decimal.
    pub fn compare(&self, other: &Finite) -> Ordering {
        by_sign(self.sign(), other.sign(), || {
            self.magnitude().cmp(&other.magnitude()).then_with(|| {
                // Same magnitude: aligned, both still have at most 34 digits.
                let shared = self.exponent.min(other.exponent);
                let aligned = |d: &Finite| d.coefficient * 10u128.pow((d.exponent - shared) as u32);
                aligned(self).cmp(&aligned(other))
            })
        })
    }

    /// Exact comparison with `± mantissa × 2^exponent`.
    pub fn compare_binary(&self, negative: bool, mantissa: u64, exponent: i32) -> Ordering {
        let sign = if mantissa == 0 {
            0
        } else {
            1 - 2 * i32::from(negative)
        };
        by_sign(self.sign(), sign, || {
            let bits = 64 - mantissa.leading_zeros() as i32 + exponent;
            if let Some(order) = compare_magnitudes(self.magnitude(), bits) {
                return order;
            }
            let mut decimal = Wide::from(self.coefficient);
            let mut binary = Wide::from(u128::from(mantissa));
            let tens = if self.exponent < 0 {
                &mut binary
            } else {
                &mut decimal
            };
            tens.multiply_by_ten_to(self.exponent.unsigned_abs());
            let twos = if exponent < 0 {
                &mut decimal
            } else {
                &mut binary
            };
            twos.shift_left(exponent.unsigned_abs());
            decimal.compare(&binary)
        })
    }
}

/// Orders by sign, and by `magnitudes` where the signs are the same.
fn by_sign(a: i32, b: i32, magnitudes: impl FnOnce() -> Ordering) -> Ordering {
    match a.cmp(&b) {
        Ordering::Equal if a > 0 => magnitudes(),
        Ordering::Equal if a < 0 => magnitudes().reverse(),
        order => order,
    }
}

/// Decides `[10^(tens - 1), 10^tens)` against `[2^(bits - 1), 2^bits)` where they
/// do not meet, with log10(2) between 0.30102 and 0.30103.
fn compare_magnitudes(tens: i32, bits: i32) -> Option<Ordering> {
    let (tens, bits) = (i64::from(tens) * 100_000, i64::from(bits));
    let low = |bits: i64| (bits * 30_102).min(bits * 30_103);
    let high = |bits: i64| (bits * 30_102).max(bits * 30_103);
    if tens < low(bits - 1) {
        Some(Ordering::Less)
    } else if high(bits) < tens - 100_000 {
        Some(Ordering::Greater)
    } else {
        None
    }
}

/// Words of `Wide`. The magnitudes meet only for values between 2^-1075 and
/// 2^1025: at most 34 digits (113 bits) × 2^1074, or 64 bits × 10^(34 + 324)
/// (1190 bits), are compared.
const WORDS: usize = 24;

/// An unsigned integer of 1536 bits, least significant word first.
#[derive(Clone, Copy)]
struct Wide {
    words: [u64; WORDS],
}

impl From<u128> for Wide {
    fn from(value: u128) -> Self {
        let mut words = [0; WORDS];
        words[0] = value as u64;
        words[1] = (value >> 64) as u64;
        Wide { words }
    }
}

impl Wide {
    fn multiply(&mut self, factor: u64) {
        let mut carry = 0u128;
        for word in &mut self.words {
            let product = u128::from(*word) * u128::from(factor) + carry;
            *word = product as u64;
            carry = product >> 64;
        }
        assert!(
            carry == 0,
            "a decimal comparison needs more than {WORDS} words"
        );
    }

    fn multiply_by_ten_to(&mut self, mut power: u32) {
        while 0 < power {
            let step = power.min(19);
            self.multiply(10u64.pow(step));
            power -= step;
        }
    }

    fn shift_left(&mut self, mut bits: u32) {
        while 0 < bits {
            let step = bits.min(63);
            self.multiply(1 << step);
            bits -= step;
        }
    }

    fn compare(&self, other: &Wide) -> Ordering {
        self.words.iter().rev().cmp(other.words.iter().rev())
    }
}
