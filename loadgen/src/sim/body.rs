//! The documents of the simulation, and their BSON: `_id` in one of several
//! spellings that the `_id` index takes for equal, and four fields.
//!
//! Knows the few shapes the engine sends them in; no other.

use bson::raw::cstr;
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use shardlift::bson::identity::IdKey;

/// `_id` as the index compares it.
pub(super) type Key = i64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Int32,
    Int64,
    Double,
}

/// A document: how its `_id` is spelled, and its fields; 0 is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doc {
    pub(super) spelling: Spelling,
    pub(super) fields: [i32; FIELDS],
}

/// What an update does to each field: nothing, set, or (0) unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Delta(pub(super) [Option<i32>; FIELDS]);

pub(super) const FIELDS: usize = 4;
/// The field that some collections have a unique index on.
pub(super) const UNIQUE: usize = FIELDS - 1;

const NAMES: [&bson::raw::CStr; FIELDS] = [cstr!("a"), cstr!("b"), cstr!("c"), cstr!("d")];

impl Delta {
    pub(super) fn apply(&self, doc: &mut Doc) {
        for (field, change) in doc.fields.iter_mut().zip(self.0) {
            *field = change.unwrap_or(*field);
        }
    }
}

pub(super) fn id(key: Key, spelling: Spelling) -> RawBson {
    match spelling {
        Spelling::Int32 => RawBson::Int32(key as i32),
        Spelling::Int64 => RawBson::Int64(key),
        Spelling::Double => RawBson::Double(key as f64),
    }
}

pub(super) fn key(id: RawBsonRef<'_>) -> (Key, Spelling) {
    match id {
        RawBsonRef::Int32(v) => (v.into(), Spelling::Int32),
        RawBsonRef::Int64(v) => (v, Spelling::Int64),
        RawBsonRef::Double(v) => (v as i64, Spelling::Double),
        other => panic!("an `_id` no source has: {other:?}"),
    }
}

pub(super) fn key_of(id: &IdKey) -> Key {
    let id = id.value().readable().expect("the model's ids are numbers");
    key(id.as_raw_bson_ref()).0
}

pub(super) fn document(key: Key, doc: &Doc) -> RawDocumentBuf {
    let mut raw = RawDocumentBuf::new();
    raw.append(cstr!("_id"), id(key, doc.spelling));
    for (name, value) in NAMES
        .iter()
        .zip(doc.fields)
        .filter(|(_, value)| *value != 0)
    {
        raw.append(name, value);
    }
    raw
}

pub(super) fn read(raw: &RawDocument) -> (Key, Doc) {
    let mut read = (
        0,
        Doc {
            spelling: Spelling::Int32,
            fields: [0; FIELDS],
        },
    );
    for element in raw {
        let (name, value) = element.expect("the engine sends valid BSON");
        match name.as_str() {
            "_id" => (read.0, read.1.spelling) = key(value),
            name => read.1.fields[field(name)] = value.as_i32().expect("fields are numbers"),
        }
    }
    read
}

/// `$v: 2`, as an oplog has it.
pub(super) fn diff(delta: &Delta) -> RawDocumentBuf {
    let (mut set, mut unset) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    for (name, change) in NAMES.iter().zip(delta.0) {
        match change {
            Some(0) => unset.append(name, false),
            Some(value) => set.append(name, value),
            None => {}
        }
    }
    rawdoc! { "$v": 2, "diff": { "d": unset, "u": set } }
}

pub(super) fn read_diff(raw: &RawDocument) -> Delta {
    let diff = raw.get_document("diff").expect("a delta has its diff");
    let mut delta = Delta::default();
    for part in ["d", "u"] {
        for element in diff.get_document(part).expect("both parts are there") {
            let (name, value) = element.expect("the engine sends valid BSON");
            delta.0[field(name.as_str())] = Some(value.as_i32().unwrap_or(0));
        }
    }
    delta
}

fn field(name: &str) -> usize {
    usize::from(name.as_bytes()[0] - b'a')
}
