//! The hash of hashed shard keys and hashed indexes.
//!
//! The server's rule, compared with its `convertShardKeyToHashed`: hashed
//! indexes hold the same numbers, and `tests/bson_hash.rs` compares with them.
//! MD5 over the seed (int32 0), then per value its type
//! rank (int32), below the top its name with its null, and its bytes, where
//! every number is an int64 (doubles cut, decimals rounded); the first eight bytes of the
//! digest, little-endian. Knows nothing about shard keys.

use bson::RawBsonRef;
use md5::{Digest, Md5};

use super::decimal::Decimal;
use super::element::{Elements, elements_of};
use super::view::View;

/// The server's `DEFAULT_HASH_SEED`.
const SEED: i32 = 0;

/// Subtype whose bytes repeat their length.
const OLD_BINARY: u8 = 2;

/// Hash of a value as the server's `convertShardKeyToHashed` gives it.
pub fn hashed(value: RawBsonRef<'_>) -> i64 {
    hashed_view(&value.into())
}

/// `hashed` of a view.
pub fn hashed_view(view: &View<'_>) -> i64 {
    let mut md5 = Md5::new_with_prefix(SEED.to_le_bytes());
    feed(&mut md5, None, view);
    let digest = md5.finalize();
    i64::from_le_bytes(digest[..8].try_into().expect("an MD5 digest has 16 bytes"))
}

fn feed(md5: &mut Md5, name: Option<&[u8]>, view: &View<'_>) {
    md5.update(view.rank().to_le_bytes());
    if let Some(name) = name {
        md5.update(name);
        md5.update([0]);
    }
    match view {
        View::Int(v) => md5.update(v.to_le_bytes()),
        View::Double(v) => md5.update(cut_double(*v).to_le_bytes()),
        View::Decimal(v) => md5.update(round_decimal(*v).to_le_bytes()),
        View::Text(v) | View::Code(v) => feed_string(md5, v),
        View::Document(v) | View::Array(v) => feed_elements(md5, elements_of(v)),
        View::Binary {
            len,
            subtype,
            bytes,
        } => feed_binary(md5, *len, *subtype, bytes),
        View::ObjectId(v) => md5.update(v),
        View::Boolean(v) => md5.update([u8::from(*v)]),
        View::Date(v) => md5.update(v.to_le_bytes()),
        View::Timestamp(v) => md5.update(v.to_le_bytes()),
        View::Regex(pattern, options) => {
            for part in [pattern, options] {
                md5.update(part);
                md5.update([0]);
            }
        }
        View::DbPointer(v) => md5.update(v.bytes()),
        View::CodeWithScope(code, scope) => {
            md5.update(code);
            md5.update([0]);
            feed_elements(md5, elements_of(scope));
        }
        View::MinKey | View::Undefined | View::Null | View::MaxKey => {}
    }
}

/// Every element, then the end of the document as one more of rank 0, nameless.
fn feed_elements(md5: &mut Md5, elements: Elements<'_>) {
    elements.for_each(|e| feed(md5, Some(e.name), &e.into()));
    md5.update(0i32.to_le_bytes());
}

/// A string as stored: int32 length with its null, bytes, null.
fn feed_string(md5: &mut Md5, text: &[u8]) {
    md5.update((text.len() as i32 + 1).to_le_bytes());
    md5.update(text);
    md5.update([0]);
}

fn feed_binary(md5: &mut Md5, len: usize, subtype: u8, bytes: &[u8]) {
    md5.update((len as i32).to_le_bytes());
    md5.update([subtype]);
    if subtype == OLD_BINARY && len != bytes.len() {
        md5.update((bytes.len() as i32).to_le_bytes());
    }
    md5.update(bytes);
}

/// A double cut to an int64: NaN is 0, beyond the range its nearer end, except
/// that 2^63 itself is the least int64.
fn cut_double(value: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if value == END { i64::MIN } else { value as i64 }
}

/// A decimal as the nearest int64, ties to even: NaN is 0, beyond the range its nearer end.
fn round_decimal(bytes: [u8; 16]) -> i64 {
    let end = |negative| if negative { i64::MIN } else { i64::MAX };
    match Decimal::from_bytes(bytes) {
        Decimal::NaN => 0,
        Decimal::Infinite { negative } => end(negative),
        Decimal::Finite(v) => v
            .rounded()
            .and_then(|whole| i64::try_from(whole).ok())
            .unwrap_or_else(|| end(v.negative)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_types_hash_alike() {
        let decimal = RawBsonRef::Decimal128("6.5001".parse().unwrap());
        for value in [
            RawBsonRef::Int32(7),
            RawBsonRef::Int64(7),
            RawBsonRef::Double(7.5),
            decimal,
        ] {
            assert_eq!(hashed(value), hashed(RawBsonRef::Int32(7)));
        }
    }

    /// Read from a hashed index on 6.0.5; every type is in `tests/`.
    #[test]
    fn known_hashes() {
        assert_eq!(
            hashed(RawBsonRef::Decimal128("-7.9".parse().unwrap())),
            -699288217023006158
        );
        assert_eq!(
            hashed(RawBsonRef::Double(9.223372036854776e18)),
            4532067210535695462
        );
        assert_eq!(
            hashed(RawBsonRef::Double(f64::INFINITY)),
            921523596458303250
        );
        assert_eq!(hashed(RawBsonRef::Null), 2338878944348059895);
        assert_eq!(hashed(RawBsonRef::Int32(0)), 4854801880128277513);
    }
}
