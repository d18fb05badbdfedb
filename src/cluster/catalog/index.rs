//! Index specifications: which one carries a shard key, and how one is built
//! again on the target.
//!
//! Pure functions.

use bson::{RawDocument, RawDocumentBuf, rawdoc};

use crate::cluster::catalog::{EXPIRY, listing};
use crate::error::Result;

/// An index specification to build with, from one that `catalog::indexes` gave: without
/// its expiry, which comes back at cutover (R10), and with the simple collation
/// spelled out where the collection's own (`collated`) would be taken instead.
pub fn to_create(collated: bool, spec: &RawDocument) -> Result<RawDocumentBuf> {
    let mut made = listing::without(spec, &[EXPIRY])?;
    if collated && spec.get("collation")?.is_none() {
        made.append(bson::cstr!("collation"), rawdoc! {"locale": "simple"});
    }
    Ok(made)
}

/// The index that carries a shard key, chosen as the server does: the key is
/// its prefix, it holds every document, under the simple collation. An exact
/// one goes before a longer one; `_id` is there anyway.
pub(super) fn of_shard_key(indexes: &[RawDocumentBuf], key: &RawDocument) -> Option<RawDocumentBuf> {
    let fits = |spec: &&RawDocumentBuf| {
        let partial = spec.get("partialFilterExpression").is_ok_and(|f| f.is_some());
        let collated = spec.get_document("collation").is_ok_and(|c| c.get_str("locale").is_ok_and(|l| l != "simple"));
        let sparse = spec.get_bool("sparse").unwrap_or(false);
        !partial && !collated && !sparse && spec.get_document("key").is_ok_and(|k| is_prefix(key, k))
    };
    let length = |spec: &&RawDocumentBuf| spec.get_document("key").map_or(usize::MAX, |k| k.iter().count());
    let best = indexes.iter().filter(fits).min_by_key(length)?;
    let is_id = best.get_str("name").is_ok_and(|n| n == "_id_");
    (!is_id).then(|| best.clone())
}

fn is_prefix(key: &RawDocument, index_key: &RawDocument) -> bool {
    let mut fields = index_key.iter().flatten();
    key.iter()
        .flatten()
        .all(|(name, kind)| fields.next().is_some_and(|(n, k)| n == name && k.as_str() == kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_its_simple_collation_and_loses_its_expiry() {
        let spec = rawdoc! {"key": {"a": 1}, "expireAfterSeconds": 5};
        let own = rawdoc! {"key": {"a": 1}, "collation": {"locale": "de"}};
        let simple = rawdoc! {"key": {"a": 1}, "collation": {"locale": "simple"}};
        let rows = [(false, &spec, rawdoc! {"key": {"a": 1}}), (true, &spec, simple), (true, &own, own.clone())];
        for (collated, spec, expect) in rows {
            assert_eq!(to_create(collated, spec).unwrap(), expect, "{spec:?}");
        }
    }

    #[test]
    fn the_shard_key_index_is_the_one_the_server_would_use() {
        let specs = [
            rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"},
            rawdoc! {"v": 2, "key": {"a": 1}, "name": "partial", "partialFilterExpression": {"b": 1}},
            rawdoc! {"v": 2, "key": {"a": 1}, "name": "collated", "collation": {"locale": "fr"}},
            rawdoc! {"v": 2, "key": {"a": 1, "b": 1, "c": 1}, "name": "longest"},
            rawdoc! {"v": 2, "key": {"a": 1.0, "b": -1}, "name": "longer"},
            rawdoc! {"v": 2, "key": {"h": "hashed"}, "name": "hashed"},
        ];
        let rows = [
            (rawdoc! {"a": 1}, Some("longer")),
            (rawdoc! {"a": 1, "b": 1, "c": 1}, Some("longest")),
            (rawdoc! {"h": "hashed"}, Some("hashed")),
            (rawdoc! {"h": 1}, None),
            (rawdoc! {"_id": 1}, None),
        ];
        for (key, expect) in rows {
            let found = of_shard_key(&specs, &key);
            assert_eq!(found.as_ref().map(|s| s.get_str("name").unwrap()), expect, "{key:?}");
        }
    }
}
