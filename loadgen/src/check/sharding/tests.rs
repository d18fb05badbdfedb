//! Metadata that differs in one thing.

use std::time::Duration;

use bson::{RawBson, RawDocumentBuf, rawdoc};

use super::*;
use crate::check::sharding::metadata::{Sharded, carried};

fn range(min: impl Into<RawBson>, max: impl Into<RawBson>, name: &str) -> Range {
    let bound = |value: RawBson| rawdoc! { "k": value }.into_bytes();
    Range {
        min: bound(min.into()),
        max: bound(max.into()),
        name: name.to_owned(),
    }
}

fn side(change: impl FnOnce(&mut Metadata)) -> Metadata {
    let (low, high) = (
        range(RawBson::MinKey, 5, "shard0"),
        range(5, RawBson::MaxKey, "shard1"),
    );
    let options = carried(rawdoc! { "key": { "k": 1 }, "unique": false }.as_bytes());
    let sharded = Sharded {
        uuid: None,
        options,
        chunks: vec![low, high],
    };
    let mut side = Metadata {
        primaries: BTreeMap::from([("d".to_owned(), "shard0".to_owned())]),
        collections: BTreeMap::from([("d.c".to_owned(), sharded)]),
        zones: BTreeMap::from([("d.c".to_owned(), BTreeSet::from([range(0, 9, "far")]))]),
        shards: BTreeMap::from([("shard1".to_owned(), BTreeSet::from(["far".to_owned()]))]),
    };
    change(&mut side);
    side
}

fn with_options(side: &mut Metadata, row: RawDocumentBuf) {
    side.collections.get_mut("d.c").unwrap().options = carried(row.as_bytes());
}

fn with_chunks(side: &mut Metadata, chunks: Vec<Range>) {
    side.collections.get_mut("d.c").unwrap().chunks = chunks;
}

/// What differs, and how the target of a row was changed.
type Row = (Option<&'static str>, fn(&mut Metadata));

#[test]
fn metadata_that_differs_in_one_thing_is_named_by_it() {
    let rows: [Row; 14] = [
        (None, |_| ()),
        (None, |side| {
            let halves = [range(RawBson::MinKey, 2, "shard0"), range(2, 5, "shard0")];
            with_chunks(
                side,
                [&halves[..], &[range(5, RawBson::MaxKey, "shard1")]].concat(),
            );
        }),
        (Some("chunks"), |side| {
            let chunks = vec![
                range(RawBson::MinKey, 5, "shard0"),
                range(5, RawBson::MaxKey, "shard0"),
            ];
            with_chunks(side, chunks);
        }),
        (Some("chunks"), |side| {
            let chunks = vec![
                range(RawBson::MinKey, 5_i64, "shard0"),
                range(5_i64, RawBson::MaxKey, "shard1"),
            ];
            with_chunks(side, chunks);
        }),
        (Some("chunks"), |side| {
            with_chunks(side, vec![range(RawBson::MinKey, 5, "shard0")])
        }),
        (Some("sharding"), |side| {
            with_options(side, rawdoc! { "key": { "k": 1 }, "unique": true })
        }),
        (Some("sharding"), |side| {
            with_options(side, rawdoc! { "key": { "k": 1.0 } })
        }),
        (Some("sharding"), |side| {
            with_options(side, rawdoc! { "key": { "k": 1 }, "noBalance": true })
        }),
        (Some("sharding"), |side| side.collections.clear()),
        (Some("primary shard"), |side| {
            _ = side.primaries.insert("d".into(), "shard1".into())
        }),
        (Some("zones"), |side| side.zones.clear()),
        (Some("zones"), |side| {
            _ = side
                .zones
                .insert("d.c".into(), BTreeSet::from([range(0, 9_i64, "far")]))
        }),
        (Some("zones"), |side| {
            _ = side
                .zones
                .insert("d.gone".into(), BTreeSet::from([range(0, 9, "far")]))
        }),
        (Some("shard zones"), |side| side.shards.clear()),
    ];
    let names = Names(
        ["shard0", "shard1"]
            .map(|name| (name.to_owned(), name.to_owned()))
            .into(),
    );
    for (row, (wanted, change)) in rows.into_iter().enumerate() {
        let findings = Findings::new(10);
        compare_all(&names, &side(|_| ()), &side(change), &findings);
        let report = findings.report(Default::default(), Duration::ZERO);
        assert_eq!(
            report.differences.iter().map(|found| found.kind).next(),
            wanted,
            "row {row}: {report}"
        );
    }
}

#[test]
fn shards_have_other_names_on_the_target() {
    let names = Names(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    let chunks = [range(RawBson::MinKey, RawBson::MaxKey, "a")];
    assert_eq!(intervals(&chunks, |shard| names.mapped(shard))[0].name, "b");
}
