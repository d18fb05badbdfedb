//! Collections that are dropped on the source, or seem to be: what must not count as
//! applied, and what is not recorded.

use super::*;

/// What a checkpoint would record as resume position now.
fn resume(bench: &mut Bench) -> u64 {
    bench
        .gate
        .capture()
        .expect("it is open")
        .resume
        .position
        .raw()
}

#[test]
fn a_drop_that_may_be_rolled_back_keeps_all_of_the_collection_from_counting_as_applied() {
    let mut b = Bench::new(state::UnitState::Waiting);
    b.entry(2, 1);
    assert!(
        b.gate
            .start(&b.uuid, 0)
            .is_some_and(|started| started.fence == at(2))
    );
    b.entry(3, 1);
    assert!(
        b.gate
            .start(&b.uuid, 1)
            .is_some_and(|started| started.fence == at(3))
    );
    b.entry(4, 200);
    // The scanner of the younger unit finds the collection gone.
    let pin = b.gate.suspend(&b.uuid);
    // That of the older one had read all.
    assert!(matches!(
        b.gate.finish(&b.uuid, 0),
        Opening::Open { last: false }
    ));
    b.entry(5, 1);
    assert_eq!(resume(&mut b), 2, "the unit's fence, wherever its scan is");
    b.gate.kill(&b.uuid);
    b.gate.unpin(pin);
    assert_eq!(resume(&mut b), 5);
}

#[test]
fn a_unit_whose_ops_are_in_lanes_is_not_settled_while_the_drop_of_its_collection_is_awaited() {
    let mut b = Bench::new(state::UnitState::Waiting);
    assert!(b.gate.start(&b.uuid, 0).is_some());
    b.entry(3, 1);
    assert!(matches!(b.gate.finish(&b.uuid, 0), Opening::Open { .. }));
    let _pin = b.gate.suspend(&b.uuid);
    assert_eq!(b.applied(), [3]);
    // Refused or not: what became of it counts only once the drop is met.
    assert!(
        b.gate.capture().is_some_and(
            |recorded| recorded.settled.is_empty() && recorded.resume.position == at(1)
        )
    );
}

#[test]
fn what_is_dropped_is_not_recorded_to_have_field_names_twice() {
    let mut b = Bench::new(state::UnitState::Settled);
    let tracked = b.gate.tracked(&b.uuid).expect("it is there").clone();
    tracked
        .duplicate_names
        .remember(IdKey::of(RawBsonRef::Int32(1)));
    b.gate.kill(&b.uuid);
    let recorded = b.gate.capture().expect("the gate is open");
    assert!(
        recorded.duplicate_names.is_empty(),
        "what forgets it may be faster than the checkpoint"
    );
}
