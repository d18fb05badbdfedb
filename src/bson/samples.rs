//! Values of every BSON type, for tests.

use bson::oid::ObjectId;
use bson::raw::{CString, cstr};
use bson::spec::BinarySubtype;
use bson::*;
use proptest::prelude::*;

/// Row of each value of `every_type` in index order; equal rows are equal values.
pub const ROWS: [usize; 31] = [
    0, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
    23, 24, 25, 26,
];

/// At least one value of every type, in index order.
pub fn every_type() -> RawDocumentBuf {
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype,
            bytes: bytes.to_vec(),
        })
    };
    let code = |code: &str, scope| {
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: code.into(),
            scope,
        })
    };
    let values = vec![
        Bson::MinKey,
        Bson::Undefined,
        Bson::Null,
        Bson::Double(f64::NAN),
        Bson::Double(f64::NEG_INFINITY),
        Bson::Int32(1),
        Bson::Int64(1),
        Bson::Double(1.0),
        Bson::Decimal128("1.00".parse().unwrap()),
        Bson::Double(1.5),
        Bson::String("".into()),
        Bson::String("a".into()),
        Bson::Symbol("a".into()),
        Bson::String("a\0".into()),
        Bson::Document(doc! { "b": 1 }),
        Bson::Document(doc! { "a": "x" }),
        Bson::Array(vec![Bson::Int32(1)]),
        Bson::Array(vec![Bson::Int32(1), Bson::MinKey]),
        binary(BinarySubtype::Generic, &[9]),
        binary(BinarySubtype::Generic, &[1, 1, 1, 1, 1]),
        binary(BinarySubtype::BinaryOld, &[0]),
        Bson::ObjectId(ObjectId::from_bytes([7; 12])),
        Bson::Boolean(false),
        Bson::Boolean(true),
        Bson::DateTime(DateTime::from_millis(-1)),
        Bson::Timestamp(Timestamp {
            time: 0,
            increment: 0,
        }),
        Bson::RegularExpression(Regex {
            pattern: cstr!("a").into(),
            options: cstr!("i").into(),
        }),
    ];
    let mut doc = RawDocumentBuf::new();
    for (at, value) in values.into_iter().enumerate() {
        doc.append(
            CString::try_from(at.to_string()).unwrap(),
            RawBson::try_from(value).unwrap(),
        );
    }
    append_pointer(&mut doc);
    let last = [
        Bson::JavaScriptCode("a".into()),
        code("a", doc! { "b": 1 }),
        Bson::MaxKey,
    ];
    for (at, value) in last.into_iter().enumerate() {
        doc.append(
            CString::try_from(format!("l{at}")).unwrap(),
            RawBson::try_from(value).unwrap(),
        );
    }
    doc
}

/// The crate has no constructor for a DBPointer: append its bytes.
fn append_pointer(doc: &mut RawDocumentBuf) {
    let mut bytes = std::mem::take(doc).into_bytes();
    bytes.pop();
    bytes.extend(b"\x0cp\0\x02\0\0\0n\0");
    bytes.extend([3; 12]);
    bytes.push(0);
    let length = bytes.len() as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    *doc = RawDocumentBuf::from_bytes(bytes).unwrap();
}

/// Any value, small domains so that equal ones meet.
pub fn any_value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::Boolean),
        (-3i32..3).prop_map(Bson::Int32),
        (-3i64..3).prop_map(Bson::Int64),
        (-6i32..6).prop_map(|v| Bson::Double(f64::from(v) / 2.0)),
        ((-30i32..30), (-2i32..2))
            .prop_map(|(v, e)| Bson::Decimal128(format!("{v}E{e}").parse().unwrap())),
        any::<f64>().prop_map(Bson::Double),
        "[ab]{0,2}".prop_map(Bson::String),
        "[ab]{0,2}".prop_map(Bson::Symbol),
        any::<[u8; 12]>().prop_map(|v| Bson::ObjectId(ObjectId::from_bytes(v))),
        (-2i64..2).prop_map(|v| Bson::DateTime(DateTime::from_millis(v))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            prop::collection::vec(("[ab]", inner), 0..3)
                .prop_map(|v| Bson::Document(v.into_iter().collect())),
        ]
    })
}

/// These bytes after some damage, of the kinds that a walk might trust: other bytes, lengths
/// that lie, parts that are missing, there twice, or anything.
pub fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let damage = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0..5,
        any::<i32>(),
    );
    prop::collection::vec(damage, 0..4).prop_map(move |all| {
        let mut bytes = bytes.clone();
        for (one, other, kind, word) in all {
            let (at, end) = (one.index(bytes.len() + 1), other.index(bytes.len() + 1));
            let part = at.min(end)..at.max(end);
            match kind {
                0 => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = word as u8),
                1 => bytes
                    .splice(part.start..part.start, (word % 40).to_le_bytes())
                    .for_each(drop),
                2 => bytes
                    .iter_mut()
                    .skip(at)
                    .zip(word.to_le_bytes())
                    .for_each(|(byte, new)| *byte = new),
                3 => bytes.drain(part).for_each(drop),
                _ => bytes.extend_from_within(part),
            }
        }
        bytes
    })
}

/// A document around what may be none inside: only its length and its end are right.
pub fn framed(mut bytes: Vec<u8>) -> RawDocumentBuf {
    bytes.resize(bytes.len().max(5), 0);
    let length = i32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    *bytes.last_mut().unwrap() = 0;
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

/// Any bytes, or damaged ones of these.
pub fn any_or_damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        4 => damaged(bytes),
    ]
}
