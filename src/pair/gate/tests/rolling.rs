//! A collection that is copied in the order of the disk: which ops wait for which reads, and
//! what a restart needs of it.

use super::*;
use crate::pair::gate::rolling::Read;
use crate::pair::origin::Kept;

impl Bench {
    fn read(&mut self, before: Option<&Read>) -> Read {
        self.gate
            .begin_read(&self.uuid, before)
            .expect("the collection is there")
    }

    fn ended(&mut self, read: Read) {
        self.gate.end_reads(&self.uuid, &[read]);
    }

    /// The first read.
    fn start(&mut self) -> Read {
        let started = self.gate.start(&self.uuid, 0).expect("it is there");
        started.read.expect("it is begun with the start")
    }

    fn resume(&mut self) -> u64 {
        let recorded = self.gate.capture().expect("it is open");
        recorded.resume.position.raw()
    }
}

#[test]
fn an_op_waits_only_for_reads_that_may_not_show_it() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    assert_eq!(b.entry(2, 1), Verdict::Dropped);
    let first = b.start();
    assert_eq!(first.shows, at(2));
    assert_eq!(
        (b.entry(4, 1), b.entry(5, 2)),
        (Verdict::Held, Verdict::Held)
    );
    let other = b.read(None);
    assert_eq!((other.shows, b.gate.watermark()), (at(5), at(2)));
    assert_eq!(b.entry(6, 1), Verdict::Held);
    b.ended(first);
    assert_eq!(
        b.gate.watermark(),
        at(3),
        "what was handed over is not applied"
    );
    assert_eq!(b.applied(), [4, 5], "the other read shows both");
    b.ended(other);
    assert_eq!((b.applied(), b.entry(7, 1)), (vec![6], Verdict::Queued));
}

#[test]
fn a_reply_may_show_no_more_than_what_the_one_before_it_was_asked_at() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    let first = b.start();
    b.entry(3, 1);
    let second = b.read(Some(&first));
    b.ended(first);
    // The second may have a document from before it.
    assert!(b.applied().is_empty());
    let third = b.read(Some(&second));
    b.ended(second);
    assert_eq!((b.applied(), third.shows), (vec![3], at(3)));
}

#[test]
fn its_fence_holds_no_resume_position_down() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    let read = b.start();
    b.entry(3, 1);
    assert_eq!(b.resume(), 1, "an op waits");
    b.ended(read);
    b.applied();
    assert_eq!(b.resume(), 3);
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Open { last: true });
    b.entry(5, 1);
    b.applied();
    let recorded = b.gate.capture().expect("it is open");
    assert_eq!(
        (recorded.resume, recorded.settled),
        (mark(5), vec![(b.uuid, 0)])
    );
}

#[test]
fn taken_up_again_it_needs_every_op_from_the_resume_position_on() {
    let mut b = Bench::rolling(state::UnitState::Copying(at(9)));
    assert_eq!(b.entry(3, 1), Verdict::Queued, "it may be on the target");
    let read = b.start();
    assert_eq!(b.entry(4, 1), Verdict::Held);
    b.ended(read);
    assert_eq!(b.applied(), [3, 4]);
}

#[test]
fn any_op_may_find_nothing_until_it_is_copied() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    let tracked = b.gate.tracked(&b.uuid).expect("it is there").clone();
    let read = b.start();
    tracked.raise_horizon(at(4));
    assert_eq!(tracked.horizon(), Position::MAX);
    b.ended(read);
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Open { last: true });
    assert_eq!(tracked.horizon(), at(4));
}

#[test]
fn what_waits_for_a_read_is_not_left_to_the_spool() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    let read = b.start();
    b.entry(3, 1);
    assert_eq!((b.gate.leave(NONE), b.gate.held().0), (0, 1));
    b.gate.discard(&b.uuid);
    b.ended(read);
    assert_eq!((b.applied(), b.gate.held().0), (vec![], 0));
}

#[test]
fn no_op_passes_before_the_start_can_be_recorded() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    b.start();
    assert_eq!((b.entry(3, 1), b.resume()), (Verdict::Held, 1));
}

#[test]
fn documents_that_a_lane_writes_come_before_what_waits_for_their_read() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    b.entry(2, 1);
    let read = b.start();
    b.entry(5, 1);
    assert_eq!(b.resume(), 2);
    let document = Kept {
        body: rawdoc! { "_id": 1 }.into_bytes().into(),
        permit: None,
    };
    b.gate.queue_read(&b.uuid, read.position(), vec![document]);
    b.ended(read);
    assert_eq!(b.resume(), 2, "it is not below what was recorded");
    assert_eq!((b.applied(), b.resume()), (vec![3, 5], 5));
}

/// What of it a later read gives must not be written beside the lane.
#[test]
fn a_document_with_a_name_twice_is_remembered_as_it_is_queued() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    let tracked = b.gate.tracked(&b.uuid).expect("it is there").clone();
    let read = b.start();
    let body = b"\x1c\0\0\0\x10_id\0\x01\0\0\0\x10a\0\0\0\0\0\x10a\0\0\0\0\0\0".as_slice();
    let twice = Kept {
        body: body.into(),
        permit: None,
    };
    let id = IdKey::of(RawBsonRef::Int32(1));
    assert!(!tracked.duplicate_names.saw(&id));
    b.gate.queue_read(&b.uuid, read.position(), vec![twice]);
    assert!(tracked.duplicate_names.saw(&id));
}

#[test]
fn the_rest_of_an_entry_waits_for_a_read_that_was_begun_amid_it() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    b.entry(2, 1);
    let first = b.start();
    b.gate.begin(at(5));
    assert_eq!(b.with_op(1, 5, Gate::classify), Verdict::Held);
    let second = b.read(Some(&first));
    b.ended(first);
    let third = b.read(Some(&second));
    b.ended(second);
    assert_eq!((third.at, third.shows), (at(5), at(4)));
    // Its run may be on its way: what has a name twice was not remembered in time.
    assert_eq!(b.with_op(2, 5, Gate::classify), Verdict::Held);
    b.gate.pass(mark(5));
    let fourth = b.read(Some(&third));
    b.ended(third);
    assert_eq!((b.applied(), fourth.shows), (vec![5, 5], at(5)));
}

#[test]
fn it_is_not_settled_while_a_document_of_its_last_read_is_doubtful() {
    let mut b = Bench::rolling(state::UnitState::Waiting);
    let tracked = b.gate.tracked(&b.uuid).expect("it is there").clone();
    let read = b.start();
    let refused = IdKey::of(RawBsonRef::Int32(1));
    tracked.doubts.add(&refused, read.position());
    b.ended(read);
    assert_eq!(b.gate.finish(&b.uuid, 0), Opening::Open { last: true });
    let mut settled = || b.gate.capture().expect("it is open").settled;
    assert_eq!(settled(), []);
    tracked.doubts.forget(&[refused]);
    assert_eq!(settled().len(), 1);
}
