//! Random BSON of every type, as bytes, from a seed; small domains, so that
//! equal values of different types meet.
//!
//! Talks to no server.

use bson::RawDocumentBuf;
use shardlift::bson::element::kind;

/// An element value: type byte and bytes.
pub(crate) type Value = (u8, Vec<u8>);

/// A document of named values, in this order; names may repeat.
pub(crate) fn document(fields: &[(&str, Value)]) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(wrap(
        fields.iter().map(|(n, (k, v))| (*n, *k, v.as_slice())),
    ))
    .unwrap()
}

fn wrap<'a>(fields: impl Iterator<Item = (&'a str, u8, &'a [u8])>) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for (name, kind, value) in fields {
        bytes.push(kind);
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value);
    }
    bytes.push(0);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

pub(crate) fn text(kind: u8, text: &[u8]) -> Value {
    let length = (text.len() as u32 + 1).to_le_bytes();
    (kind, [&length, text, &[0]].concat())
}

pub(crate) fn int(v: i32) -> Value {
    (kind::INT32, v.to_le_bytes().to_vec())
}

pub(crate) fn timestamp(v: u64) -> Value {
    (kind::TIMESTAMP, v.to_le_bytes().to_vec())
}

pub(crate) fn embed(kind: u8, fields: &[(&str, Value)]) -> Value {
    (kind, document(fields).into_bytes())
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.below(max + 1))
            .map(|_| self.pick(b"abA\0\xc3\xff"))
            .collect()
    }

    /// A value of any type; embedded ones at most `depth` deep.
    pub(crate) fn value(&mut self, depth: u32) -> Value {
        match self.below(if 0 < depth { 26 } else { 22 }) {
            0..=7 => self.number(),
            8 | 9 => text(kind::STRING, &self.bytes(3)),
            10 => text(kind::SYMBOL, &self.bytes(2)),
            11 => text(kind::CODE, &self.bytes(2)),
            12 => (
                self.pick(&[kind::NULL, kind::UNDEFINED, kind::MIN_KEY, kind::MAX_KEY]),
                vec![],
            ),
            13 => (kind::BOOLEAN, vec![self.below(2) as u8]),
            14 => (
                kind::OBJECT_ID,
                (0..12).map(|_| self.pick(&[0, 1, 0xff])).collect(),
            ),
            15 => (kind::DATE, self.word().to_le_bytes().to_vec()),
            16 => (
                kind::TIMESTAMP,
                (self.word() as u64).max(1).to_le_bytes().to_vec(),
            ),
            17 | 18 => self.binary(),
            19 => {
                let (pattern, options) = (
                    self.pick(&[&b""[..], b"a", b"ab", b"b"]),
                    self.pick(&[&b""[..], b"i", b"m"]),
                );
                (kind::REGEX, [pattern, &[0], options, &[0]].concat())
            }
            20 => {
                let (_, namespace) = text(kind::STRING, self.pick(&[&b"a"[..], b"b", b"ab"]));
                (
                    kind::DB_POINTER,
                    [&namespace[..], &[self.pick(&[0, 9]); 12]].concat(),
                )
            }
            21 => self.code_with_scope(depth),
            22 | 23 => (kind::ARRAY, self.elements(depth - 1, true)),
            _ => (kind::DOCUMENT, self.elements(depth - 1, false)),
        }
    }

    /// A number of any of the four types, often equal or near to another's.
    fn number(&mut self) -> Value {
        match self.below(8) {
            0 => int(self.below(7) as i32 - 3),
            1 => (
                kind::INT64,
                (self.below(7) as i64 - 3).to_le_bytes().to_vec(),
            ),
            2 => (kind::INT64, self.word().to_le_bytes().to_vec()),
            3 => double((self.below(25) as f64 - 12.0) / 4.0),
            4 => double(self.odd_double()),
            5 => (
                kind::DECIMAL128,
                self.next()
                    .to_le_bytes()
                    .into_iter()
                    .chain(self.next().to_le_bytes())
                    .collect(),
            ),
            6 => decimal(&format!(
                "{}E{}",
                self.below(400) as i64 - 200,
                self.below(5) as i64 - 3
            )),
            _ => {
                let near = self.odd_double();
                if near.is_finite() {
                    decimal(&format!("{near:.33e}"))
                } else {
                    decimal("NaN")
                }
            }
        }
    }

    fn odd_double(&mut self) -> f64 {
        const ODD: [f64; 14] = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            5e-324,
            -5e-324,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            9_223_372_036_854_775_808.0,
            -9_223_372_036_854_775_808.0,
            9_007_199_254_740_993.0,
            0.1,
            1e22,
        ];
        match self.below(3) {
            0 => self.pick(&ODD),
            1 => self.word() as f64,
            _ => f64::from_bits(self.next()),
        }
    }

    fn word(&mut self) -> i64 {
        match self.below(4) {
            0 => self.pick(&[
                i64::MIN,
                i64::MIN + 1,
                -1,
                0,
                1,
                i64::MAX - 1,
                i64::MAX,
                1 << 32,
                1 << 53,
            ]),
            1 => (1 << 53) + self.below(5) as i64 - 2,
            2 => i64::MAX - self.below(2000) as i64,
            _ => self.next() as i64 >> self.below(63),
        }
    }

    fn binary(&mut self) -> Value {
        let (subtype, mut bytes) = (self.pick(&[0u8, 2, 3, 4, 0x80]), self.bytes(4));
        if subtype == 2 {
            let inner = bytes.len() as u32;
            bytes.splice(0..0, inner.to_le_bytes());
        }
        (
            kind::BINARY,
            [&(bytes.len() as u32).to_le_bytes()[..], &[subtype], &bytes].concat(),
        )
    }

    fn code_with_scope(&mut self, depth: u32) -> Value {
        let (_, code) = text(kind::CODE, &self.bytes(1));
        let scope = self.elements(depth.saturating_sub(1), false);
        let length = (4 + code.len() + scope.len()) as u32;
        (
            kind::CODE_WITH_SCOPE,
            [&length.to_le_bytes()[..], &code, &scope].concat(),
        )
    }

    fn elements(&mut self, depth: u32, array: bool) -> Vec<u8> {
        let count = self.below(4);
        let fields: Vec<(String, Value)> = (0..count)
            .map(|at| {
                (
                    if array {
                        at.to_string()
                    } else {
                        self.pick(&["a", "b", "ab", ""]).to_owned()
                    },
                    self.value(depth),
                )
            })
            .collect();
        wrap(
            fields
                .iter()
                .map(|(n, (k, v))| (n.as_str(), *k, v.as_slice())),
        )
    }
}

fn double(v: f64) -> Value {
    (kind::DOUBLE, v.to_le_bytes().to_vec())
}

pub(crate) fn decimal(text: &str) -> Value {
    (
        kind::DECIMAL128,
        text.parse::<bson::Decimal128>().unwrap().bytes().to_vec(),
    )
}
