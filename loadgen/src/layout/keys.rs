//! `_id`s and shard key fields: pure functions of a document's ordinal n, so
//! that `load` can address what `populate` wrote without reading it.
//!
//! Knows nothing about servers, chunks or the rest of a document.

use bson::{Bson, Document, doc, oid::ObjectId, spec::BinarySubtype};

use super::dice::{Dice, mix};

/// What the `_id`s of a collection look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Ascending with n, as drivers make them.
    ObjectId,
    /// n itself: int, from 2^31 on long.
    Int,
    /// 64-bit longs in scattered order.
    Long,
    /// Strings in scattered order.
    String,
    /// UUIDs (binary subtype 4).
    Uuid,
    /// Documents of two fields.
    Compound,
    /// Nine BSON types side by side.
    Mixed,
}

/// How a collection is spread over the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    Unsharded,
    Hashed(&'static str),
    Range(&'static [&'static str]),
    /// By range, each shard holding the zone of its own.
    Zoned(&'static [&'static str]),
}

/// Values of the int shard key field lie in `0..CUSTOMERS`.
pub const CUSTOMERS: u64 = 1_000_000;
/// Values of `user`, with several documents each.
pub const USERS: u64 = 20_000;
/// Values of `device`.
pub const DEVICES: u64 = 5_000;
/// Values of `zone`, spread evenly over the zones of the shards.
pub const ZONE_VALUES: u64 = 1_000;

impl Ids {
    /// The `_id` of document `n`; different for every n below 2^50.
    pub fn id(self, n: u64) -> Bson {
        match self {
            Ids::ObjectId => Bson::ObjectId(object_id(n)),
            Ids::Int => integer(n),
            Ids::Long => Bson::Int64(mix(n) as i64),
            Ids::String => Bson::String(format!("{:05x}-{n}", mix(n) >> 44)),
            Ids::Uuid => uuid(n),
            Ids::Compound => Bson::Document(doc! {"region": region(n), "seq": n as i64}),
            Ids::Mixed => mixed(n),
        }
    }
}

fn mixed(n: u64) -> Bson {
    match n % 9 {
        0 => integer(n),
        1 => Bson::Int64(n as i64),
        2 => Bson::Double(n as f64 + 0.25),
        3 => Ids::String.id(n),
        4 => Bson::ObjectId(object_id(n)),
        5 => uuid(n),
        6 => Bson::Document(doc! {"a": n as i64, "b": {"c": "x"}}),
        7 => Bson::DateTime(bson::DateTime::from_millis(n as i64)),
        _ => Bson::Decimal128(
            format!("{n}.5")
                .parse()
                .expect("digits, a point and a digit are a decimal"),
        ),
    }
}

fn object_id(n: u64) -> ObjectId {
    let seconds = 1_600_000_000u32 + ((n / 256) % 1_000_000_000) as u32;
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn integer(n: u64) -> Bson {
    i32::try_from(n).map_or(Bson::Int64(n as i64), Bson::Int32)
}

fn uuid(n: u64) -> Bson {
    let mut dice = Dice::new(&[0x1D, n]);
    let mut bytes: Vec<u8> = [dice.roll().to_be_bytes(), dice.roll().to_be_bytes()].concat();
    bytes[6] = 0x40 | (bytes[6] & 0x0F);
    bytes[8] = 0x80 | (bytes[8] & 0x3F);
    Bson::Binary(bson::Binary {
        subtype: BinarySubtype::Uuid,
        bytes,
    })
}

fn region(n: u64) -> &'static str {
    ["eu", "us", "ap"][(mix(n) % 3) as usize]
}

impl Sharding {
    /// The shard key pattern, empty for an unsharded collection.
    pub fn pattern(self) -> Document {
        match self {
            Sharding::Unsharded => Document::new(),
            Sharding::Hashed(field) => doc! {field: "hashed"},
            Sharding::Range(fields) | Sharding::Zoned(fields) => fields
                .iter()
                .map(|field| (field.to_string(), Bson::Int32(1)))
                .collect(),
        }
    }

    /// Names of the shard key's fields, in order.
    pub fn fields(&self) -> &[&'static str] {
        match self {
            Sharding::Unsharded => &[],
            Sharding::Hashed(field) => std::slice::from_ref(field),
            Sharding::Range(fields) | Sharding::Zoned(fields) => fields,
        }
    }

    /// `parts - 1` shard key values that cut the key space into even parts.
    pub fn split_points(self, parts: u64) -> Vec<Document> {
        let (Sharding::Range(fields) | Sharding::Zoned(fields)) = self else {
            return Vec::new();
        };
        (1..parts)
            .map(|part| self.point(fields, part, parts))
            .collect()
    }

    fn point(self, fields: &[&str], part: u64, parts: u64) -> Document {
        let first = match fields[0] {
            "customer" => Bson::Int32((CUSTOMERS * part / parts) as i32),
            "user" => Bson::Int64((USERS * part / parts) as i64),
            "zone" => Bson::Int32((ZONE_VALUES * part / parts) as i32),
            _ => Bson::String(handle_prefix((HANDLE_PREFIXES * part / parts) as u32)),
        };
        let rest = fields[1..]
            .iter()
            .map(|field| (field.to_string(), Bson::MinKey));
        std::iter::once((fields[0].to_string(), first))
            .chain(rest)
            .collect()
    }
}

const HANDLE_PREFIXES: u64 = 26 * 26;

/// Two letters, in ascending order of `index`.
fn handle_prefix(index: u32) -> String {
    [index / 26, index % 26]
        .map(|letter| char::from(b'a' + letter as u8))
        .iter()
        .collect()
}

/// The value of shard key field `field` of document `n`; `_id` is not asked here.
pub fn key_field(field: &str, n: u64) -> Bson {
    let spread = mix(n ^ 0x5EED);
    match field {
        "customer" => Bson::Int32((spread % CUSTOMERS) as i32),
        "user" => Bson::Int64((spread % USERS) as i64),
        "zone" => Bson::Int32((spread % ZONE_VALUES) as i32),
        "device" => uuid(spread % DEVICES),
        _ => Bson::String(format!(
            "{}.{n}",
            handle_prefix((spread % HANDLE_PREFIXES) as u32)
        )),
    }
}
