//! Specifications of indexes.

use bson::Decimal128;

use super::*;

#[test]
fn an_index_keeps_its_simple_collation_and_loses_what_waits_for_the_cutover() {
    let spec = rawdoc! {"key": {"a": 1}, "expireAfterSeconds": 5, "prepareUnique": true};
    let own = rawdoc! {"key": {"a": 1}, "collation": {"locale": "de"}};
    let simple = rawdoc! {"key": {"a": 1}, "collation": {"locale": "simple"}};
    let rows = [
        (false, &spec, rawdoc! {"key": {"a": 1}}),
        (true, &spec, simple),
        (true, &own, own.clone()),
    ];
    for (collated, spec, expect) in rows {
        assert_eq!(to_create(collated, None, spec), expect, "{spec:?}");
    }
    let never = rawdoc! {"key": {"a": 1}, "expireAfterSeconds": 7i64};
    assert_eq!(to_create(false, Some(7), &spec), never);
    assert_eq!(to_create(false, Some(7), &own), own);
    assert_eq!(to_create(false, Some(4), &spec), rawdoc! {"key": {"a": 1}});
}

#[test]
fn what_waits_for_the_cutover_is_what_is_not_built() {
    let rows = [
        (rawdoc! {"v": 2, "name": "n"}, None),
        (rawdoc! {"v": 2, "name": "n", "prepareUnique": false}, None),
        (
            rawdoc! {"prepareUnique": true, "v": 2, "name": "n"},
            Some(rawdoc! {"name": "n", "prepareUnique": true}),
        ),
        (
            rawdoc! {"v": 2, "expireAfterSeconds": 2.5, "name": "n"},
            Some(rawdoc! {"name": "n", "expireAfterSeconds": 2.5}),
        ),
    ];
    for (spec, expect) in rows {
        assert_eq!(held_back(&spec), expect, "{spec:?}");
    }
}

/// A filter with a field that is there twice, or text that is no UTF-8.
fn filtered(values: &[&[u8]]) -> RawDocumentBuf {
    let values: Vec<Vec<u8>> = values.iter().map(|value| string_value(value)).collect();
    let filter = document(values.iter().map(|value| Element {
        kind: kind::STRING,
        name: b"a",
        value: value.as_slice(),
    }));
    rawdoc! {"key": {"a": 1}, "name": "n", "partialFilterExpression": filter}
}

#[test]
fn two_specifications_are_the_same_option_for_option() {
    let plain = || rawdoc! {"v": 2, "key": {"a": 1}, "name": "n"};
    let with = |more: RawDocumentBuf| document(elements(&plain()).chain(elements(&more)));
    let rows = [
        (
            plain(),
            rawdoc! {"name": "n", "v": 2.0, "key": {"a": 1}, "ns": "d.c"},
            true,
        ),
        (
            plain(),
            rawdoc! {"v": 1, "key": {"a": 1}, "name": "n"},
            false,
        ),
        (
            plain(),
            rawdoc! {"v": 2, "key": {"a": 1.0}, "name": "n"},
            false,
        ),
        (
            plain(),
            rawdoc! {"v": 2, "key": {"a": Decimal128::from_bytes([0; 16])}, "name": "n"},
            false,
        ),
        (
            plain(),
            rawdoc! {"v": 2, "key": {"a": 1}, "name": "m"},
            false,
        ),
        (
            plain(),
            with(rawdoc! {"unique": false, "hidden": false, "dropDups": true}),
            true,
        ),
        (
            plain(),
            with(rawdoc! {"collation": {"locale": "simple"}}),
            true,
        ),
        (
            plain(),
            with(rawdoc! {"collation": {"locale": "de"}}),
            false,
        ),
        (plain(), with(rawdoc! {"hidden": true}), false),
        (plain(), with(rawdoc! {"sparse": false}), false),
        (plain(), with(rawdoc! {"expireAfterSeconds": 5}), false),
        (plain(), with(rawdoc! {"prepareUnique": true}), false),
        (
            with(rawdoc! {"unique": true}),
            with(rawdoc! {"unique": 1.0}),
            true,
        ),
        (
            with(rawdoc! {"bits": 26.0}),
            with(rawdoc! {"bits": 26}),
            true,
        ),
        (
            with(rawdoc! {"min": -1.5}),
            with(rawdoc! {"min": -1}),
            false,
        ),
        (with(rawdoc! {"name": "second"}), plain(), true),
        (filtered(&[b"x", b"y"]), filtered(&[b"x", b"y"]), true),
        (filtered(&[b"x", b"y"]), filtered(&[b"y"]), false),
        (filtered(&[b"\xff"]), filtered(&[b"\xfe"]), false),
    ];
    for (a, b, expect) in rows {
        assert_eq!(
            (same(&a, &b), same(&b, &a)),
            (expect, expect),
            "{a:?} {b:?}"
        );
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
        assert_eq!(
            found.as_ref().map(|s| s.get_str("name").unwrap()),
            expect,
            "{key:?}"
        );
    }
}
