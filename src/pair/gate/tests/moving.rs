//! Deltas that may move fields if they are replayed: where their documents may be newer they
//! become unclear, wherever they waited.

use super::*;

/// What a delta of the old form is that takes a field out, and one that only sets.
fn unset() -> RawDocumentBuf {
    rawdoc! { "$v": 1, "$unset": { "x": true } }
}

fn set() -> RawDocumentBuf {
    rawdoc! { "$v": 1, "$set": { "x": 1 } }
}

fn diff() -> RawDocumentBuf {
    rawdoc! { "$v": 2, "diff": { "d": { "x": false } } }
}

/// An entry with a delta of document 1, whole.
fn delta(b: &mut Bench, position: u64, body: &RawDocumentBuf) -> Verdict {
    b.gate.begin(at(position));
    let verdict = with_delta(b, position, body, Gate::classify);
    b.gate.pass(mark(position));
    verdict
}

fn with_delta<T>(
    b: &mut Bench,
    position: u64,
    body: &RawDocumentBuf,
    work: impl FnOnce(&mut Gate, OpRef<'_>, &mut Origin) -> T,
) -> T {
    b.with_op(1, position, |gate, op, origin| {
        let op = OpRef {
            kind: OpKind::Delta,
            body: body.as_bytes(),
            ..op
        };
        work(gate, op, origin)
    })
}

/// Positions of what came to the lane, and whether it is unclear there.
fn came(b: &Bench) -> Vec<(u64, bool)> {
    let taken = b.lane.try_take().unwrap_or_default();
    b.lane.applied(taken.len() as u64, Position::MAX);
    let came = taken.iter().map(|queued| {
        let op = &queued.op;
        let unclear = op.kind == OpKind::Unclear;
        assert_eq!(unclear, op.body.is_empty());
        (op.position.raw(), unclear)
    });
    came.collect()
}

fn raise(b: &Bench, horizon: u64) {
    let tracked = b.gate.tracked(&b.uuid).expect("it is there");
    tracked.raise_horizon(at(horizon));
}

#[test]
fn what_a_scan_may_have_seen_and_what_it_cannot_have_seen() {
    let mut b = Bench::new(state::UnitState::Waiting);
    let uuid = b.uuid;
    b.gate.start(&uuid, 0).expect("it is there");
    for (position, body) in [(3, unset()), (4, set()), (5, diff()), (8, unset())] {
        assert_eq!(delta(&mut b, position, &body), Verdict::Held);
    }
    raise(&b, 7);
    b.gate.finish(&uuid, 0);
    assert_eq!(
        came(&b),
        [(3, true), (4, false), (5, false), (8, false)],
        "its scan read up to 7"
    );
    // Other units are scanned, and documents read again: these do not show this one's.
    raise(&b, 20);
    assert_eq!(delta(&mut b, 9, &unset()), Verdict::Queued);
    assert_eq!(came(&b), [(9, false)]);
}

#[test]
fn what_an_earlier_attempt_may_have_applied() {
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "again".to_owned(),
    };
    let mut b = Bench::new(state::UnitState::Settled);
    b.uuid = Uuid::from_bytes([8; 16]);
    let again = Tracked::new(b.uuid, ns, Traits::default());
    again.raise_horizon(at(7));
    b.gate
        .admit(Arc::new(again), &[], &[state::UnitState::Settled]);
    for (position, body) in [(3, unset()), (7, unset()), (8, unset())] {
        assert_eq!(delta(&mut b, position, &body), Verdict::Queued);
    }
    assert_eq!(came(&b), [(3, true), (7, true), (8, false)]);
}

#[test]
fn what_was_left_to_the_spool_is_told_when_it_is_read_again() {
    let mut b = Bench::new(state::UnitState::Waiting);
    let uuid = b.uuid;
    b.gate.start(&uuid, 0).expect("it is there");
    assert_eq!(delta(&mut b, 3, &unset()), Verdict::Held);
    assert_eq!(b.gate.leave(NONE), 1);
    raise(&b, 7);
    assert!(matches!(b.gate.finish(&uuid, 0), Opening::Spooled(_)));
    let place = b.place(Some(0));
    for (position, body) in [(3, unset()), (4, set()), (8, unset())] {
        assert!(with_delta(&mut b, position, &body, |gate, op, origin| gate
            .replay(&place, op, origin)));
    }
    assert_eq!(came(&b), [(3, true), (4, false), (8, false)]);
}
