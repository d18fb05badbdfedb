//! Which documents count as touched, and for which position a look at both sides is good.

use super::*;

/// Ids touched, of everything the round knows.
fn touched(b: &Bench, round: u64) -> Option<Vec<i32>> {
    let ids = b
        .gate
        .touched_of(&b.uuid, round, Position::MAX, usize::MAX)?;
    let mut ids: Vec<i32> = ids
        .iter()
        .filter_map(|id| id.value().readable()?.as_i32())
        .collect();
    ids.sort_unstable();
    Some(ids)
}

#[test]
fn every_op_that_will_be_applied_touches_its_document_wherever_it_waits() {
    let mut b = Bench::new(state::UnitState::Settled);
    assert_eq!(b.entry(3, 1), Verdict::Queued);
    let round = b.gate.track(&b.uuid.clone(), 100).expect("it is copied");
    assert_eq!(touched(&b, round), Some(vec![]));
    assert_eq!(b.entry(5, 2), Verdict::Queued);
    assert!(b.gate.hold(&b.uuid.clone()));
    assert_eq!(b.entry(7, 3), Verdict::Held);
    b.gate.leave(NONE);
    assert_eq!((b.entry(9, 4), b.gate.left()), (Verdict::Held, 2));
    assert_eq!(touched(&b, round), Some(vec![2, 3, 4]));
    b.gate.found_equal(
        &b.uuid.clone(),
        round,
        &[2, 3, 4].map(|id| IdKey::of(RawBsonRef::Int32(id))),
        at(7),
    );
    assert_eq!(touched(&b, round), Some(vec![4]));
}

#[test]
fn a_look_must_be_good_for_the_entry_the_tail_is_in_the_middle_of_and_for_all_that_was_copied() {
    let mut b = Bench::new(state::UnitState::Settled);
    let uuid = b.uuid;
    b.gate.begin(at(5));
    b.with_op(1, 5, Gate::classify);
    let round = b.gate.track(&uuid, 100).expect("it is copied");
    assert_eq!(
        (b.gate.look_at(&uuid, round), b.gate.watermark()),
        (Some(at(5)), at(1))
    );
    b.gate.pass(mark(5));
    b.gate
        .tracked(&uuid)
        .expect("it is there")
        .raise_horizon(at(9));
    assert_eq!(b.gate.look_at(&uuid, round), Some(at(9)));
}

#[test]
fn only_copied_collections_are_tracked_and_a_drop_forgets_what_was_touched() {
    let mut b = Bench::new(state::UnitState::Waiting);
    let uuid = b.uuid;
    assert_eq!(b.gate.track(&uuid, 100), None);
    for unit in 0..2 {
        b.gate.start(&uuid, unit).expect("it is there");
        b.gate.finish(&uuid, unit);
    }
    let round = b.gate.track(&uuid, 100).expect("it is copied");
    b.entry(3, 1);
    assert_eq!(b.gate.touched_count(), 1);
    b.gate.kill(&uuid).expect("it was alive");
    assert_eq!(
        (b.gate.touched_count(), b.gate.look_at(&uuid, round)),
        (0, None)
    );
    assert_eq!((b.gate.track(&uuid, 100), touched(&b, round)), (None, None));
}

#[test]
fn too_many_touched_documents_end_the_round_and_a_new_one_begins_empty() {
    let mut b = Bench::new(state::UnitState::Settled);
    let uuid = b.uuid;
    let round = b.gate.track(&uuid, 2).expect("it is copied");
    for (position, id) in [(3, 1), (4, 2), (5, 3)] {
        assert_eq!(b.entry(position, id), Verdict::Queued);
    }
    assert!(!b.gate.is_tracked(&uuid, round) && !b.gate.touch(&uuid, round, Vec::new()));
    let again = b.gate.track(&uuid, 2).expect("it is copied");
    assert_eq!(touched(&b, again), Some(vec![]));
    assert!(
        b.gate
            .touch(&uuid, again, vec![IdKey::of(RawBsonRef::Int32(9))])
    );
    assert_eq!(touched(&b, again), Some(vec![9]));
}
