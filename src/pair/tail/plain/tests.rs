//! What becomes of an entry that is no command, by what the gate knows of its collection.

use std::sync::Arc;

use bson::{RawDocumentBuf, Timestamp, Uuid, rawdoc};

use super::*;
use crate::bson::shard_key::ShardKeyPattern;
use crate::cluster::catalog::Namespace;
use crate::cluster::ownership::Ownership;
use crate::pair::budget::Share;
use crate::pair::collection::{Tracked, Traits};
use crate::pair::gate::held::Stretch;
use crate::pair::gate::opening::Opening;
use crate::position::Mark;
use crate::state;

/// How many entries are passed, by a tail that has passed 5.
async fn passed(entries: &[RawDocumentBuf]) -> Result<u64> {
    let start = Mark {
        position: Timestamp {
            time: 5,
            increment: 0,
        }
        .into(),
        term: 1,
    };
    let (gate, view, metrics) = (
        Gate::new(start, Vec::new()).into(),
        Mutex::default(),
        PairMetrics::default(),
    );
    let mut plain = Plain {
        gate: &gate,
        view: &view,
        metrics: &metrics,
        unseen: Unseen {
            scope: &Scope::default(),
            catalog_position: Position::default(),
            begun: Position::default(),
        },
        transactions: &mut Transactions::default(),
        at: &mut start.position.clone(),
    };
    let mut origin = Origin::copied(Share::new(0).reserve_reply().await);
    plain.pass(&mut entries.iter().map(|raw| Ok(&**raw)), &mut origin)?;
    Ok(metrics.entries_read.load(Relaxed))
}

#[tokio::test]
async fn what_was_passed_is_skipped_and_what_has_no_position_is_an_error() {
    let no_op = |time| rawdoc! { "ts": Timestamp { time, increment: 0 }, "t": 1i64, "op": "n", "ns": "", "o": {} };
    assert_eq!(
        passed(&[no_op(4), no_op(5), no_op(6), no_op(7)])
            .await
            .unwrap(),
        2
    );
    let error = passed(&[no_op(6), rawdoc! { "op": "n", "ns": "", "o": {} }])
        .await
        .unwrap_err();
    assert!(error.message.contains("without a position"), "{error}");
}

/// What happens to a marked entry of a collection in the state that `track` leaves it
/// in.
async fn marked(op: &str, k: i32, track: impl FnOnce(&mut Gate, &Arc<Tracked>)) -> (bool, u64) {
    let at = |raw| Position::from_raw(raw);
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let tracked = Arc::new(Tracked::new(
        Uuid::from_bytes([7; 16]),
        ns,
        Traits::default(),
    ));
    let mut gate = Gate::new(
        Mark {
            position: at(1),
            term: 1,
        },
        vec![Arc::default()],
    );
    track(&mut gate, &tracked);
    let o2 = rawdoc! { "_id": 1 };
    let o = if op == "d" {
        o2.clone()
    } else {
        rawdoc! { "_id": 1, "k": k }
    };
    let ui = bson::Binary::from(tracked.uuid);
    let raw = rawdoc! { "op": op, "ns": "d.c", "ui": ui, "fromMigrate": true, "o": o, "o2": o2 };
    gate.begin(at(5));
    let mut origin = Origin::copied(Share::new(0).reserve_reply().await);
    let change = classify(
        &mut gate,
        &Entry::read(&raw).unwrap(),
        at(5),
        Unseen {
            scope: &Scope::default(),
            catalog_position: at(1),
            begun: at(1),
        },
        &mut origin,
    )
    .unwrap();
    let counted = change.is_some();
    gate.pass(Mark {
        position: at(5),
        term: 1,
    });
    (counted, gate.watermark().raw())
}

/// Owns `k` from 0 on.
fn half(gate: &mut Gate, tracked: &Arc<Tracked>) {
    let (min, max) = (rawdoc! { "k": 0 }, rawdoc! { "k": bson::RawBson::MaxKey });
    let pattern = ShardKeyPattern::new(rawdoc! { "k": 1 }).unwrap();
    tracked.own(Ownership {
        pattern,
        intervals: vec![(min, max)],
    });
    tracked.bind(Uuid::new());
    gate.admit(tracked.clone(), &[], &[state::UnitState::Settled]);
}

fn unsharded(gate: &mut Gate, tracked: &Arc<Tracked>) {
    tracked.bind(Uuid::new());
    gate.admit(tracked.clone(), &[], &[state::UnitState::Settled]);
}

#[tokio::test]
async fn a_marked_entry_counts_unless_a_chunk_of_its_collection_may_move() {
    for op in ["i", "u", "d"] {
        assert_eq!(
            marked(op, 1, unsharded).await,
            (true, 4),
            "{op}: queued, and not applied yet"
        );
        let owned = if op == "i" { (true, 4) } else { (false, 5) };
        assert_eq!(
            marked(op, 1, half).await,
            owned,
            "{op} of what this shard owns"
        );
        assert_eq!(
            marked(op, -1, half).await,
            (false, 5),
            "{op} of what it does not own"
        );
    }
}

#[tokio::test]
async fn a_write_that_cannot_be_read_stops_nothing_where_the_copy_has_it() {
    let at = Position::from_raw;
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let tracked = Tracked::new(Uuid::from_bytes([7; 16]), ns, Traits::default());
    let tracked = Arc::new(tracked.planned(at(9)));
    let begun = Mark {
        position: at(1),
        term: 1,
    };
    let mut gate = Gate::new(begun, vec![Arc::default()]);
    unsharded(&mut gate, &tracked);
    gate.begin(at(11));
    let mut origin = Origin::copied(Share::new(0).reserve_reply().await);
    let mut met = |uuid: u8, position: u64| {
        let ui = bson::Binary::from(Uuid::from_bytes([uuid; 16]));
        let o = rawdoc! { "$v": 9, "other": {} };
        let raw = rawdoc! { "op": "u", "ns": "d.c", "ui": ui, "o": o, "o2": { "_id": 1 } };
        let entry = Entry::read(&raw).unwrap();
        let unseen = Unseen {
            scope: &Scope::default(),
            catalog_position: at(1),
            begun: at(1),
        };
        let met = classify(&mut gate, &entry, at(position), unseen, &mut origin);
        met.map(|change| change.is_some())
    };
    assert!(!met(7, 9).unwrap(), "it is in the copy");
    for (uuid, position) in [(7, 10), (8, 9)] {
        let error = met(uuid, position).unwrap_err();
        let remedy = error.remedy.unwrap();
        assert!(
            remedy.contains("recopy --shard <its name> --ns"),
            "{remedy}"
        );
    }
}

#[tokio::test]
async fn what_is_marked_in_a_collection_just_created_is_read_again_when_that_is_known() {
    for op in ["i", "u", "d"] {
        let new = |gate: &mut Gate, tracked: &Arc<Tracked>| gate.admit_new(tracked.clone());
        assert_eq!(marked(op, 1, new).await, (true, 4), "{op}: held");
    }
    let mut gate = Gate::new(
        Mark {
            position: Position::from_raw(1),
            term: 1,
        },
        Vec::new(),
    );
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let tracked = Arc::new(Tracked::new(
        Uuid::from_bytes([7; 16]),
        ns,
        Traits::default(),
    ));
    gate.admit_new(tracked.clone());
    gate.leave_from(&tracked.uuid, Position::from_raw(5));
    gate.begin(Position::from_raw(5));
    gate.pass(Mark {
        position: Position::from_raw(5),
        term: 1,
    });
    let stretch = Stretch {
        after: Position::from_raw(4),
        to: Position::from_raw(5),
    };
    assert_eq!(gate.release(&tracked.uuid), Opening::Spooled(stretch));
}
