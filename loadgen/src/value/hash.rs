//! The server's hash of a value, as hashed shard keys have it (server source,
//! `BSONElementHasher`, seed 0): the first eight bytes of an MD5 over the seed and then,
//! for each value, its type, its name below the top, and its bytes. Every number counts
//! as a whole one.

use bson::{Bson, Document};
use md5::{Digest, Md5};

use super::order::rank;

/// Binary subtype whose bytes begin with their length once more.
const OLD_BINARY: u8 = 2;

/// None for a value that cannot be taken apart here: a pointer of old.
pub fn hashed(value: &Bson) -> Option<i64> {
    let mut md5 = Md5::new_with_prefix(0i32.to_le_bytes());
    feed(&mut md5, value)?;
    let digest = md5.finalize();
    let first = digest[..8].try_into().expect("an MD5 has sixteen bytes");
    Some(i64::from_le_bytes(first))
}

fn feed(md5: &mut Md5, value: &Bson) -> Option<()> {
    md5.update(rank(value).to_le_bytes());
    feed_value(md5, value)
}

fn feed_value(md5: &mut Md5, value: &Bson) -> Option<()> {
    match value {
        Bson::MinKey | Bson::MaxKey | Bson::Null | Bson::Undefined => {}
        Bson::Int32(n) => md5.update(i64::from(*n).to_le_bytes()),
        Bson::Int64(n) => md5.update(n.to_le_bytes()),
        Bson::Double(n) => md5.update(whole(*n).to_le_bytes()),
        Bson::Decimal128(n) => {
            let double: f64 = n.to_string().parse().unwrap_or(f64::NAN);
            md5.update(whole(double.round_ties_even()).to_le_bytes());
        }
        Bson::String(text) | Bson::Symbol(text) | Bson::JavaScriptCode(text) => {
            md5.update((text.len() as i32 + 1).to_le_bytes());
            feed_cstring(md5, text);
        }
        Bson::Document(document) => feed_document(md5, document)?,
        Bson::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                feed_field(md5, &at.to_string(), value)?;
            }
            md5.update(0i32.to_le_bytes());
        }
        Bson::Binary(binary) => feed_binary(md5, binary),
        Bson::ObjectId(id) => md5.update(id.bytes()),
        Bson::Boolean(b) => md5.update([u8::from(*b)]),
        Bson::DateTime(date) => md5.update(date.timestamp_millis().to_le_bytes()),
        Bson::Timestamp(ts) => {
            md5.update(ts.increment.to_le_bytes());
            md5.update(ts.time.to_le_bytes());
        }
        Bson::RegularExpression(regex) => {
            feed_cstring(md5, regex.pattern.as_str());
            feed_cstring(md5, regex.options.as_str());
        }
        Bson::JavaScriptCodeWithScope(code) => {
            feed_cstring(md5, &code.code);
            feed_document(md5, &code.scope)?;
        }
        Bson::DbPointer(_) => return None,
    }
    Some(())
}

/// Every field, then the end of the document as one more, nameless.
fn feed_document(md5: &mut Md5, document: &Document) -> Option<()> {
    for (name, value) in document {
        feed_field(md5, name, value)?;
    }
    md5.update(0i32.to_le_bytes());
    Some(())
}

fn feed_field(md5: &mut Md5, name: &str, value: &Bson) -> Option<()> {
    md5.update(rank(value).to_le_bytes());
    feed_cstring(md5, name);
    feed_value(md5, value)
}

fn feed_cstring(md5: &mut Md5, text: &str) {
    md5.update(text.as_bytes());
    md5.update([0]);
}

fn feed_binary(md5: &mut Md5, binary: &bson::Binary) {
    let (length, subtype) = (binary.bytes.len() as i32, u8::from(binary.subtype));
    if subtype == OLD_BINARY {
        md5.update((length + 4).to_le_bytes());
        md5.update([subtype]);
    }
    md5.update(length.to_le_bytes());
    if subtype != OLD_BINARY {
        md5.update([subtype]);
    }
    md5.update(&binary.bytes);
}

/// Cut to a whole number: NaN is 0, what is beyond the range its nearer end, except that
/// 2^63 itself is the least.
fn whole(n: f64) -> i64 {
    if n == -(i64::MIN as f64) {
        i64::MIN
    } else {
        n as i64
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use bson::oid::ObjectId;
    use bson::spec::BinarySubtype;

    use super::*;

    /// Values from `_hashBSONElement` of 4.4.2.
    #[test]
    fn hashes_as_the_server_does() {
        let binary = |subtype, bytes: &[u8]| {
            let bytes = bytes.to_vec();
            Bson::Binary(bson::Binary { subtype, bytes })
        };
        let nested = doc! { "a": { "b": "x" }, "c": [1, 2.5] };
        let id = ObjectId::parse_str("5f5e10000000000000000007").unwrap();
        let date = bson::DateTime::from_millis(1_577_836_800_000);
        let ts = bson::Timestamp {
            time: 7,
            increment: 9,
        };
        let rows = [
            (Bson::Int32(1), 5902408780260971510),
            (Bson::Int64(1), 5902408780260971510),
            (Bson::Double(1.9), 5902408780260971510),
            (Bson::Double(9.3e18), 921523596458303250),
            (
                Bson::Decimal128("6.5001".parse().unwrap()),
                9174449368162552349,
            ),
            (Bson::Null, 2338878944348059895),
            ("amber".into(), 4757691381602222051),
            (Bson::Document(doc! { "a": 1 }), -8705610352600103477),
            (Bson::Document(nested), 4649470097743451547),
            (Bson::Boolean(true), 6405873908747105701),
            (Bson::Timestamp(ts), -8080049110722743137),
            (Bson::DateTime(date), -8439725397068880569),
            (binary(BinarySubtype::Generic, &[1, 2]), -265437425692199210),
            (
                binary(BinarySubtype::BinaryOld, &[1, 2]),
                -3942024931653689967,
            ),
            (
                binary(BinarySubtype::Uuid, &(0..16).collect::<Vec<u8>>()),
                6084661258071355978,
            ),
            (Bson::ObjectId(id), 4766837604376417138),
            (Bson::JavaScriptCode("f()".into()), 4802594429104294857),
        ];
        for (value, expect) in rows {
            assert_eq!(hashed(&value), Some(expect), "{value}");
        }
    }
}
