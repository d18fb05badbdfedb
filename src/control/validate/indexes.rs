//! Indexes that a 6.0 server has but would refuse to build again: older releases made
//! them.
//!
//! Pure decisions over index specifications.

use bson::RawDocument;

use crate::bson::decimal::Decimal;
use crate::bson::element::{Element, elements, elements_of, field, kind};
use crate::bson::view::View;

/// Fields `createIndexes` of 6.0 takes (server source, `index_key_validate.cpp`).
const FIELDS_KNOWN: [&str; 27] = [
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
    "dropDups",
    "originalSpec",
];
const TYPES_KNOWN: [&[u8]; 5] = [b"2d", b"2dsphere", b"2dsphere_bucket", b"hashed", b"text"];
const VERSIONS: [i64; 2] = [1, 2];
/// The end of a wildcard index's key: alone, or after a path.
const WILDCARD: &[u8] = b"$**";
/// Names of a reference's fields, inside the field that holds it.
const REFERENCE: [&[u8]; 3] = [b"$id", b"$ref", b"$db"];

/// Why a 6.0 server would refuse to build this index; None if it would not.
pub fn refused(spec: &RawDocument) -> Option<String> {
    let option = |name: &str| field(spec.as_bytes(), name.as_bytes());
    if let Some(unknown) =
        elements(spec).find(|o| !FIELDS_KNOWN.iter().any(|known| known.as_bytes() == o.name))
    {
        return Some(format!(
            "unknown field {}",
            String::from_utf8_lossy(unknown.name)
        ));
    }
    if option("v").is_some_and(|v| {
        !VERSIONS
            .iter()
            .any(|version| matches!(View::from(v), View::Int(v) if v == *version))
    }) {
        return Some("no index version of 6.0".to_owned());
    }
    let Some(key) = option("key").filter(|key| key.kind == kind::DOCUMENT) else {
        return Some("no key".to_owned());
    };
    let is_single = elements_of(key.value).count() <= 1
        && !elements_of(key.value).any(|field| is_wildcard(&field));
    if option("expireAfterSeconds").is_some() && !is_single {
        return Some("an expiry on a compound or wildcard index".to_owned());
    }
    elements_of(key.value).find_map(|field| refused_kind(&field).or_else(|| refused_name(&field)))
}

/// The kind of a key must be a number but 0, or a known name.
fn refused_kind(field: &Element<'_>) -> Option<String> {
    let good = match View::from(*field) {
        View::Text(name) => TYPES_KNOWN.contains(&name),
        View::Int(number) => number != 0 && !(is_wildcard(field) && number < 0),
        View::Double(number) => is_direction(number) && !(is_wildcard(field) && number < 0.0),
        // The server makes a double of it.
        View::Decimal(bytes) => match Decimal::from_bytes(bytes) {
            Decimal::NaN => false,
            Decimal::Infinite { .. } => true,
            Decimal::Finite(finite) => is_direction(finite.nearest_double()),
        },
        _ => false,
    };
    (!good).then(|| {
        format!(
            "{}: not a kind of index on 6.0",
            String::from_utf8_lossy(field.name)
        )
    })
}

fn is_direction(number: f64) -> bool {
    number != 0.0 && !number.is_nan()
}

fn refused_name(field: &Element<'_>) -> Option<String> {
    let mut path = field.name;
    if is_wildcard(field) {
        // One over all fields names none.
        path = path.strip_suffix(WILDCARD)?.strip_suffix(b".")?;
    }
    let bad = |(place, part): (usize, &[u8])| match part.first() {
        None => true,
        Some(b'$') => place == 0 || !REFERENCE.contains(&part),
        Some(_) => false,
    };
    let is_bad = path.split(|byte| *byte == b'.').enumerate().any(bad);
    is_bad.then(|| {
        format!(
            "{:?}: not a name of an indexed field on 6.0",
            String::from_utf8_lossy(field.name)
        )
    })
}

fn is_wildcard(field: &Element<'_>) -> bool {
    let is_number = matches!(
        View::from(*field),
        View::Int(_) | View::Double(_) | View::Decimal(_)
    );
    is_number && (field.name == WILDCARD || field.name.ends_with(b".$**"))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn indexes_of_older_releases_are_found() {
        let rows = [
            (rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"}, true),
            (
                rawdoc! {"v": 2, "key": {"a": 1.0, "b": -1}, "name": "x", "unique": true, "sparse": true},
                true,
            ),
            (
                rawdoc! {"v": 2, "key": {"_fts": "text", "_ftsx": 1}, "name": "x", "weights": {"a": 1}},
                true,
            ),
            (
                rawdoc! {"v": 2, "key": {"$**": 1}, "name": "x", "wildcardProjection": {"a": 0}},
                true,
            ),
            (rawdoc! {"v": 0, "key": {"a": 1}, "name": "x"}, false),
            (
                rawdoc! {"v": 2, "key": {"a": 1, "b": 1}, "name": "x", "expireAfterSeconds": 5},
                false,
            ),
            // Held back, and given another number at the cutover.
            (
                rawdoc! {"v": 2, "key": {"a": 1}, "name": "x", "expireAfterSeconds": f64::NAN},
                true,
            ),
        ];
        for (spec, expect) in rows {
            assert_eq!(refused(&spec).is_none(), expect, "{spec:?}");
        }
    }
}
