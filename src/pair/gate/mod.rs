//! The gate: decides for every op by the state of the unit that holds its
//! `_id` — drop, hold or apply (R2; the table is `unit::Unit::decide`'s) — and knows
//! what is unapplied (`watermark`).
//!
//! A pure state machine: the caller holds its lock, no call waits, no call
//! talks to a server. Memory is bounded by the permits inside the ops, taken
//! before an op gets here.
//!
//! IMPORTANT: `start` reads the fence, and `finish` hands over held ops and
//! opens the unit, under the same lock that classifies. A new op of a unit can
//! so never overtake an older held one, and no op at or below the fence can be
//! dropped after the fence was read. Ops that were left to the spool (`left`) are
//! read and handed over before that (`replay`).

mod unit;
mod collection;
pub mod held;
pub mod rolling;
pub mod ledger;
mod watermark;
pub mod touched;
pub mod opening;
mod gone;
mod left;
mod touching;
mod doubting;
mod horizon;
pub mod replay;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bson::{RawBson, Uuid};
use foldhash::fast::FixedState;

use crate::bson::{identity::IdKey, order};
use crate::pair::collection::Tracked;
use crate::pair::collection::life::Life;
use crate::pair::gate::ledger::{Ledger, Pin};
use crate::pair::gate::rolling::Read;
use crate::pair::gate::touched::Touched;
use crate::pair::lanes::inbox::Inbox;
use crate::pair::op::OpRef;
use crate::pair::origin::Origin;
use crate::position::{Mark, Position};
use crate::state;

use collection::Collection;
use unit::{Decision, Unit, UnitState, Way};

#[cfg(test)]
mod tests;

/// The gate of one pair.
#[derive(Debug)]
pub struct Gate {
    /// Newest entry of which at least one op was classified.
    begun: Position,
    /// Newest entry that is classified whole.
    passed: Position,
    collections: HashMap<Uuid, Collection, FixedState>,
    /// Units that are being copied: there are few, of many.
    copying: BTreeSet<(Uuid, usize)>,
    /// Collections with a `hold`.
    holding: BTreeSet<Uuid>,
    lanes: Vec<Arc<Inbox>>,
    ledger: Ledger,
    /// Ops ever left to the spool.
    left: u64,
    /// The cutover is done: nothing is applied any more.
    closed: bool,
    /// What the cutover has to look at again (`touching`).
    touched: Touched,
    touched_max: usize,
    /// Collections with doubtful documents, mostly none: else each look at the watermark
    /// would walk them all.
    doubting: Arc<AtomicUsize>,
}

/// How a scan has to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The scan reads at or after it.
    pub fence: Position,
    /// An earlier incarnation had started it with this fence: the start is
    /// durable already, and documents may be there.
    pub again: bool,
    /// Of a collection that is copied in the order of the disk: its first read.
    pub read: Option<Read>,
}

/// Where ops wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub uuid: Uuid,
    /// None: of all the collection, by its `hold`.
    pub unit: Option<usize>,
}

/// What became of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A scan that starts later reads it, or its collection is gone.
    Dropped,
    Held,
    Queued,
    /// This shard does not own the document, or nothing of its collection counts here.
    Foreign,
    /// No collection of that UUID was ever known here.
    Unknown,
}

impl Gate {
    /// `start` is the entry the tail begins at: everything up to it is applied,
    /// or in the scans to come.
    pub fn new(start: Mark, lanes: Vec<Arc<Inbox>>) -> Self {
        Gate {
            begun: start.position,
            passed: start.position,
            collections: HashMap::default(),
            copying: BTreeSet::new(),
            holding: BTreeSet::new(),
            lanes,
            ledger: Ledger::new(start),
            left: 0,
            closed: false,
            touched: Touched::default(),
            touched_max: 0,
            doubting: Arc::default(),
        }
    }

    /// Admits a collection with its units as planned, or as an earlier incarnation left
    /// them. `bounds` are the lower bounds of all units but the first, ascending. From
    /// now on ops of a unit that was being copied are held.
    pub fn admit(
        &mut self,
        tracked: Arc<Tracked>,
        bounds: &[RawBson],
        states: &[state::UnitState],
    ) {
        debug_assert!(
            bounds.is_sorted_by(
                |a, b| order::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref()).is_lt()
            )
        );
        assert_eq!(
            states.len(),
            bounds.len() + 1,
            "a unit more than there are bounds"
        );
        tracked.doubts.count_in(&self.doubting);
        let uuid = tracked.uuid;
        let (way, shown) = (Way::of(&tracked), tracked.horizon());
        assert!(
            way != Way::Rolling || bounds.is_empty(),
            "the order of the disk knows no ranges"
        );
        let mut units = Vec::with_capacity(states.len());
        for (index, state) in states.iter().enumerate() {
            let lower = index.checked_sub(1).map(|before| bounds[before].clone());
            let unit = Unit::restored(lower, *state, (self.begun, shown), way);
            if unit.is_copying() {
                self.copying.insert((uuid, index));
            }
            units.push(unit);
        }
        tracked.roll(way == Way::Rolling && states != [state::UnitState::Settled]);
        self.collections.insert(
            uuid,
            Collection {
                tracked,
                units,
                hold: None,
            },
        );
    }

    /// Admits a collection that the tail saw being created. Its ops alone make it
    /// complete; they are held until `release`.
    pub fn admit_new(&mut self, tracked: Arc<Tracked>) {
        let uuid = tracked.uuid;
        self.admit(tracked, &[], &[state::UnitState::Settled]);
        self.set_hold(&uuid);
    }

    pub fn tracked(&self, uuid: &Uuid) -> Option<&Arc<Tracked>> {
        self.collections.get(uuid).map(|c| &c.tracked)
    }

    /// A collection of this name is known, and its drop is not met.
    pub fn has_named(&self, db: &str, coll: &str) -> bool {
        self.collections
            .values()
            .filter(|c| !c.tracked.is_dead())
            .map(|c| c.tracked.ns())
            .any(|ns| ns.db == db && ns.coll == coll)
    }

    /// The tail starts on the entry at `position`.
    pub fn begin(&mut self, position: Position) {
        debug_assert!(self.begun <= position, "the tail reads forward");
        self.begun = position;
    }

    /// Everything of the entry has been classified.
    pub fn pass(&mut self, mark: Mark) {
        assert!(
            mark.position <= self.begun,
            "passed {} before it was begun",
            mark.position
        );
        self.passed = mark.position;
        self.ledger.passed(mark);
    }

    /// Nothing at or after `position` counts as applied until the pin is back.
    /// To be taken before the entry is passed.
    pub fn pin(&mut self, position: Position) -> Pin {
        self.ledger.pin(position)
    }

    pub fn unpin(&mut self, pin: Pin) {
        self.ledger.unpin(pin);
    }

    /// Decides on one op; `origin` is what its body is in.
    pub fn classify(&mut self, op: OpRef<'_>, origin: &mut Origin) -> Verdict {
        debug_assert!(
            op.position <= self.begun,
            "an op belongs to an entry that was begun"
        );
        if self.closed {
            return Verdict::Dropped;
        }
        let Some(collection) = self.collections.get_mut(&op.uuid) else {
            return Verdict::Unknown;
        };
        match collection.tracked.life() {
            Life::Ours => {}
            Life::OtherShards | Life::DropExpected => return Verdict::Foreign,
            Life::Dead => return Verdict::Dropped,
        }
        // Every read of its copy shows it.
        if op.position <= collection.tracked.planned_at() {
            return Verdict::Dropped;
        }
        if !collection.owns(&op) {
            return Verdict::Foreign;
        }
        let unit = collection.unit_of(op.id);
        let place = match collection.units[unit].decide(op.position) {
            Decision::Drop => return Verdict::Dropped,
            Decision::Hold => Some(unit),
            Decision::Pass => None,
        };
        // Wherever it waits, it is going to be applied.
        let id = IdKey::new(op.id);
        self.touched
            .note(&op.uuid, &id, op.position, self.touched_max);
        match collection.held(place) {
            Some(held) if held.is_open() => {
                self.left += 1;
                Verdict::Held
            }
            Some(held) => {
                let op = op.kept(id, origin.copy(op.body));
                let twice = op.look.duplicate_names.then(|| op.id.clone());
                held.push(op);
                if let Some(id) = twice {
                    collection.tracked.duplicate_names.remember(id);
                }
                Verdict::Held
            }
            None => {
                // One op after the other is slow, and would keep whole blocks.
                let kept = if collection.tracked.in_order() {
                    origin.copy(op.body)
                } else {
                    origin.lend(op.body)
                };
                collection.queue(op.kept(id, kept), &self.lanes);
                Verdict::Queued
            }
        }
    }

    /// waiting → copying. None if the collection is gone.
    ///
    /// IMPORTANT: no op passes a unit whose start is not recorded yet: a crash would find it
    /// waiting, with documents on the target. In the order of the disk the first read, begun
    /// here, holds them.
    pub fn start(&mut self, uuid: &Uuid, unit: usize) -> Option<Started> {
        let (fence, again) = self.begin_copy(uuid, unit)?;
        let read = self.begin_read(uuid, None);
        Some(Started { fence, again, read })
    }

    fn begin_copy(&mut self, uuid: &Uuid, unit: usize) -> Option<(Position, bool)> {
        let collection = self
            .collections
            .get_mut(uuid)
            .filter(|c| c.tracked.counts())?;
        let way = collection.way();
        match &mut collection.units[unit].state {
            UnitState::Copying { fence, again, .. } | UnitState::Rolling { fence, again, .. }
                if *again =>
            {
                *again = false;
                Some((*fence, true))
            }
            state @ UnitState::Waiting => {
                let fence = self.begun;
                *state = way.start(fence);
                self.copying.insert((*uuid, unit));
                Some((fence, false))
            }
            _ => panic!("a unit is started once"),
        }
    }

    /// From now on every op is dropped.
    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn passed(&self) -> Position {
        self.passed
    }

    /// Every unit of a collection is copied (or it is gone).
    pub fn is_copied(&self, uuid: &Uuid) -> bool {
        self.collections.get(uuid).is_none_or(Collection::is_copied)
    }
}
