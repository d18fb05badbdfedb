//! Held ops that are left to the spool: what a reader must hand over, when, and how far the
//! watermark stays below it.

use super::*;
use crate::pair::gate::held::Stretch;

fn spooled(after: u64, to: u64) -> Opening {
    Opening::Spooled(Stretch {
        after: at(after),
        to: at(to),
    })
}

#[test]
fn what_is_left_to_the_spool_goes_before_what_is_kept_after_it() {
    let mut b = Bench::new(state::UnitState::Waiting);
    b.gate.start(&b.uuid, 0).expect("it is there");
    assert_eq!([b.entry(3, 1), b.entry(5, 2)], [Verdict::Held; 2]);
    assert_eq!(
        (b.gate.leave(NONE), b.gate.held(), b.share.used()),
        (2, (0, 0), 0)
    );
    assert_eq!(b.entry(7, 1), Verdict::Held);
    assert_eq!(
        (b.gate.held(), b.gate.left(), b.gate.watermark()),
        ((0, 0), 3, at(2))
    );

    assert_eq!(b.gate.finish(&b.uuid, 0), spooled(2, 7));
    b.entry(9, 1);
    assert_eq!(b.gate.held().0, 1, "kept again, once the stretch is closed");
    for (position, id) in [(3, 1), (5, 2)] {
        assert!(b.replay(Some(0), position, id));
    }
    assert!(b.gate.replayed(&b.place(Some(0)), at(5)));
    assert_eq!(b.applied(), [3, 5]);
    assert_eq!(
        (b.gate.watermark(), b.gate.finish(&b.uuid, 0)),
        (at(5), spooled(5, 7))
    );
    assert!(b.replay(Some(0), 7, 1) && b.gate.replayed(&b.place(Some(0)), at(7)));
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Open { last: false });
    assert_eq!(b.entry(11, 1), Verdict::Queued);
    assert_eq!((b.applied(), b.gate.watermark()), (vec![7, 9, 11], at(11)));
}

#[test]
fn the_entry_the_tail_is_in_the_middle_of_is_read_again_whole() {
    let mut b = Bench::new(state::UnitState::Waiting);
    b.gate.start(&b.uuid, 0).expect("it is there");
    b.gate.begin(at(3));
    b.with_op(1, 3, Gate::classify);
    b.gate.leave(NONE);
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Torn);
    assert_eq!(b.with_op(2, 3, Gate::classify), Verdict::Held);
    b.gate.pass(mark(3));
    assert_eq!(
        (b.gate.finish(&b.uuid, 0), b.gate.left()),
        (spooled(2, 3), 2)
    );
}

#[test]
fn a_stretch_grows_when_memory_is_short_again() {
    let mut b = Bench::new(state::UnitState::Waiting);
    b.gate.start(&b.uuid, 0).expect("it is there");
    b.entry(3, 1);
    b.gate.leave(NONE);
    assert_eq!(b.gate.finish(&b.uuid, 0), spooled(2, 3));
    b.entry(5, 1);
    assert_eq!(b.gate.leave(NONE), 1);
    assert!(b.replay(Some(0), 3, 1) && b.gate.replayed(&b.place(Some(0)), at(3)));
    assert_eq!((b.entry(7, 1), b.gate.watermark()), (Verdict::Held, at(2)));
    assert_eq!(b.applied(), [3]);
    assert_eq!(
        (b.gate.watermark(), b.gate.finish(&b.uuid, 0)),
        (at(3), spooled(3, 7))
    );
}

#[test]
fn the_largest_place_goes_first_and_only_its_own_ops_are_read_again() {
    let mut b = Bench::new(state::UnitState::Waiting);
    for unit in 0..2 {
        b.gate.start(&b.uuid, unit).expect("it is there");
    }
    assert_eq!(
        [b.entry(3, 1), b.entry(5, 200), b.entry(7, 201)],
        [Verdict::Held; 3]
    );
    let all = b.gate.held().1;
    assert_eq!((b.gate.leave(all - 1), b.gate.held().0), (2, 1));
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Open { last: false });
    assert_eq!(b.gate.finish(&b.uuid, 1), spooled(4, 7));
    assert!(b.replay(Some(1), 5, 200) && !b.replay(Some(1), 6, 1));
    assert!(b.gate.replayed(&b.place(Some(1)), at(7)));
    assert_eq!(b.gate.finish(&b.uuid, 1), Opening::Open { last: true });
    assert_eq!(b.applied(), [3, 5]);
}

#[test]
fn a_hold_is_released_when_all_of_it_was_read_again() {
    let mut b = Bench::new(state::UnitState::Settled);
    assert!(b.gate.hold(&b.uuid));
    assert_eq!([b.entry(3, 1), b.entry(5, 200)], [Verdict::Held; 2]);
    b.gate.leave(NONE);
    assert_eq!(b.gate.release(&b.uuid), spooled(2, 5));
    assert!(
        b.replay(None, 3, 1) && b.replay(None, 5, 200) && b.gate.replayed(&b.place(None), at(5))
    );
    assert_eq!(b.entry(7, 1), Verdict::Held);
    assert_eq!(b.gate.release(&b.uuid), Opening::Open { last: true });
    assert_eq!(b.applied(), [3, 5, 7]);
}

#[test]
fn nothing_of_a_dropped_collection_is_read_again() {
    let mut b = Bench::new(state::UnitState::Waiting);
    b.gate.start(&b.uuid, 0).expect("it is there");
    b.entry(3, 1);
    b.gate.leave(NONE);
    assert_eq!(b.gate.finish(&b.uuid, 0), spooled(2, 3));
    b.gate.kill(&b.uuid).expect("it was alive");
    assert!(!b.replay(Some(0), 3, 1) && !b.gate.replayed(&b.place(Some(0)), at(3)));
    assert_eq!(
        (b.gate.finish(&b.uuid, 0), b.gate.watermark()),
        (Opening::Open { last: false }, at(3))
    );
}
