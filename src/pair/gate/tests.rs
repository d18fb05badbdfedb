//! Held ops that are left to the spool: what a reader must hand over, when, and
//! how far the watermark stays below it. And below doubtful documents.

use bson::{RawBsonRef, RawDocumentBuf, rawdoc};
use futures_util::FutureExt;

use super::opening::Opening;
use super::*;
use crate::bson::value::Value;
use crate::cluster::catalog::Namespace;
use crate::pair::budget::Share;
use crate::pair::collection::Traits;
use crate::pair::held::Stretch;

/// Bytes that may stay in memory.
const NONE: u64 = 0;

/// A gate with one lane and one collection of two units: below 100, and the rest.
struct Bench {
    gate: Gate,
    lane: Arc<Inbox>,
    uuid: Uuid,
    share: Share,
}

fn at(raw: u64) -> Position {
    Position::from_raw(raw)
}

fn mark(raw: u64) -> Mark {
    Mark {
        position: at(raw),
        term: 1,
    }
}

impl Bench {
    fn new(units: state::UnitState) -> Self {
        Bench::of(Traits::default(), units)
    }

    fn of(traits: Traits, units: state::UnitState) -> Self {
        let lane: Arc<Inbox> = Arc::default();
        let mut gate = Gate::new(mark(1), vec![lane.clone()]);
        let uuid = Uuid::from_bytes([7; 16]);
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        gate.admit(
            Arc::new(Tracked::new(uuid, ns, traits)),
            &[RawBson::Int32(100)],
            &[units; 2],
        );
        Bench {
            gate,
            lane,
            uuid,
            share: Share::new(0),
        }
    }

    fn place(&self, unit: Option<usize>) -> Place {
        Place {
            uuid: self.uuid,
            unit,
        }
    }

    fn with_op<T>(
        &mut self,
        id: i32,
        position: u64,
        work: impl FnOnce(&mut Gate, OpRef<'_>, &mut Origin) -> T,
    ) -> T {
        let body: RawDocumentBuf = rawdoc! { "_id": id, "at": position as i64 };
        let id = Value::from(RawBsonRef::Int32(id));
        let op = OpRef {
            position: at(position),
            uuid: self.uuid,
            kind: OpKind::Insert,
            id: id.as_ref(),
            body: body.as_bytes(),
        };
        let permit = self
            .share
            .reserve_reply()
            .now_or_never()
            .expect("a test keeps few bytes");
        work(&mut self.gate, op, &mut Origin::copied(permit))
    }

    /// An entry of one op, whole.
    fn entry(&mut self, position: u64, id: i32) -> Verdict {
        self.gate.begin(at(position));
        let verdict = self.with_op(id, position, Gate::classify);
        self.gate.pass(mark(position));
        verdict
    }

    fn replay(&mut self, unit: Option<usize>, position: u64, id: i32) -> bool {
        let place = self.place(unit);
        self.with_op(id, position, |gate, op, origin| {
            gate.replay(&place, op, origin)
        })
    }

    /// Positions of what came to the lane.
    fn applied(&self) -> Vec<u64> {
        let taken = self.lane.try_take().unwrap_or_default();
        if !taken.is_empty() {
            self.lane.applied(taken.len() as u64, Position::MAX);
        }
        taken
            .iter()
            .map(|queued| queued.op.position.raw())
            .collect()
    }
}

fn spooled(after: u64, to: u64) -> Opening {
    Opening::Spooled(Stretch {
        after: at(after),
        to: at(to),
    })
}

#[test]
fn a_doubtful_document_holds_the_watermark_down_once_its_op_has_left_the_lane() {
    let mut b = Bench::new(state::UnitState::Settled);
    let (tracked, id) = (
        b.gate.tracked(&b.uuid).expect("it is there").clone(),
        IdKey::of(RawBsonRef::Int32(1)),
    );
    b.entry(3, 1);
    b.entry(5, 2);
    assert_eq!((b.gate.watermark(), b.gate.doubting().count()), (at(2), 0));
    tracked.doubts.add(&id, at(3));
    assert_eq!(b.applied(), [3, 5]);
    assert_eq!((b.gate.watermark(), b.gate.doubtful().len()), (at(2), 1));
    tracked.doubts.forget(&[id]);
    assert_eq!((b.gate.watermark(), b.gate.doubting().count()), (at(5), 0));
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

#[test]
fn what_the_fence_covers_is_not_held() {
    let mut b = Bench::new(state::UnitState::Waiting);
    b.gate.begin(at(3));
    assert_eq!(b.gate.start(&b.uuid, 0).expect("it is there").fence, at(3));
    assert_eq!(b.with_op(1, 3, Gate::classify), Verdict::Dropped);
    b.gate.pass(mark(3));
    assert_eq!(b.entry(5, 1), Verdict::Held);
}

#[test]
fn a_unit_taken_up_again_needs_every_op_from_the_resume_position_on() {
    // An attempt before this one recorded the fence; another applied ops below it, to
    // documents that the scan leaves alone.
    let mut b = Bench::new(state::UnitState::Copying(at(9)));
    assert!(
        b.gate
            .start(&b.uuid, 0)
            .is_some_and(|started| started.again && started.fence == at(9))
    );
    assert_eq!(b.entry(3, 1), Verdict::Held);
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Open { last: false });
    assert_eq!(b.entry(5, 1), Verdict::Queued);
    assert_eq!((b.applied(), b.gate.watermark()), (vec![3, 5], at(5)));
}

#[test]
fn a_capped_unit_taken_up_again_is_emptied_and_needs_ops_from_its_fence_on() {
    let mut b = Bench::of(
        Traits {
            capped: true,
            ..Traits::default()
        },
        state::UnitState::Copying(at(4)),
    );
    assert!(
        b.gate
            .start(&b.uuid, 0)
            .is_some_and(|started| started.again)
    );
    assert_eq!(
        [b.entry(3, 1), b.entry(5, 1)],
        [Verdict::Dropped, Verdict::Held]
    );
}

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
    b.gate.settle(
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
    b.gate.tracked(&uuid).expect("it is there").saw_by(at(9));
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
