//! What a checkpoint may say (R6): the entry to resume at, and the units that need no
//! second scan. Kept by the gate, under its lock.
//!
//! A unit is settled when its last held op is applied and none of its documents is
//! doubtful. Until then its fence keeps the resume position down; that of a collection which
//! is copied in the order of the disk does not. So does every pin (DDL not recorded as done).
//! The applied position leaves out fences, and ops held for units being copied: a pair that
//! gives these units up resumes there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::Uuid;

use crate::pair::collection::Tracked;
use crate::pair::lanes::inbox::Inbox;
use crate::position::{Mark, Marks, Position};
use crate::state::Recorded;

#[derive(Debug)]
pub struct Ledger {
    marks: Marks,
    settling: Vec<Settling>,
    /// Settled, and not yet in a capture.
    settled: Vec<(Uuid, usize)>,
    pins: BTreeMap<u64, Position>,
    pins_taken: u64,
}

/// A unit whose held ops were handed to the lanes and are not all applied.
#[derive(Debug)]
struct Settling {
    tracked: Arc<Tracked>,
    unit: usize,
    /// If it holds the resume position down.
    fence: Option<Position>,
    /// Neither an op that it held is beyond, nor the fence, at which a copied document
    /// became doubtful if it was refused.
    newest: Position,
    /// How many ops each lane must have applied.
    applied: Vec<u64>,
}

impl Settling {
    /// Whether it needs no second scan. `now`: how many ops each lane has applied.
    fn is_settled(&self, now: &[u64]) -> bool {
        // All of a collection whose drop is awaited may be needed again.
        let is_sure = self.tracked.counts() || self.tracked.is_dead();
        let mut lanes = now.iter().zip(&self.applied);
        let is_applied = lanes.all(|(now, needed)| needed <= now);
        // A document of the scan that was refused still needs the scan. So does an op that the
        // unit held, and of which the target has nothing yet: it is not in the applied position
        // that was recorded while it was held, and who goes on there must give up the unit.
        is_sure && is_applied && self.newest < self.tracked.doubtful_oldest()
    }
}

/// Keeps the resume position below one entry until it is given back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Pin(u64);

impl Ledger {
    pub fn new(start: Mark) -> Self {
        let pins = BTreeMap::new();
        Ledger {
            marks: Marks::new(start),
            settling: Vec::new(),
            settled: Vec::new(),
            pins,
            pins_taken: 0,
        }
    }

    pub fn passed(&mut self, mark: Mark) {
        self.marks.passed(mark);
    }

    pub fn pin(&mut self, position: Position) -> Pin {
        self.pins_taken += 1;
        self.pins.insert(self.pins_taken, position);
        Pin(self.pins_taken)
    }

    /// Keeps the resume position where it would be now.
    pub fn pin_all(&mut self, watermark: Position, fences: Vec<Position>) -> Pin {
        let resume = self.resume(watermark, fences);
        self.pin(resume.next())
    }

    pub fn unpin(&mut self, pin: Pin) {
        self.pins.remove(&pin.0);
    }

    /// The last held ops of a unit, none beyond `newest`, were handed to the lanes just now.
    pub fn handed_over(
        &mut self,
        tracked: Arc<Tracked>,
        unit: usize,
        (fence, newest): (Option<Position>, Position),
        lanes: &[Arc<Inbox>],
    ) {
        let applied = lanes.iter().map(|lane| lane.pushed()).collect();
        // IMPORTANT: of a unit that is taken up again the fence may be beyond all that the
        // tail has read, and so beyond what the unit held.
        let newest = newest.max(fence.unwrap_or_default());
        self.settling.push(Settling {
            tracked,
            unit,
            fence,
            newest,
            applied,
        });
    }

    /// What may be recorded once it is proven. `watermark` is below every op that is
    /// held, queued or in flight; `applied` leaves out ops held for units being copied;
    /// `fences` are those of units being copied.
    pub fn capture(
        &mut self,
        watermark: Position,
        applied: Position,
        fences: Vec<Position>,
        lanes: &[Arc<Inbox>],
    ) -> Recorded {
        let now: Vec<u64> = lanes.iter().map(|lane| lane.applied_count()).collect();
        for unit in std::mem::take(&mut self.settling) {
            if unit.is_settled(&now) {
                self.settled.push((unit.tracked.uuid, unit.unit));
            } else {
                self.settling.push(unit);
            }
        }
        let resume = self.marks.at_or_below(self.resume(watermark, fences));
        let applied = self.marks.at_or_below(applied.min(self.pinned()));
        self.marks.forget_below(resume);
        let settled = std::mem::take(&mut self.settled);
        Recorded {
            resume,
            applied,
            settled,
            duplicate_names: Vec::new(),
        }
    }

    fn resume(&self, watermark: Position, fences: Vec<Position>) -> Position {
        let settling = self.settling.iter().filter_map(|s| s.fence);
        let fences = fences.into_iter().chain(settling);
        fences.fold(watermark.min(self.pinned()), Position::min)
    }

    fn pinned(&self) -> Position {
        self.pins
            .values()
            .map(|pinned| pinned.before())
            .fold(Position::MAX, Position::min)
    }
}

#[cfg(test)]
mod tests {
    use bson::RawBsonRef::Int32;

    use super::*;
    use crate::bson::identity::IdKey;
    use crate::cluster::catalog::Namespace;
    use crate::pair::collection::Traits;

    #[test]
    fn a_unit_is_not_settled_while_a_copied_document_of_it_is_doubtful_be_the_tail_below_its_fence()
    {
        let at = Position::from_raw;
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let uuid = Uuid::from_bytes([1; 16]);
        let tracked = Arc::new(Tracked::new(uuid, ns, Traits::default()));
        let mut ledger = Ledger::new(Mark {
            position: at(3),
            term: 1,
        });
        // A restart went on at 3, and scanned the unit again with its old fence: one
        // document was refused before the tail came beyond 5.
        let copied = IdKey::of(Int32(1));
        tracked.doubts.add(&copied, at(9));
        ledger.handed_over(tracked.clone(), 0, (Some(at(9)), at(5)), &[]);
        let mut settled = || ledger.capture(at(5), at(5), Vec::new(), &[]).settled;
        assert_eq!(settled(), []);
        tracked.doubts.forget(&[copied]);
        assert_eq!(settled(), [(uuid, 0)]);
    }
}
