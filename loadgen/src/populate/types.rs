//! Collections with every BSON type as a value and as an `_id`, and with
//! documents at the edge of what a 6.0 server takes: empty, dotted and `$` names,
//! duplicate fields, deep nesting, 16 MB, zero timestamps.
//!
//! Knows nothing about the layout; its documents are fixed, not seeded.

use bson::{
    Binary, Bson, Document, JavaScriptCodeWithScope, RawBson, RawDocumentBuf, Regex, Timestamp,
    doc,
    oid::ObjectId,
    raw::{CStr, RawArrayBuf, RawBsonRef, cstr},
    rawdoc,
    spec::BinarySubtype,
};

use super::CollectionSummary;
use crate::{
    entry::{Entry, command_on, write_on},
    error::{Doing, Result},
};

/// The database these collections live in.
pub const DATABASE: &str = "types";
/// The largest document a client may insert, bytes.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// Levels of the deep document; the server refuses more than 180 or so.
const DEPTH: usize = 100;

/// Makes the collections of [`DATABASE`] and says what they hold.
pub async fn create(entry: &Entry) -> Result<Vec<CollectionSummary>> {
    command_on(&entry.client, DATABASE, doc! {"create": "shapes"}).await?;
    let shapes = shapes(entry.abilities.dollar_names);
    let mut made = vec![
        insert(entry, "ids", mixed_ids()).await?,
        insert(entry, "values", every_value()).await?,
        insert(entry, "shapes", shapes).await?,
    ];
    if zero_timestamp(entry).await? {
        made[2].documents += 1;
    }
    Ok(made)
}

async fn insert(
    entry: &Entry,
    name: &str,
    documents: Vec<RawDocumentBuf>,
) -> Result<CollectionSummary> {
    let count = documents.len() as u64;
    let bytes = documents
        .iter()
        .map(|document| document.as_bytes().len() as u64)
        .sum();
    for document in documents {
        let mut command = rawdoc! {"insert": name};
        command.append(cstr!("documents"), RawArrayBuf::from_iter([document]));
        write_on(&entry.client, DATABASE, command).await?;
    }
    Ok(CollectionSummary {
        ns: format!("{DATABASE}.{name}"),
        documents: count,
        bytes,
    })
}

/// A top-level `Timestamp(0, 0)`, which only `applyOps` can write. False where
/// no shard can be asked for it.
async fn zero_timestamp(entry: &Entry) -> Result<bool> {
    let owner = crate::owner::OwnerMap::read(entry, DATABASE, "shapes")
        .await?
        .owner(&[])?;
    let document =
        doc! {"_id": "zero timestamp", "t": Timestamp { time: 0, increment: 0 }, "after": 1};
    let op = doc! {"op": "i", "ns": format!("{DATABASE}.shapes"), "o": document};
    let applied = command_on(
        &entry.shards[owner].client,
        "admin",
        doc! {"applyOps": [op], "allowAtomic": false},
    )
    .await;
    Ok(applied.is_ok())
}

/// One value of every type that is legal as an `_id`, and close neighbours.
pub fn id_values() -> Vec<Bson> {
    let binary = |subtype: u8, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype: subtype.into(),
            bytes: bytes.to_vec(),
        })
    };
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal in our own table"));
    vec![
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Null,
        Bson::Boolean(false),
        Bson::Boolean(true),
        Bson::Int32(1),
        Bson::Int32(-7),
        Bson::Int64(i64::MAX),
        Bson::Int64(i64::MIN),
        Bson::Double(0.5),
        Bson::Double(-0.0),
        Bson::Double(f64::NAN),
        Bson::Double(f64::INFINITY),
        Bson::Double(f64::NEG_INFINITY),
        decimal("0.10"),
        decimal("1E+100"),
        Bson::String(String::new()),
        Bson::String("ä\u{0}b".into()),
        Bson::String("Z".into()),
        Bson::Symbol("symbol".into()),
        Bson::Document(Document::new()),
        Bson::Document(doc! {"a": {"b": [1, {"c": Bson::Null}]}}),
        Bson::Document(doc! {"a": 1.5}),
        binary(0x00, b""),
        binary(0x00, b"generic"),
        binary(0x01, b"function"),
        binary(0x02, b"old"),
        binary(0x03, &[3; 16]),
        binary(0x04, &[4; 16]),
        binary(0x05, &[5; 16]),
        binary(0x80, b"user"),
        Bson::ObjectId(ObjectId::from_bytes([7; 12])),
        Bson::DateTime(bson::DateTime::from_millis(-1)),
        Bson::DateTime(bson::DateTime::from_millis(1_700_000_000_000)),
        Bson::Timestamp(Timestamp {
            time: 5,
            increment: 6,
        }),
        Bson::JavaScriptCode("function () {}".into()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "x".into(),
            scope: doc! {"x": 1},
        }),
    ]
}

fn raw(value: Bson) -> RawBson {
    RawBson::try_from(value).expect("values of our own table hold no NUL in a name")
}

/// A database pointer: deprecated, but legal; bson offers no owned constructor,
/// so its bytes are written out.
fn db_pointer(name: &CStr) -> RawDocumentBuf {
    let mut bytes = vec![0, 0, 0, 0, 0x0C];
    bytes.extend(name.as_str().as_bytes());
    bytes.push(0);
    bytes.extend(5i32.to_le_bytes());
    bytes.extend(b"db.c\0");
    bytes.extend([9; 12]);
    bytes.push(0);
    let length = bytes.len() as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).expect("length, one element and the end are a document")
}

fn pointer(document: &RawDocumentBuf) -> RawBsonRef<'_> {
    let value = document.iter().flatten().next().map(|(_, value)| value);
    value.expect("it has the one element")
}

fn mixed_ids() -> Vec<RawDocumentBuf> {
    let numbered = id_values().into_iter().enumerate();
    let mut documents: Vec<RawDocumentBuf> = numbered
        .map(|(i, id)| rawdoc! {"_id": raw(id), "i": i as i32})
        .collect();
    let mut with_pointer = RawDocumentBuf::new();
    with_pointer.append(cstr!("_id"), pointer(&db_pointer(cstr!("p"))));
    documents.push(with_pointer);
    // A reference: field names that begin with `$`.
    documents.push(rawdoc! {"_id": {"$ref": "c", "$id": 1, "$db": "d"}});
    documents
}

/// Each value at the top level, in a document and in an array; besides those
/// legal as `_id`, the ones that are not.
fn every_value() -> Vec<RawDocumentBuf> {
    let regex = Regex {
        pattern: cstr!("^a.*b$").to_owned(),
        options: cstr!("im").to_owned(),
    };
    let more = [
        Bson::RegularExpression(regex),
        Bson::Undefined,
        Bson::Array(vec![]),
        Bson::Array(vec![
            Bson::Int32(1),
            Bson::Double(1.0),
            Bson::Array(vec![Bson::Null]),
        ]),
        // A whole one, of the int32 1: 6.0.27 refuses any other.
        Bson::Binary(Binary {
            subtype: BinarySubtype::Column,
            bytes: vec![0x10, 0, 1, 0, 0, 0, 0],
        }),
    ];
    let values = id_values().into_iter().chain(more).enumerate();
    let mut documents: Vec<RawDocumentBuf> = values
        .map(|(i, value)| {
            let value = raw(value);
            rawdoc! {"_id": i as i32, "v": value.clone(), "in": {"v": value.clone()}, "list": [value.clone(), value]}
        })
        .collect();
    let mut with_pointer = rawdoc! {"_id": "pointer"};
    with_pointer.append(cstr!("v"), pointer(&db_pointer(cstr!("p"))));
    documents.push(with_pointer);
    documents
}

fn shapes(dollars: bool) -> Vec<RawDocumentBuf> {
    let zero = Timestamp {
        time: 0,
        increment: 0,
    };
    let mut twice = rawdoc! {"_id": "duplicate names", "a": 1, "b": 2};
    twice.append(cstr!("a"), 3);
    twice.append(cstr!("a"), "four");
    let mut inner_twice = RawDocumentBuf::new();
    inner_twice.append(cstr!("x"), 1);
    inner_twice.append(cstr!("x"), 2.0);
    let mut late_id = rawdoc! {"before": 1};
    late_id.append(cstr!("_id"), "id not first");
    let mut long_name = rawdoc! {"_id": "long name"};
    let name = "n".repeat(4_000);
    let name: &CStr = name.as_str().try_into().expect("a row of n holds no NUL");
    long_name.append(name, 1);
    let mut documents = vec![
        twice,
        late_id,
        long_name,
        rawdoc! {"_id": "inner duplicates", "in": inner_twice},
        rawdoc! {"_id": "only an id"},
        rawdoc! {"_id": "zero timestamps inside", "in": {"t": zero}, "list": [zero, {"t": zero}]},
        rawdoc! {"_id": "dotted", "a.b": 1, "a": {"b.c": 2, ".": 3, "d.": {".e": 4}}},
        rawdoc! {"_id": "reference like", "ref": {"$ref": "c", "$id": 1, "$db": "d"}},
        rawdoc! {"_id": "empty names", "": 1, "in": {"": {"": 2}}},
        rawdoc! {"_id": "names of numbers", "0": 1, "in": {"1": "a", "0": "b"}, "u": 1, "i": 2, "d": 3, "sa": 4, "diff": {}},
        rawdoc! {"_id": "unicode", "ключ": "значение", "😀": "\u{10FFFF}"},
        deep(),
        largest("largest"),
        largest(&"large _id ".repeat(800)),
    ];
    if dollars {
        documents.push(rawdoc! {"_id": "dollars", "in": {"$set": 1, "$": 2}, "a$": 3, "$top": 4});
    }
    documents
}

fn deep() -> RawDocumentBuf {
    let leaf = rawdoc! {"leaf": true};
    let nested = (0..DEPTH).fold(leaf, |inner, level| {
        if level % 10 == 9 {
            rawdoc! {"l": [inner]}
        } else {
            rawdoc! {"d": inner}
        }
    });
    rawdoc! {"_id": "deep", "d": nested}
}

/// Exactly as large as the server takes.
fn largest(id: &str) -> RawDocumentBuf {
    let mut document = rawdoc! {"_id": id, "tail": 1};
    // Type, name with its NUL, length, subtype.
    let overhead = 1 + "data\0".len() + 4 + 1;
    let bytes = vec![0xA5; DOCUMENT_BYTES_MAX - document.as_bytes().len() - overhead];
    document.append(
        cstr!("data"),
        Binary {
            subtype: BinarySubtype::Generic,
            bytes,
        },
    );
    debug_assert_eq!(document.as_bytes().len(), DOCUMENT_BYTES_MAX);
    document
}

/// Raw documents of one of these collections, in `_id` order; for tests.
pub async fn read_back(entry: &Entry, name: &str) -> Result<Vec<RawDocumentBuf>> {
    use futures_util::TryStreamExt;
    let rows = entry
        .client
        .database(DATABASE)
        .collection::<RawDocumentBuf>(name);
    let cursor = rows
        .find(doc! {})
        .sort(doc! {"_id": 1})
        .await
        .doing(|| format!("reading {name}"))?;
    cursor
        .try_collect()
        .await
        .doing(|| format!("reading {name}"))
}
