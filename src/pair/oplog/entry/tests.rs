//! Entries of every kind, and bytes that are none.

use bson::{RawArrayBuf, RawBson, RawDocumentBuf, Timestamp, rawdoc};
use proptest::prelude::*;

use super::*;
use crate::bson::element::elements_of;
use crate::bson::samples::{self, any_or_damaged, framed};
use crate::pair::oplog::namings::Namings;

fn uuid() -> bson::Binary {
    Uuid::from_bytes([3; 16]).into()
}

#[test]
fn crud_entries_become_ops() {
    let ts = Timestamp {
        time: 5,
        increment: 1,
    };
    let o = |doc: bson::RawDocumentBuf| doc;
    for (op, o, o2, expect) in [
        ("i", o(rawdoc! {"_id": 1, "a": 2}), None, OpKind::Insert),
        ("d", o(rawdoc! {"_id": 1}), None, OpKind::Delete),
        (
            "u",
            o(rawdoc! {"$v": 2, "diff": {"u": {"a": 3}}}),
            Some(rawdoc! {"k": 9, "_id": 1}),
            OpKind::Delta,
        ),
        // As 4.2.6 and 4.4.2 log it.
        (
            "u",
            o(rawdoc! {"$v": 1, "$set": {"z": 1}, "$unset": {"a": true}}),
            Some(rawdoc! {"_id": 1}),
            OpKind::Delta,
        ),
        (
            "u",
            o(rawdoc! {"_id": 1, "a": 4}),
            Some(rawdoc! {"_id": 1}),
            OpKind::Replace,
        ),
        // A replacement whose document has a field called diff is no delta.
        (
            "u",
            o(rawdoc! {"_id": 1, "diff": {"x": 1}}),
            Some(rawdoc! {"_id": 1}),
            OpKind::Replace,
        ),
    ] {
        let mut raw = rawdoc! {"ts": ts, "t": 1i64, "op": op, "ns": "a.b", "ui": uuid(), "o": o};
        if let Some(o2) = o2 {
            raw.append(bson::raw::cstr!("o2"), o2);
        }
        let entry = Entry::read(&raw).expect("readable");
        let op = entry.crud(entry.position).expect("crud");
        assert_eq!(
            (op.kind, op.id.readable()),
            (expect, Some(RawBson::Int32(1)))
        );
    }
}

#[test]
fn moves_of_chunks_are_told_by_what_their_shards_write() {
    let entry = |op: &str, ns: &str, o2: bson::RawDocumentBuf| rawdoc! {"op": op, "ns": ns, "o": {"_id": 1}, "o2": o2};
    let rows = [
        (
            "n",
            "d.c",
            rawdoc! {"sessionMigrateCloneStart": "d.c"},
            true,
        ),
        ("n", "d.c", rawdoc! {"type": "reshardBegin"}, false),
        ("i", "config.rangeDeletions", rawdoc! {"_id": 1}, true),
        ("u", "config.rangeDeletions", rawdoc! {"_id": 1}, false),
        ("d", "config.rangeDeletions", rawdoc! {"_id": 1}, true),
        (
            "u",
            "config.migrationCoordinators",
            rawdoc! {"_id": 1},
            true,
        ),
        (
            "d",
            "config.migrationCoordinators",
            rawdoc! {"_id": 1},
            true,
        ),
        ("i", "config.transactions", rawdoc! {"_id": 1}, false),
    ];
    for (op, ns, o2, expect) in rows {
        let raw = entry(op, ns, o2);
        assert_eq!(
            Entry::read(&raw).expect("readable").tells_of_a_move(),
            expect,
            "{op} {ns}"
        );
    }
}

#[test]
fn a_delta_of_a_prepared_transaction_that_may_move_fields_is_unclear() {
    for (o, prepared, expect) in [
        (rawdoc! {"$v": 1, "$set": {"a": 1}}, true, OpKind::Delta),
        (
            rawdoc! {"$v": 1, "$unset": {"a": true}},
            false,
            OpKind::Delta,
        ),
        (
            rawdoc! {"$v": 1, "$unset": {"a": true}},
            true,
            OpKind::Unclear,
        ),
        (
            rawdoc! {"$v": 2, "diff": {"d": {"a": false}}},
            true,
            OpKind::Delta,
        ),
    ] {
        let raw = rawdoc! {"op": "u", "ns": "a.b", "ui": uuid(), "o": o.clone(), "o2": {"_id": 1}};
        let entry = Entry {
            prepared,
            ..Entry::read(&raw).expect("readable")
        };
        let op = entry.crud(Position::default()).expect("known");
        assert_eq!(op.kind, expect, "{o:?}");
    }
}

#[test]
fn an_update_of_an_unknown_form_stops_the_pair() {
    let raw = rawdoc! {"op": "u", "ns": "a.b", "ui": uuid(), "o": {"$v": 3, "patch": {}}, "o2": {"_id": 1}};
    let entry = Entry::read(&raw).expect("readable");
    assert!(entry.crud(Position::default()).is_err());
}

/// One of each kind: `{op, o, o2}`.
fn kinds() -> Vec<(&'static str, RawDocumentBuf, Option<RawDocumentBuf>)> {
    let inside = |op: &str, o: RawDocumentBuf| rawdoc! {"op": op, "ns": "a.b", "ui": uuid(), "o": o, "o2": {"_id": 1}};
    let operations = [
        inside("i", rawdoc! {"_id": 1, "create": "x"}),
        inside("c", rawdoc! {"create": "x"}),
    ];
    let index = rawdoc! {"v": 2, "key": {"a": 1}, "name": "a"};
    let id = || Some(rawdoc! {"k": 1, "_id": 1});
    vec![
        ("i", samples::every_type(), None),
        (
            "u",
            rawdoc! {"$v": 2, "diff": {"u": {"a": 1}, "s.b": {"a": true, "u0": 1}}},
            id(),
        ),
        (
            "u",
            rawdoc! {"$v": 1, "$set": {"a.b": 1}, "$unset": {"c": true}},
            id(),
        ),
        ("d", rawdoc! {"_id": 1}, None),
        (
            "n",
            rawdoc! {"msg": "x"},
            Some(rawdoc! {"sessionMigrateCloneStart": "a.b"}),
        ),
        (
            "c",
            rawdoc! {"applyOps": RawArrayBuf::from_iter(operations), "prepare": true},
            None,
        ),
        (
            "c",
            rawdoc! {"create": "b", "capped": true, "size": 4096},
            None,
        ),
        (
            "c",
            rawdoc! {"renameCollection": "a.b", "to": "a.c", "dropTarget": uuid()},
            None,
        ),
        (
            "c",
            rawdoc! {"commitIndexBuild": "b", "indexBuildUUID": uuid(), "indexes": [index.clone()]},
            None,
        ),
        ("c", rawdoc! {"dropIndexes": "b", "index": "a"}, Some(index)),
        (
            "c",
            rawdoc! {"collMod": "b", "index": {"name": "a", "hidden": true}},
            None,
        ),
    ]
}

fn whole((op, o, o2): (&str, RawDocumentBuf, Option<RawDocumentBuf>)) -> RawDocumentBuf {
    let ts = Timestamp {
        time: 5,
        increment: 1,
    };
    let before = rawdoc! {"ts": ts, "t": 1i64};
    let mut raw = rawdoc! {
        "lsid": {"id": uuid()}, "txnNumber": 1i64, "op": op, "ns": "a.b", "ui": uuid(), "o": o,
        "ts": ts, "t": 1i64, "wall": bson::DateTime::from_millis(7), "prevOpTime": before,
    };
    if let Some(o2) = o2 {
        raw.append(bson::raw::cstr!("o2"), o2);
    }
    raw
}

/// All that is read of an entry.
fn read_all(raw: &RawDocument) {
    let _ = Entry::mark_of(raw);
    let Ok(entry) = Entry::read(raw) else { return };
    let told = |entry: &Entry<'_>| {
        let all = [
            entry.tells_of_a_move(),
            entry.changes_fcv(),
            entry.is_of_views(),
            entry.deletes_nothing(),
        ];
        (all, entry.database().len())
    };
    told(&entry);
    if let Ok(op) = entry.crud(entry.position) {
        let _ = (op.id.readable(), delta::may_move_fields(op.body));
    }
    let _ = entry.meaning();
    for inner in entry
        .operations(entry.position)
        .into_iter()
        .flatten()
        .flatten()
    {
        told(&inner);
        let _ = (inner.crud(entry.position).is_ok(), inner.meaning().is_ok());
    }
    let mut namings = Namings::default();
    namings.note(raw);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_of_an_entry_are_too_odd_to_be_read_or_refused(
        raw in prop::sample::select(kinds()).prop_flat_map(|kind| any_or_damaged(whole(kind).into_bytes())),
    ) {
        read_all(&framed(raw));
    }

    /// Never taken for what is left of it.
    #[test]
    fn an_entry_that_is_cut_is_refused(
        kind in prop::sample::select(kinds()),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = whole(kind).into_bytes();
        // Inside an element: after one it would be an entry with fewer fields.
        let mut ends = vec![4];
        for element in elements_of(&whole) {
            ends.push(ends[ends.len() - 1] + element.bytes());
        }
        let cut = 5 + cut.index(whole.len() - 6);
        if !ends.contains(&cut) {
            let mut bytes = whole[..cut].to_vec();
            bytes.push(0);
            prop_assert!(Entry::read(&framed(bytes)).is_err());
        }
    }
}
