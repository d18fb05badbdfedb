//! Indexes that a source has but the target would refuse to build: an older release made
//! them.
//!
//! Pure decisions over index specifications.

use std::collections::BTreeSet;

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::decimal::Decimal;
use crate::bson::element::{Element, elements, elements_of, field, kind};
use crate::bson::view::View;
use crate::cluster::catalog::index::{self, IndexName};
use crate::cluster::dialect::CatalogForms;

/// Fields `createIndexes` takes, up to 6.0 (server source, `index_key_validate.cpp`).
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
/// Of indexes for small areas, which 5.0 has no more.
const HAYSTACK: &[u8] = b"geoHaystack";
const HAYSTACK_FIELD: &[u8] = b"bucketSize";
/// Types that options must have since 5.0, on whatever kind of index (seen on 5.0.4 and
/// 6.0.5). Numbers do for flags.
const FLAGS: [&str; 5] = [
    "unique",
    "sparse",
    "background",
    "coarsestIndexedLevel",
    "finestIndexedLevel",
];
const NUMBERS: [&str; 5] = [
    "bits",
    "min",
    "max",
    "textIndexVersion",
    "2dsphereIndexVersion",
];
const TEXTS: [&str; 2] = ["default_language", "language_override"];
const TYPES_KNOWN: [&[u8]; 5] = [b"2d", b"2dsphere", b"2dsphere_bucket", b"hashed", b"text"];
const VERSIONS: [i64; 2] = [1, 2];
/// The end of a wildcard index's key: alone, or after a path.
const WILDCARD: &[u8] = b"$**";
/// Names of a reference's fields, inside the field that holds it.
const REFERENCE: [&[u8]; 3] = [b"$id", b"$ref", b"$db"];

/// Why a server of these forms would refuse to build this index; None if it would not.
pub fn refused(spec: &RawDocument, forms: &CatalogForms) -> Option<String> {
    let option = |name: &str| field(spec.as_bytes(), name.as_bytes());
    let key = option("key").filter(|key| key.kind == kind::DOCUMENT);
    if forms.strict_indexes && key.as_ref().is_some_and(is_haystack) {
        return Some("geoHaystack, which 5.0 has no more".to_owned());
    }
    if let Some(unknown) = elements(spec).find(|option| !is_known(option, forms)) {
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
        return Some("an index version no longer known".to_owned());
    }
    let Some(key) = key else {
        return Some("no key".to_owned());
    };
    let is_single = elements_of(key.value).count() <= 1
        && !elements_of(key.value).any(|field| is_wildcard(&field));
    if option("expireAfterSeconds").is_some() && !is_single {
        return Some("an expiry on a compound or wildcard index".to_owned());
    }
    if forms.strict_indexes
        && let Some(why) = refused_option(spec, &key)
    {
        return Some(why);
    }
    elements_of(key.value).find_map(|field| refused_kind(&field).or_else(|| refused_name(&field)))
}

fn is_haystack(key: &Element<'_>) -> bool {
    elements_of(key.value).any(|field| matches!(View::from(field), View::Text(HAYSTACK)))
}

fn is_known(option: &Element<'_>, forms: &CatalogForms) -> bool {
    FIELDS_KNOWN
        .iter()
        .any(|known| known.as_bytes() == option.name)
        || option.name == HAYSTACK_FIELD && !forms.strict_indexes
}

/// An option of another type, or for another kind of index.
fn refused_option(spec: &RawDocument, key: &Element<'_>) -> Option<String> {
    let is_text =
        elements_of(key.value).any(|field| matches!(View::from(field), View::Text(b"text")));
    elements(spec).find_map(|option| {
        let is_of = |names: &[&str]| names.iter().any(|name| name.as_bytes() == option.name);
        let value = View::from(option);
        let is_number = matches!(value, View::Int(_) | View::Double(_) | View::Decimal(_));
        let expected = if is_of(&FLAGS) && !is_number && !matches!(value, View::Boolean(_)) {
            "must be true or false"
        } else if is_of(&NUMBERS) && !is_number {
            "must be a number"
        } else if is_of(&TEXTS) && !matches!(value, View::Text(_)) {
            "must be a text"
        } else if option.name == b"weights" && !is_text {
            "is for text indexes only"
        } else {
            return None;
        };
        Some(format!(
            "{} {expected}",
            String::from_utf8_lossy(option.name)
        ))
    })
}

/// The kind of a key must be a number but 0, or a known name.
fn refused_kind(field: &Element<'_>) -> Option<String> {
    let good = match View::from(*field) {
        View::Text(name) => name == HAYSTACK || TYPES_KNOWN.contains(&name),
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
            "{}: not a kind of index",
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
            "{:?}: not a name of an indexed field",
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

/// Names of the indexes that not every one of these shards has alike.
pub(super) fn unlike(by_shard: &[Vec<RawDocumentBuf>]) -> BTreeSet<IndexName> {
    let all = by_shard.iter().flatten();
    let is_unlike = |spec: &&RawDocumentBuf| {
        let has = |specs: &Vec<RawDocumentBuf>| specs.iter().any(|other| index::same(other, spec));
        !by_shard.iter().all(has)
    };
    all.filter(is_unlike)
        .map(|spec| IndexName::of(spec))
        .collect()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::bson::element::document;
    use crate::cluster::deployment::Version;
    use crate::cluster::dialect::Dialect;

    #[test]
    fn an_index_that_not_every_shard_has_alike_is_found() {
        let id = rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"};
        let here = rawdoc! {"v": 2, "key": {"a": 1}, "name": "a", "unique": true};
        let turned = rawdoc! {"unique": true, "v": 2, "key": {"a": 1}, "name": "a"};
        let other = rawdoc! {"v": 2, "key": {"a": 1}, "name": "a"};
        let rows = [
            (vec![vec![id.clone(), here.clone()]], 0),
            (
                vec![vec![id.clone(), here.clone()], vec![turned, id.clone()]],
                0,
            ),
            (
                vec![vec![id.clone(), here.clone()], vec![id.clone(), other]],
                1,
            ),
            (vec![vec![id.clone(), here], vec![id]], 1),
        ];
        for (by_shard, expect) in rows {
            assert_eq!(unlike(&by_shard).len(), expect, "{by_shard:?}");
        }
    }

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
            let refused = refused(&spec, &forms(true));
            assert_eq!(refused.is_none(), expect, "{spec:?}");
        }
    }

    fn forms(strict_indexes: bool) -> CatalogForms {
        let version = Version {
            major: 6,
            minor: 0,
            patch: 5,
        };
        CatalogForms {
            strict_indexes,
            ..Dialect::of(version, "6.0").catalog
        }
    }

    #[test]
    fn what_4_4_took_is_refused_from_5_0_on_only() {
        let index = |more: RawDocumentBuf| {
            document(
                elements(&rawdoc! {"v": 2, "key": {"a": 1}, "name": "n"}).chain(elements(&more)),
            )
        };
        let haystack =
            rawdoc! {"v": 2, "key": {"p": "geoHaystack", "t": 1}, "name": "n", "bucketSize": 1.0};
        for spec in [
            haystack,
            index(rawdoc! {"bucketSize": 1}),
            index(rawdoc! {"sparse": "yes"}),
            index(rawdoc! {"background": bson::RawBson::Null}),
            index(rawdoc! {"finestIndexedLevel": "x"}),
            index(rawdoc! {"bits": true}),
            index(rawdoc! {"default_language": 5}),
            index(rawdoc! {"weights": {"a": 1}}),
        ] {
            assert!(refused(&spec, &forms(true)).is_some(), "{spec:?}");
            assert_eq!(refused(&spec, &forms(false)), None, "{spec:?}");
        }
        for spec in [
            index(rawdoc! {"sparse": 1, "background": 0.5, "coarsestIndexedLevel": true}),
            index(rawdoc! {"bits": 26.0, "default_language": "klingon"}),
        ] {
            assert_eq!(refused(&spec, &forms(true)), None, "{spec:?}");
        }
    }
}
