//! The gate: decides for every op by the state of the unit that holds its
//! `_id` — drop, hold or apply (DESIGN §3, R2) — and knows what is unapplied.
//!
//! A pure state machine: the caller holds its lock, no call waits, no call
//! talks to a server. Memory is bounded by the permits inside the ops, taken
//! before an op gets here.
//!
//! IMPORTANT: `start` reads the fence, and `finish` hands over held ops and
//! opens the unit, under the same lock that classifies. A new op of a unit can
//! so never overtake an older held one, and no op at or below the fence can be
//! dropped after the fence was read.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::{RawBson, RawBsonRef, RawDocument, Uuid};

use crate::bson::{identity::IdKey, order};
use crate::pair::budget::Permit;
use crate::pair::collection::Tracked;
use crate::pair::inbox::{Inbox, Queued};
use crate::pair::op::{Op, OpKind, OpRef};
use crate::pair::position::Position;

/// The gate of one pair.
#[derive(Debug)]
pub struct Gate {
    /// Newest entry of which anything was classified.
    begun: Position,
    /// Newest entry that is classified whole.
    passed: Position,
    collections: HashMap<Uuid, Collection>,
    lanes: Vec<Arc<Inbox>>,
    /// The cutover is done: nothing is applied any more.
    closed: bool,
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
    /// Its scan reads at or after the fence. Set by `start`; left by `finish`.
    Copying(Held),
    /// Its last held op was handed to the lanes. Set by `finish`; final.
    Copied,
}

/// Ops that wait, in the order they must be applied in.
#[derive(Debug)]
struct Held {
    ops: Vec<Op>,
    bytes: u64,
    oldest: Position,
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
    pub fn new(start: Position, lanes: Vec<Arc<Inbox>>) -> Self {
        Gate { begun: start, passed: start, collections: HashMap::new(), lanes, closed: false }
    }

    /// Admits a collection that is to be copied. `bounds` are the lower bounds
    /// of all its units but the first, ascending; all units wait.
    pub fn admit(&mut self, tracked: Arc<Tracked>, bounds: &[RawBson]) {
        debug_assert!(bounds.is_sorted_by(|a, b| order::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref()).is_lt()));
        let lowers = std::iter::once(None).chain(bounds.iter().cloned().map(Some));
        let units = lowers.map(|lower| Unit { lower, state: UnitState::Waiting }).collect();
        self.collections.insert(tracked.uuid, Collection { tracked, units, hold: None });
    }

    /// Admits a collection that the tail saw being created: it is complete by
    /// its ops alone, which are held until `release`.
    pub fn admit_new(&mut self, tracked: Arc<Tracked>) {
        let units = vec![Unit { lower: None, state: UnitState::Copied }];
        self.collections.insert(tracked.uuid, Collection { tracked, units, hold: Some(Held::default()) });
    }

    pub fn tracked(&self, uuid: &Uuid) -> Option<&Arc<Tracked>> {
        self.collections.get(uuid).map(|c| &c.tracked)
    }

    /// The tail starts on the entry at `position`.
    pub fn begin(&mut self, position: Position) {
        debug_assert!(self.begun <= position, "the tail reads forward");
        self.begun = position;
    }

    /// Everything of the entry at `position` has been classified.
    pub fn pass(&mut self, position: Position) {
        assert!(position <= self.begun, "passed {position} before it was begun");
        self.passed = position;
    }

    /// Decides on one op. `permit` is the reply's: kept ops take their part.
    pub fn classify(&mut self, op: OpRef<'_>, permit: &mut Permit) -> Verdict {
        debug_assert!(op.position <= self.begun, "an op belongs to an entry that was begun");
        if self.closed {
            return Verdict::Dropped;
        }
        let Some(collection) = self.collections.get_mut(&op.uuid) else { return Verdict::Unknown };
        if collection.tracked.is_dead() {
            return Verdict::Dropped;
        }
        if collection.tracked.is_passive() || op.kind == OpKind::Insert && !collection.owns(op.body) {
            return Verdict::Foreign;
        }
        let unit = collection.unit_of(op.id);
        let held = match &mut collection.units[unit].state {
            UnitState::Waiting => return Verdict::Dropped,
            UnitState::Copying(held) => Some(held),
            UnitState::Copied => collection.hold.as_mut(),
        };
        let op = op.to_owned(IdKey::new(op.id), permit);
        match held {
            Some(held) => held.push(op),
            None => {
                collection.queue(op, &self.lanes);
                return Verdict::Queued;
            }
        }
        Verdict::Held
    }

    /// waiting → copying. Returns the fence: the scan must read at or after it.
    /// None if the collection is gone.
    pub fn start(&mut self, uuid: &Uuid, unit: usize) -> Option<Position> {
        let collection = self.collections.get_mut(uuid).filter(|c| !c.tracked.is_dead())?;
        assert!(matches!(collection.units[unit].state, UnitState::Waiting), "a unit is started once");
        collection.units[unit].state = UnitState::Copying(Held::default());
        Some(self.begun)
    }

    /// copying → copied, when the last write of the scan is acknowledged. True
    /// if it was the collection's last unit.
    pub fn finish(&mut self, uuid: &Uuid, unit: usize) -> bool {
        let Some(collection) = self.collections.get_mut(uuid).filter(|c| !c.tracked.is_dead()) else { return false };
        let state = std::mem::replace(&mut collection.units[unit].state, UnitState::Copied);
        let UnitState::Copying(held) = state else { panic!("a unit is finished once, after its start") };
        match &mut collection.hold {
            Some(hold) => held.ops.into_iter().for_each(|op| hold.push(op)),
            None => held.ops.into_iter().for_each(|op| collection.queue(op, &self.lanes)),
        }
        collection.is_copied()
    }

    /// From now on ops of copied units wait. Returns false if the tail is in
    /// the middle of an entry, whose parts must not be torn: ask again.
    pub fn hold(&mut self, uuid: &Uuid) -> bool {
        let between_entries = self.begun == self.passed;
        if let Some(collection) = self.collections.get_mut(uuid).filter(|_| between_entries) {
            collection.hold.get_or_insert_default();
        }
        between_entries
    }

    /// Hands over what waited and lets ops through again.
    pub fn release(&mut self, uuid: &Uuid) {
        let Some(collection) = self.collections.get_mut(uuid) else { return };
        let held = collection.hold.take().unwrap_or_default();
        if collection.tracked.is_passive() {
            return;
        }
        held.ops.into_iter().for_each(|op| collection.queue(op, &self.lanes));
    }

    /// The collection is known to be dropped later: its ops are of no use.
    pub fn discard(&mut self, uuid: &Uuid) {
        if let Some(collection) = self.collections.get_mut(uuid) {
            collection.tracked.set_passive();
            collection.hold = None;
        }
    }

    /// The collection was dropped on the source: its ops are discarded, now and
    /// for ever. Returns it, if this pair held it.
    pub fn kill(&mut self, uuid: &Uuid) -> Option<Arc<Tracked>> {
        let collection = self.collections.get_mut(uuid).filter(|c| !c.tracked.is_dead())?;
        collection.tracked.kill();
        collection.hold = None;
        collection.units.iter_mut().for_each(|unit| unit.state = UnitState::Copied);
        Some(collection.tracked.clone())
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
        let held = self.collections.values().flat_map(Collection::held).map(|held| held.oldest);
        let queued = self.lanes.iter().map(|lane| lane.oldest());
        // IMPORTANT: last. A refused op is doubtful before it leaves its lane.
        let doubtful = self.collections.values().map(|collection| collection.tracked.doubtful_oldest());
        held.chain(queued).chain(doubtful).map(Position::before).fold(self.passed, Position::min)
    }

    /// The collections that have doubtful documents.
    pub fn doubtful(&self) -> Vec<Arc<Tracked>> {
        let doubtful = self.collections.values().filter(|collection| collection.tracked.is_doubtful());
        doubtful.map(|collection| collection.tracked.clone()).collect()
    }

    /// Once its lanes are empty, a collection held at the position passed is
    /// what the source was there, save its doubtful documents.
    pub fn is_past_horizon(&self, tracked: &Tracked) -> bool {
        self.is_copied(&tracked.uuid) && tracked.horizon() <= self.passed
    }

    /// Held ops and their bytes.
    pub fn held(&self) -> (u64, u64) {
        let held = self.collections.values().flat_map(Collection::held);
        held.fold((0, 0), |(ops, bytes), held| (ops + held.ops.len() as u64, bytes + held.bytes))
    }
}

impl Collection {
    fn owns(&self, body: &[u8]) -> bool {
        RawDocument::from_bytes(body).is_ok_and(|document| self.tracked.owns(document))
    }

    fn unit_of(&self, id: RawBsonRef<'_>) -> usize {
        let starts_at_or_before = |unit: &Unit| match &unit.lower {
            None => true,
            Some(lower) => order::compare(lower.as_raw_bson_ref(), id) != Ordering::Greater,
        };
        self.units.partition_point(starts_at_or_before) - 1
    }

    fn queue(&self, op: Op, lanes: &[Arc<Inbox>]) {
        let hash = if self.tracked.in_order() { 0 } else { op.id.hash() };
        self.tracked.in_lanes.fetch_add(1, SeqCst);
        lanes[lane_of(&op.uuid, hash, lanes.len())].push(Queued { op, collection: self.tracked.clone() });
    }

    fn is_copied(&self) -> bool {
        self.units.iter().all(|unit| matches!(unit.state, UnitState::Copied))
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        let in_units = self.units.iter().filter_map(|unit| match &unit.state {
            UnitState::Copying(held) => Some(held),
            _ => None,
        });
        in_units.chain(&self.hold)
    }
}

impl Default for Held {
    fn default() -> Self {
        Held { ops: Vec::new(), bytes: 0, oldest: Position::MAX }
    }
}

impl Held {
    fn push(&mut self, op: Op) {
        self.oldest = self.oldest.min(op.position);
        self.bytes += op.body.len() as u64;
        self.ops.push(op);
    }
}

/// The lane of a document: by collection and `_id`, as the `_id` index compares (R4).
fn lane_of(uuid: &Uuid, id_hash: u64, lanes: usize) -> usize {
    let uuid = u128::from_le_bytes(uuid.bytes());
    let mixed = (id_hash ^ uuid as u64 ^ (uuid >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 32) as usize) % lanes
}
