//! The gate with one lane and one collection: which ops a unit needs, and how far the
//! watermark stays below what is not applied.

use bson::{RawBsonRef, RawDocumentBuf, rawdoc};
use futures_util::FutureExt;

use super::opening::Opening;
use super::*;
use crate::bson::value::Value;
use crate::cluster::catalog::Namespace;
use crate::pair::budget::Share;
use crate::pair::collection::Traits;
use crate::pair::op::OpKind;

mod gone;
mod left;
mod moving;
mod rolling;
mod touching;

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
        let bounds = [RawBson::Int32(100)];
        Bench::with(|tracked| tracked, traits, &bounds, &[units; 2])
    }

    /// Copied in the order of the disk.
    fn rolling(unit: state::UnitState) -> Self {
        let natural = |tracked: Tracked| tracked.scanned(state::ScanOrder::Natural);
        Bench::with(natural, Traits::default(), &[], &[unit])
    }

    fn with(
        make: impl FnOnce(Tracked) -> Tracked,
        traits: Traits,
        bounds: &[RawBson],
        units: &[state::UnitState],
    ) -> Self {
        let lane: Arc<Inbox> = Arc::default();
        let mut gate = Gate::new(mark(1), vec![lane.clone()]);
        let uuid = Uuid::from_bytes([7; 16]);
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let tracked = make(Tracked::new(uuid, ns, traits));
        gate.admit(Arc::new(tracked), bounds, units);
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
