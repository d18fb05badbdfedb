//! The gate: decides for every op by the state of the unit that holds its
//! `_id` — drop, hold or apply (R2) — and knows what is unapplied.
//!
//! | unit | its ops are | because |
//! |---|---|---|
//! | waiting | dropped | its scan starts later, and reads at or after them |
//! | copying | held, in order | the scan may or may not have seen them |
//! | copied | applied | its last held op is with the lanes |
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

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use bson::{RawBson, RawDocument, Uuid};
use foldhash::fast::FixedState;

use crate::bson::{identity::IdKey, order, value::ValueRef};
use crate::pair::collection::Tracked;
use crate::pair::held::Held;
use crate::pair::inbox::Inbox;
use crate::pair::ledger::{Ledger, Pin};
use crate::pair::op::{Op, OpKind, OpRef};
use crate::pair::origin::Origin;
use crate::pair::position::{Mark, Position};
use crate::pair::queue::Queued;
use crate::pair::touched::Touched;
use crate::state::{self, Recorded};

mod doubting;
mod gone;
mod horizon;
mod left;
pub mod opening;
#[cfg(test)]
mod tests;
mod touching;

/// The gate of one pair.
#[derive(Debug)]
pub struct Gate {
    /// Newest entry of which anything was classified.
    begun: Position,
    /// Newest entry that is classified whole.
    passed: Position,
    collections: HashMap<Uuid, Collection, FixedState>,
    /// Units in state `Copying`: there are few, of many.
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

#[derive(Debug)]
struct Collection {
    tracked: Arc<Tracked>,
    units: Vec<Unit>,
    /// While Some, ops of copied units wait here (unique builds, DDL).
    hold: Option<Held>,
}

/// A range of `_id`s, up to the next unit's lower bound.
#[derive(Debug)]
struct Unit {
    /// None: from the very first.
    lower: Option<RawBson>,
    state: UnitState,
}

#[derive(Debug)]
enum UnitState {
    /// Its scan has not begun. Set when planned; left by `start`.
    Waiting,
    /// Its scan reads at or after the fence. Set by `start`, or by `admit` where an
    /// earlier incarnation had started it; left by `finish`. No op up to `seen` is
    /// needed.
    ///
    /// IMPORTANT: `seen` is the fence only where nothing of the unit is there: it is begun
    /// for the first time, or capped and emptied. Another one that is taken up again needs
    /// every op from the resume position on: an attempt before may have applied ops below
    /// the fence, and the scan leaves its documents alone.
    Copying {
        fence: Position,
        seen: Position,
        held: Held,
        again: bool,
    },
    /// Its last held op was handed to the lanes. Set by `finish`; final.
    Copied,
}

/// How a scan has to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The scan reads at or after it.
    pub fence: Position,
    /// An earlier incarnation had started it with this fence: the start is
    /// durable already, and documents may be there.
    pub again: bool,
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
    /// This shard does not own the document.
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

    /// Admits a collection with its units as planned, or as an earlier
    /// incarnation left them. `bounds` are the lower bounds of all units but the
    /// first, ascending. Ops of a unit that was being copied are held from now on.
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
        let lowers = std::iter::once(None).chain(bounds.iter().cloned().map(Some));
        let emptied = tracked.traits.capped;
        let restored = |(lower, state): (_, &_)| Unit::restored(lower, *state, self.begun, emptied);
        let units: Vec<Unit> = lowers.zip(states).map(restored).collect();
        let copying = units
            .iter()
            .enumerate()
            .filter(|(_, unit)| matches!(unit.state, UnitState::Copying { .. }));
        self.copying.extend(copying.map(|(index, _)| (uuid, index)));
        self.collections.insert(
            uuid,
            Collection {
                tracked,
                units,
                hold: None,
            },
        );
    }

    /// Admits a collection that the tail saw being created: it is complete by
    /// its ops alone, which are held until `release`.
    pub fn admit_new(&mut self, tracked: Arc<Tracked>) {
        let uuid = tracked.uuid;
        self.admit(tracked, &[], &[state::UnitState::Settled]);
        self.set_hold(&uuid);
    }

    pub fn tracked(&self, uuid: &Uuid) -> Option<&Arc<Tracked>> {
        self.collections.get(uuid).map(|c| &c.tracked)
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
        if collection.tracked.is_dead() {
            return Verdict::Dropped;
        }
        if collection.tracked.is_passive() || op.kind == OpKind::Insert && !collection.owns(op.body)
        {
            return Verdict::Foreign;
        }
        let unit = collection.unit_of(op.id);
        let held = match &mut collection.units[unit].state {
            UnitState::Waiting => return Verdict::Dropped,
            UnitState::Copying { seen, .. } if op.position <= *seen => return Verdict::Dropped,
            UnitState::Copying { held, .. } => Some(held),
            UnitState::Copied => collection.hold.as_mut(),
        };
        // Whatever becomes of it now, it is going to be applied.
        let id = IdKey::new(op.id);
        self.touched
            .note(&op.uuid, &id, op.position, self.touched_max);
        if held.as_ref().is_some_and(|held| held.is_open()) {
            self.left += 1;
            return Verdict::Held;
        }
        match held {
            Some(held) => {
                held.push(op.kept(id, origin.copy(op.body)));
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
    pub fn start(&mut self, uuid: &Uuid, unit: usize) -> Option<Started> {
        let collection = self
            .collections
            .get_mut(uuid)
            .filter(|c| c.tracked.counts())?;
        match &mut collection.units[unit].state {
            UnitState::Copying { fence, again, .. } if *again => {
                *again = false;
                Some(Started {
                    fence: *fence,
                    again: true,
                })
            }
            state @ UnitState::Waiting => {
                let fence = self.begun;
                *state = UnitState::Copying {
                    fence,
                    seen: fence,
                    held: Held::default(),
                    again: false,
                };
                self.copying.insert((*uuid, unit));
                Some(Started {
                    fence,
                    again: false,
                })
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

    /// Below every unapplied op: held, queued or in flight (R6).
    pub fn watermark(&self) -> Position {
        self.copying_units()
            .map(|(_, held)| held.below())
            .fold(self.applied(), Position::min)
    }

    /// Below every unapplied op that no unit being copied holds: all that counts
    /// if those units are given up.
    fn applied(&self) -> Position {
        let held = self.holds().map(|held| held.below());
        let queued = self.lanes.iter().map(|lane| lane.oldest().before());
        let in_order = held.chain(queued).fold(self.passed, Position::min);
        // IMPORTANT: last, the count too. A refused op is doubtful before it leaves its lane.
        self.doubting()
            .map(|tracked| tracked.doubtful_oldest().before())
            .fold(in_order, Position::min)
    }

    /// What a checkpoint may record once it is proven (R6, R7). None once the
    /// gate is closed: what is dropped since then must not count as applied.
    pub fn capture(&mut self) -> Option<Recorded> {
        if self.closed {
            return None;
        }
        let (watermark, applied) = (self.watermark(), self.applied());
        let fences: Vec<Position> = self.copying_units().map(|(fence, _)| fence).collect();
        let tracked = self
            .collections
            .values()
            .map(|collection| &collection.tracked);
        let duplicate_names = tracked
            .filter(|t| t.counts() && t.duplicate_names.capture())
            .map(|t| t.uuid)
            .collect();
        let recorded = self
            .ledger
            .capture(watermark, applied, fences.into_iter(), &self.lanes);
        Some(Recorded {
            duplicate_names,
            ..recorded
        })
    }

    /// Fence of the oldest unit being copied, if any.
    pub fn oldest_fence(&self) -> Option<Position> {
        self.copying_units().map(|(fence, _)| fence).min()
    }

    /// Ops held in memory, and their bytes.
    pub fn held(&self) -> (u64, u64) {
        self.all_held().fold((0, 0), |(ops, bytes), held| {
            (ops + held.count() as u64, bytes + held.bytes())
        })
    }

    /// Some ops wait, or soon may.
    pub fn is_holding(&self) -> bool {
        !(self.copying.is_empty() && self.holding.is_empty())
    }

    fn copying_units(&self) -> impl Iterator<Item = (Position, &Held)> {
        self.copying.iter().filter_map(|(uuid, unit)| {
            match &self.collections.get(uuid)?.units[*unit].state {
                UnitState::Copying { fence, held, .. } => Some((*fence, held)),
                _ => None,
            }
        })
    }

    fn all_held(&self) -> impl Iterator<Item = &Held> {
        self.copying_units()
            .map(|(_, held)| held)
            .chain(self.holds())
    }

    fn holds(&self) -> impl Iterator<Item = &Held> {
        self.holding
            .iter()
            .filter_map(|uuid| self.collections.get(uuid)?.hold.as_ref())
    }
}

impl Unit {
    /// `resume`: everything up to there is applied. `emptied`: before it is scanned again.
    fn restored(
        lower: Option<RawBson>,
        state: state::UnitState,
        resume: Position,
        emptied: bool,
    ) -> Self {
        let state = match state {
            state::UnitState::Waiting => UnitState::Waiting,
            state::UnitState::Copying(fence) => {
                let seen = if emptied { fence } else { resume };
                UnitState::Copying {
                    fence,
                    seen,
                    held: Held::default(),
                    again: true,
                }
            }
            state::UnitState::Settled => UnitState::Copied,
        };
        Unit { lower, state }
    }
}

impl Collection {
    fn owns(&self, body: &[u8]) -> bool {
        RawDocument::from_bytes(body).is_ok_and(|document| self.tracked.owns(document))
    }

    fn unit_of(&self, id: ValueRef<'_>) -> usize {
        let id = id.view();
        let starts_at_or_before = |unit: &Unit| match &unit.lower {
            None => true,
            Some(lower) => {
                order::compare_views(&lower.as_raw_bson_ref().into(), &id) != Ordering::Greater
            }
        };
        self.units.partition_point(starts_at_or_before) - 1
    }

    fn queue(&self, op: Op, lanes: &[Arc<Inbox>]) {
        let hash = if self.tracked.in_order() {
            0
        } else {
            op.id.hash()
        };
        self.tracked.in_lanes.fetch_add(1, SeqCst);
        lanes[lane_of(&op.uuid, hash, lanes.len())].push(Queued {
            op,
            collection: self.tracked.clone(),
        });
    }

    fn is_copied(&self) -> bool {
        self.units
            .iter()
            .all(|unit| matches!(unit.state, UnitState::Copied))
    }
}

/// The lane of a document: by collection and `_id`, as the `_id` index compares (R4).
fn lane_of(uuid: &Uuid, id_hash: u64, lanes: usize) -> usize {
    let uuid = u128::from_le_bytes(uuid.bytes());
    let mixed = (id_hash ^ uuid as u64 ^ (uuid >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 32) as usize) % lanes
}
