//! The documents themselves: a pure function of seed, collection, ordinal and
//! version. Sizes are heavy-tailed: 100 bytes to 1 MB, several hundred on average.
//!
//! Knows nothing about servers, chunks or operations.

use bson::{Bson, RawBson, RawDocumentBuf, raw::RawArrayBuf, rawdoc};
use std::sync::LazyLock;

use super::{CollectionSpec, dice::Dice};

/// The longest filler, bytes: a document of about 1 MB.
const FILLER_BYTES_MAX: usize = 1_000_000;
/// Shape of the Pareto distribution of filler sizes; smaller is heavier.
const FILLER_TAIL: f64 = 1.35;
const FILLER_BYTES_MIN: f64 = 60.0;

pub const WORDS: &[&str] = &[
    "amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty",
    "kelp", "lumen", "maple", "nadir", "ocean", "prism", "quartz", "ridge", "sable", "tidal",
    "umbra", "vapor", "willow", "zenith",
];
pub const STATUSES: &[&str] = &["new", "open", "paid", "sent", "closed"];

/// Text that fillers are cut from; repeats words, so it compresses as prose does.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut dice = Dice::new(&[0x7E87]);
    let mut text = String::with_capacity(2 * FILLER_BYTES_MAX + 16);
    while text.len() < 2 * FILLER_BYTES_MAX {
        text.push_str(dice.pick(WORDS));
        text.push(char::from(b'0' + dice.below(10) as u8));
    }
    text
});

/// A piece of text of `bytes` bytes.
pub fn text(dice: &mut Dice, bytes: usize) -> &'static str {
    let bytes = bytes.min(FILLER_BYTES_MAX);
    let start = dice.below((TEXT.len() - bytes) as u64) as usize;
    &TEXT[start..start + bytes]
}

pub(super) fn filler_bytes(dice: &mut Dice) -> usize {
    let size = FILLER_BYTES_MIN / (1.0 - dice.unit()).powf(1.0 / FILLER_TAIL);
    (size as usize).min(FILLER_BYTES_MAX)
}

/// A value that the unique index fields hold: fixed by n.
pub fn email(n: u64) -> String {
    format!("user{n}@example.com")
}

/// Documents updated together by multi-updates.
pub fn group(n: u64) -> i64 {
    (n / 4) as i64
}

/// Document `n` as version `version` of it; version 0 is what `populate` writes.
/// `_id`, shard key, `n`, `group` and `email` are the same in every version.
pub fn document(spec: &CollectionSpec, seed: u64, n: u64, version: u64) -> RawDocumentBuf {
    let mut dice = Dice::new(&[seed, spec.salt(), n, version]);
    let mut out = RawDocumentBuf::new();
    append(&mut out, "_id", spec.ids.id(n));
    for (field, value) in spec.key_fields(n) {
        append(&mut out, &field, value);
    }
    append(&mut out, "n", Bson::Int64(n as i64));
    append(&mut out, "group", Bson::Int64(group(n)));
    append(&mut out, "email", Bson::String(email(n)));
    append(
        &mut out,
        "status",
        Bson::String(dice.pick(STATUSES).to_string()),
    );
    append(&mut out, "counter", Bson::Int32(dice.below(1000) as i32));
    if dice.one_in(8) {
        return out;
    }
    body(&mut out, &mut dice);
    out
}

fn append(out: &mut RawDocumentBuf, key: &str, value: Bson) {
    let key: &bson::raw::CStr = key
        .try_into()
        .expect("field names of the layout hold no NUL");
    out.append(
        key,
        RawBson::try_from(value).expect("values of the layout hold no NUL in a name"),
    );
}

fn body(out: &mut RawDocumentBuf, dice: &mut Dice) {
    use bson::raw::cstr;
    let title = format!(
        "{} {} {}",
        dice.pick(WORDS),
        dice.pick(WORDS),
        dice.pick(WORDS)
    );
    out.append(cstr!("title"), title.as_str());
    out.append(cstr!("score"), dice.unit() * 100.0);
    out.append(
        cstr!("created"),
        bson::DateTime::from_millis(1_600_000_000_000 + dice.below(100_000_000_000) as i64),
    );
    // Far in the future: a TTL index is on it, and nothing may expire during a run.
    out.append(
        cstr!("expires"),
        bson::DateTime::from_millis(4_000_000_000_000 + dice.below(1_000_000_000) as i64),
    );
    let tags: RawArrayBuf = (0..dice.below(4)).map(|_| dice.pick(WORDS)).collect();
    out.append(cstr!("tags"), tags);
    out.append(cstr!("items"), items(dice));
    let (longitude, latitude) = (dice.unit() * 360.0 - 180.0, dice.unit() * 170.0 - 85.0);
    let geo = rawdoc! {"type": "Point", "coordinates": [longitude, latitude]};
    out.append(
        cstr!("address"),
        rawdoc! {"city": dice.pick(WORDS), "geo": geo},
    );
    out.append(
        cstr!("attributes"),
        rawdoc! {"color": dice.pick(WORDS), "size": dice.below(50) as i32},
    );
    if dice.one_in(3) {
        out.append(cstr!("note"), dice.pick(WORDS));
    }
    let bytes = filler_bytes(dice);
    out.append(cstr!("filler"), text(dice, bytes));
}

fn items(dice: &mut Dice) -> RawArrayBuf {
    let count = 1 + dice.below(3);
    (0..count)
        .map(|i| rawdoc! {"sku": dice.pick(WORDS), "line": i as i32, "qty": 1 + dice.below(9) as i32, "price": dice.unit() * 99.0})
        .collect()
}
