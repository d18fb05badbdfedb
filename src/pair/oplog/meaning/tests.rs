//! Each command of the oplog has its row, and each row its meaning.

use super::*;
use bson::{RawDocumentBuf, Timestamp, rawdoc};

use crate::pair::op::OpKind::{Delete, Insert, Replace, Unclear};

/// The commands that 6.0.5 can apply, as its own table names them.
const COMMANDS_OF_6_0: &str = "create createIndexes startIndexBuild commitIndexBuild abortIndexBuild collMod dbCheck \
    dropDatabase drop deleteIndex deleteIndexes dropIndex dropIndexes renameCollection importCollection applyOps \
    convertToCapped emptycapped commitTransaction abortTransaction";

#[test]
fn every_command_that_the_server_can_write_has_exactly_one_row() {
    let commands: Vec<&str> = COMMANDS_OF_6_0.split_whitespace().collect();
    for command in &commands {
        assert_eq!(
            ROWS.iter().filter(|(name, _)| name == command).count(),
            1,
            "{command}"
        );
    }
    assert_eq!(
        ROWS.len(),
        commands.len(),
        "a row of a command that the server has not"
    );
}

fn meaning(o: RawDocumentBuf) -> String {
    let raw = rawdoc! {"op": "c", "ns": "a.$cmd", "o": o};
    format!("{:?}", Entry::read(&raw).expect("readable").meaning())
}

#[test]
fn what_is_not_carried_over_is_refused_with_a_remedy_of_its_own() {
    let refused = |name: &str| {
        meaning(RawDocumentBuf::from_iter([(
            bson::raw::CString::try_from(name).unwrap(),
            1,
        )]))
    };
    let mut remedies = std::collections::BTreeMap::new();
    for name in [
        "convertToCapped",
        "emptycapped",
        "importCollection",
        "neverHeardOf",
    ] {
        let text = refused(name);
        assert!(
            text.starts_with("Ok(Refused") && text.contains(name),
            "{text}"
        );
        remedies.insert(
            text.split_once("remedy").expect("it has one").1.to_owned(),
            name,
        );
    }
    assert_eq!(remedies.len(), 4, "{remedies:?}");
}

#[test]
fn a_rename_may_drop_what_had_the_name() {
    let rename = |dropped: Option<bson::RawBson>| {
        let mut o = rawdoc! {"renameCollection": "d.a", "to": "d.b", "stayTemp": false};
        dropped
            .into_iter()
            .for_each(|uuid| o.append(bson::cstr!("dropTarget"), uuid));
        meaning(o)
    };
    let plain = "Ok(Rename { from: \"d.a\", to: \"d.b\", dropped: ";
    assert_eq!(rename(None), format!("{plain}None }})"));
    assert!(rename(Some(ui().into())).starts_with(&format!("{plain}Some(")));
    assert!(rename(Some(true.into())).contains("does not tell"));
}

#[test]
fn changed_options_are_followed() {
    for o in [
        rawdoc! {"collMod": "c"},
        rawdoc! {"collMod": "c", "validator": {}},
        rawdoc! {"collMod": "c", "cappedSize": 4096i64},
        rawdoc! {"collMod": "c", "index": {"name": "a", "hidden": true}},
    ] {
        assert_eq!(meaning(o.clone()), "Ok(Modify)", "{o:?}");
    }
}

#[test]
fn what_changes_no_data_is_nothing() {
    for o in [
        rawdoc! {"dbCheck": "d.c", "type": "batch", "md5": "x"},
        rawdoc! {"dbCheck": "admin.$cmd", "type": "start"},
        rawdoc! {"dropDatabase": 1},
        rawdoc! {},
    ] {
        assert_eq!(meaning(o.clone()), "Ok(Nothing)", "{o:?}");
    }
}

#[test]
fn transactions_are_told_apart_by_their_last_entry() {
    let none = rawdoc! {"ts": Timestamp { time: 0, increment: 0 }, "t": -1i64};
    let some = rawdoc! {"ts": Timestamp { time: 4, increment: 2 }, "t": 1i64};
    let entry = |o: bson::RawDocumentBuf, previous: &bson::RawDocumentBuf| {
        rawdoc! {"op": "c", "ns": "admin.$cmd", "o": o, "lsid": {"id": 1}, "txnNumber": 3i64, "prevOpTime": previous.clone()}
    };
    let check = |raw: bson::RawDocumentBuf, expect: &str| {
        let meaning = format!(
            "{:?}",
            Entry::read(&raw)
                .expect("readable")
                .meaning()
                .expect("known")
        );
        let name = meaning.split_whitespace().next();
        assert_eq!(name, Some(expect), "{meaning}");
    };
    check(entry(rawdoc! {"applyOps": []}, &none), "Apply");
    check(
        entry(rawdoc! {"applyOps": [], "partialTxn": true}, &none),
        "Part",
    );
    check(
        entry(rawdoc! {"applyOps": [], "count": 9i64}, &some),
        "ApplyChain",
    );
    check(
        entry(rawdoc! {"applyOps": [], "prepare": true}, &some),
        "Part",
    );
    check(entry(rawdoc! {"commitTransaction": 1}, &some), "Commit");
    check(entry(rawdoc! {"abortTransaction": 1}, &some), "Abort");
}

#[test]
fn what_a_users_apply_ops_made_is_unclear_and_what_a_transaction_did_is_not() {
    let zero = Timestamp {
        time: 0,
        increment: 0,
    };
    let set =
        rawdoc! {"op": "u", "ns": "a.b", "ui": ui(), "o": {"$set": {"a": 1}}, "o2": {"_id": 1}};
    let replace =
        rawdoc! {"op": "u", "ns": "a.b", "ui": ui(), "o": {"_id": 1, "a": 2}, "o2": {"_id": 1}};
    let insert = rawdoc! {"op": "i", "ns": "a.b", "ui": ui(), "o": {"_id": 1, "a": 2}};
    let odd = rawdoc! {"op": "i", "ns": "a.b", "ui": ui(), "o": {"_id": 1, "a": zero}};
    let delete = rawdoc! {"op": "d", "ns": "a.b", "ui": ui(), "o": {"_id": 1}};
    let kinds = |raw: &RawDocument| {
        let entry = Entry::read(raw).expect("readable");
        let ops: Vec<_> = entry
            .operations(entry.position)
            .expect("it has some")
            .map(|op| op.unwrap())
            .collect();
        ops.iter()
            .map(|op| op.crud(op.position).expect("known").kind)
            .collect::<Vec<_>>()
    };
    let ops: bson::RawArrayBuf = [&set, &replace, &insert, &odd, &delete]
        .into_iter()
        .cloned()
        .collect();
    let users = rawdoc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": ops, "lsid": {"id": 1}}};
    assert_eq!(kinds(&users), [Unclear, Unclear, Insert, Unclear, Unclear]);
    let ops: bson::RawArrayBuf = [replace, odd, delete].into_iter().collect();
    let transaction = rawdoc! {
        "op": "c", "ns": "admin.$cmd", "o": {"applyOps": ops}, "lsid": {"id": 1}, "txnNumber": 3i64,
    };
    assert_eq!(kinds(&transaction), [Replace, Insert, Delete]);
}

fn ui() -> bson::Binary {
    Uuid::from_bytes([3; 16]).into()
}
