//! Which indexes a 6.0 server has and would refuse to build again: they were
//! made by older releases.
//!
//! Pure decisions over index specifications.

use bson::{RawBsonRef, RawDocument};

/// Fields `createIndexes` of 6.0 takes (server source, `index_key_validate.cpp`).
const FIELDS_KNOWN: [&str; 29] = [
    "v",
    "key",
    "name",
    "ns",
    "background",
    "unique",
    "hidden",
    "sparse",
    "expireAfterSeconds",
    "storageEngine",
    "collation",
    "partialFilterExpression",
    "wildcardProjection",
    "columnstoreProjection",
    "prepareUnique",
    "clustered",
    "weights",
    "default_language",
    "language_override",
    "textIndexVersion",
    "2dsphereIndexVersion",
    "coarsestIndexedLevel",
    "finestIndexedLevel",
    "bits",
    "min",
    "max",
    "bucketSize",
    "dropDups",
    "originalSpec",
];
const TYPES_KNOWN: [&str; 4] = ["2d", "2dsphere", "hashed", "text"];

/// Why a 6.0 server would refuse to build this index; None if it would not.
pub(super) fn refused(spec: &RawDocument) -> Option<String> {
    if let Some((name, _)) = spec.iter().flatten().find(|(name, _)| !FIELDS_KNOWN.contains(&name.as_str())) {
        return Some(format!("unknown field {}", name.as_str()));
    }
    if spec.get_i32("v").is_ok_and(|v| v < 1) {
        return Some("index version 0".to_owned());
    }
    if spec.get_f64("expireAfterSeconds").is_ok_and(f64::is_nan) {
        return Some("expireAfterSeconds is NaN".to_owned());
    }
    let Ok(key) = spec.get_document("key") else { return Some("no key".to_owned()) };
    key.iter().flatten().find_map(|(name, kind)| refused_kind(name.as_str(), kind, version(spec)))
}

fn version(spec: &RawDocument) -> i32 {
    spec.get_i32("v").unwrap_or(2)
}

/// Since version 2 the kind of a key must be a number but 0, or a known name.
fn refused_kind(field: &str, kind: RawBsonRef<'_>, version: i32) -> Option<String> {
    let bad = match kind {
        RawBsonRef::String(name) => !TYPES_KNOWN.contains(&name),
        RawBsonRef::Int32(n) => version >= 2 && n == 0,
        RawBsonRef::Int64(n) => version >= 2 && n == 0,
        RawBsonRef::Double(n) => version >= 2 && (n == 0.0 || n.is_nan()),
        _ => version >= 2,
    };
    bad.then(|| format!("{field}: {kind:?} is no kind of index on 6.0"))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn indexes_of_older_releases_are_found() {
        let rows = [
            (rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"}, true),
            (rawdoc! {"v": 2, "key": {"a": 1.0, "b": -1}, "name": "x", "unique": true, "sparse": true}, true),
            (rawdoc! {"v": 1, "key": {"a": true}, "name": "x"}, true),
            (rawdoc! {"v": 2, "key": {"_fts": "text", "_ftsx": 1}, "name": "x", "weights": {"a": 1}}, true),
            (rawdoc! {"v": 2, "key": {"$**": 1}, "name": "x", "wildcardProjection": {"a": 0}}, true),
            (rawdoc! {"v": 2, "key": {"a": "geoHaystack"}, "name": "x", "bucketSize": 1}, false),
            (rawdoc! {"v": 2, "key": {"a": 0}, "name": "x"}, false),
            (rawdoc! {"v": 2, "key": {"a": true}, "name": "x"}, false),
            (rawdoc! {"v": 2, "key": {"a": 1}, "name": "x", "safe": true}, false),
            (rawdoc! {"v": 2, "key": {"a": 1}, "name": "x", "expireAfterSeconds": f64::NAN}, false),
            (rawdoc! {"v": 0, "key": {"a": 1}, "name": "x"}, false),
        ];
        for (spec, expect) in rows {
            assert_eq!(refused(&spec).is_none(), expect, "{spec:?}");
        }
    }
}
