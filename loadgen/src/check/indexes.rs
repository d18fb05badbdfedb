//! Every index of every collection, each as the set of its options in raw bytes:
//! as the router shows them, and on each shard that holds a part.
//!
//! Knows nothing about what the indexes are for.

use std::collections::BTreeMap;

use mongodb::Client;

use super::catalog::{Collection, Place};
use super::fields::{self, Options};
use super::raw::{INT64, Value};
use super::report::Findings;
use super::sharding::metadata::Metadata;
use super::{Sides, raw, rows};
use crate::error::Result;

/// NamespaceNotFound (server source, `error_codes.yml`).
const NAMESPACE_NOT_FOUND: i32 = 26;
/// An expiry is the same whichever number type it was given in: the server takes it
/// as a whole number, and what changes it stores one.
const EXPIRY: &[u8] = b"expireAfterSeconds";
/// Written by servers before 4.4: no property of the index.
const NAMESPACE: &[u8] = b"ns";

/// The specifications of one collection, by name.
type Indexes = BTreeMap<Vec<u8>, Options>;

pub(super) async fn compare(
    sides: &Sides,
    both: &[Collection],
    metadata: &(Metadata, Metadata),
    findings: &Findings,
) -> Result<()> {
    for collection in both
        .iter()
        .filter(|collection| collection.holds_documents())
    {
        let ns = collection.ns();
        let source = read(&sides.source.client, &collection.source).await?;
        let target = read(&sides.target.client, &collection.target).await?;
        compare_sets(&ns, "", &source, &target, findings);
        for (i, j) in sides.pairs.iter().flatten().enumerate() {
            let (from, to) = (&sides.source.shards[i], &sides.target.shards[*j]);
            let holds = |metadata: &Metadata, id: &str| {
                metadata
                    .sharded(&ns)
                    .is_some_and(|sharded| sharded.is_on(id))
            };
            if holds(&metadata.0, &from.id) && holds(&metadata.1, &to.id) {
                let source = read(&from.client, &collection.source).await?;
                let target = read(&to.client, &collection.target).await?;
                compare_sets(
                    &ns,
                    &format!("on shard {} ", to.id),
                    &source,
                    &target,
                    findings,
                );
            }
        }
    }
    Ok(())
}

async fn read(client: &Client, place: &Place) -> Result<Indexes> {
    match rows::indexes(client, &place.database, &place.name).await {
        Err(error) if error.code == Some(NAMESPACE_NOT_FOUND) => Ok(Indexes::new()),
        rows => Ok(rows?.iter().map(|row| index(row)).collect()),
    }
}

fn index(row: &[u8]) -> (Vec<u8>, Options) {
    let name = raw::field(row, "name")
        .and_then(|name| name.text_bytes())
        .unwrap_or_default()
        .to_vec();
    let mut options = fields::of(row);
    options.remove(NAMESPACE);
    for value in options.get_mut(EXPIRY).into_iter().flatten() {
        if let Some(seconds) = value.as_whole() {
            *value = Value {
                kind: INT64,
                bytes: seconds.to_le_bytes().to_vec(),
            };
        }
    }
    (name, options)
}

fn compare_sets(ns: &str, place: &str, source: &Indexes, target: &Indexes, findings: &Findings) {
    for name in target.keys().filter(|name| !source.contains_key(*name)) {
        findings.add(ns, "extra index", || format!("{place}{}", raw::name(name)));
    }
    for (name, index) in source {
        let shown = || format!("{place}{}", raw::name(name));
        match target.get(name) {
            None => findings.add(ns, "missing index", shown),
            Some(other) => fields::compare(ns, "index", &shown(), index, other, findings),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::raw::cstr;
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn spec(more: RawDocumentBuf) -> RawDocumentBuf {
        let mut spec = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1" };
        more.iter()
            .flatten()
            .for_each(|(name, value)| spec.append(name, value));
        spec
    }

    fn twice(first: i32, second: i32) -> RawDocumentBuf {
        let mut filter = RawDocumentBuf::new();
        filter.append(cstr!("a"), first);
        filter.append(cstr!("a"), second);
        let mut spec = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1" };
        spec.append(cstr!("partialFilterExpression"), filter);
        spec
    }

    #[test]
    fn specifications_that_differ_in_one_option_are_told_apart() {
        let id = |version: i32| rawdoc! { "v": version, "key": { "_id": 1 }, "name": "_id_" };
        let rows = [
            (
                spec(rawdoc! {}),
                rawdoc! { "name": "a_1", "key": { "a": 1 }, "v": 2 },
                None,
            ),
            (
                spec(rawdoc! {}),
                rawdoc! { "v": 2, "key": { "a": 1.0 }, "name": "a_1" },
                Some("index"),
            ),
            (
                spec(rawdoc! {}),
                rawdoc! { "v": 2, "key": { "a": 1_i64 }, "name": "a_1" },
                Some("index"),
            ),
            (id(1), id(2), Some("index")),
            (
                spec(rawdoc! { "expireAfterSeconds": 5 }),
                spec(rawdoc! { "expireAfterSeconds": 5_i64 }),
                None,
            ),
            (
                spec(rawdoc! { "expireAfterSeconds": 5.7 }),
                spec(rawdoc! { "expireAfterSeconds": 5_i64 }),
                None,
            ),
            (
                spec(rawdoc! { "expireAfterSeconds": 5 }),
                spec(rawdoc! { "expireAfterSeconds": 6 }),
                Some("index"),
            ),
            (
                spec(rawdoc! { "expireAfterSeconds": 5 }),
                spec(rawdoc! {}),
                Some("index"),
            ),
            (
                spec(rawdoc! { "unique": true }),
                spec(rawdoc! {}),
                Some("index"),
            ),
            (
                spec(rawdoc! { "prepareUnique": true }),
                spec(rawdoc! {}),
                Some("index"),
            ),
            (
                spec(rawdoc! { "hidden": true }),
                spec(rawdoc! {}),
                Some("index"),
            ),
            (
                spec(rawdoc! { "sparse": 1 }),
                spec(rawdoc! { "sparse": true }),
                Some("index"),
            ),
            (
                spec(rawdoc! { "collation": { "locale": "de", "strength": 2 } }),
                spec(rawdoc! { "collation": { "locale": "de", "strength": 3 } }),
                Some("index"),
            ),
            (twice(1, 2), twice(1, 2), None),
            // The same where a decoder keeps the last one.
            (twice(1, 2), twice(3, 2), Some("index")),
            (
                spec(rawdoc! {}),
                rawdoc! { "v": 2, "key": { "a": 1 }, "name": "b" },
                Some("extra index"),
            ),
        ];
        for (source, target, wanted) in rows {
            let findings = Findings::new(10);
            let set = |row: &RawDocumentBuf| Indexes::from([index(row.as_bytes())]);
            compare_sets("d.c", "", &set(&source), &set(&target), &findings);
            let report = findings.report(Default::default(), Duration::ZERO);
            assert_eq!(
                report.differences.first().map(|found| found.kind),
                wanted,
                "{source:?} {target:?}"
            );
        }
    }
}
