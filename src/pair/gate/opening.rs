//! Finishing units, holding collections, and letting their ops through again: ops that
//! waited go to the lanes under the lock that classifies.
//!
//! Ops left to the spool come first: a reader hands them over (`left`) and asks again.

use bson::Uuid;

use super::Gate;
use super::unit::UnitState;
use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::pair::gate::held::{Held, Stretch};
use crate::pair::gate::rolling::{Read, Rolling};
use crate::pair::op::{OpKind, OpRef};
use crate::pair::origin::Kept;
use crate::position::Position;

/// The result of asking to let the ops of a place through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// They go through from now on. `last`: every unit of the collection is copied.
    Open { last: bool },
    /// These are to be read and handed over first.
    Spooled(Stretch),
    /// The tail is in the middle of an entry, whose parts must not be torn: ask again.
    Torn,
}

impl Gate {
    /// copying → copied, when the last write of the scan is acknowledged and
    /// nothing of the unit is left to the spool.
    pub fn finish(&mut self, uuid: &Uuid, unit: usize) -> Opening {
        let between_entries = self.is_between_entries();
        let Some(collection) = self
            .collections
            .get_mut(uuid)
            .filter(|c| c.tracked.counts())
        else {
            return Opening::Open { last: false };
        };
        let state = &mut collection.units[unit].state;
        let (held, fence) = match state {
            UnitState::Copying { fence, held, .. } => (held, Some(*fence)),
            UnitState::Rolling { rolling, .. } => {
                assert!(rolling.is_done(), "a read of it is under way");
                (&mut rolling.held, None)
            }
            _ => panic!("a unit is finished once, after its start"),
        };
        if let Some(first) = first_to_do(held, between_entries, self.passed) {
            return first;
        }
        let held = held.take();
        // All that its scan read has raised it.
        collection.tracked.roll(false);
        let shown = collection.tracked.horizon();
        *state = UnitState::Copied { shown };
        self.copying.remove(&(*uuid, unit));
        for op in held {
            collection.queue(op, &self.lanes);
        }
        // What a read gave may be doubtful from the next position on (`Read::position`).
        let newest = match fence {
            Some(_) => self.begun,
            None => self.begun.next(),
        };
        self.ledger.handed_over(
            collection.tracked.clone(),
            unit,
            (fence, newest),
            &self.lanes,
        );
        Opening::Open {
            last: collection.is_copied(),
        }
    }

    /// A read of a collection that is copied in the order of the disk: to be called before
    /// the source is asked, which must have reached it by then. `before`: the read of the
    /// same cursor before this one. None if the collection is gone.
    pub fn begin_read(&mut self, uuid: &Uuid, before: Option<&Read>) -> Option<Read> {
        let (begun, passed) = (self.begun, self.passed);
        Some(self.rolling(uuid)?.begin(begun, passed, before))
    }

    /// Every document of these reads is written: ops that waited for them go to the lanes.
    pub fn end_reads(&mut self, uuid: &Uuid, reads: &[Read]) {
        let Some(rolling) = self.rolling(uuid) else {
            return;
        };
        let waited = rolling.end(reads);
        let collection = &self.collections[uuid];
        for op in waited {
            collection.queue(op, &self.lanes);
        }
    }

    /// Documents of a read under way that their lanes write, before all that waits for it:
    /// what a lane does to such must not run beside the scan (`write::delicate`).
    pub fn queue_read(&mut self, uuid: &Uuid, position: Position, documents: Vec<Kept>) {
        let Some(collection) = self.collections.get(uuid).filter(|c| c.tracked.counts()) else {
            return;
        };
        for document in documents {
            let body = document.body.clone();
            let Some(id) = locate::id_of(locate::raw(&body)) else {
                continue;
            };
            let op = OpRef {
                position,
                uuid: *uuid,
                kind: OpKind::Insert,
                id,
                body: &body,
            };
            collection.queue(op.kept(IdKey::new(id), document), &self.lanes);
        }
    }

    /// Ops on the collection wait for reads under way.
    pub fn waits_for_reads(&self, uuid: &Uuid) -> bool {
        let units = self.collections.get(uuid).map(|c| &c.units[..]);
        let mut units = units.unwrap_or_default().iter();
        units.any(|unit| unit.held().is_some_and(|held| 0 < held.count()))
    }

    fn rolling(&mut self, uuid: &Uuid) -> Option<&mut Rolling> {
        let collection = self
            .collections
            .get_mut(uuid)
            .filter(|c| c.tracked.counts())?;
        match &mut collection.units[0].state {
            UnitState::Rolling { rolling, .. } => Some(rolling),
            _ => None,
        }
    }

    /// From now on ops of the copied collection wait. Returns false if the tail
    /// is in the middle of an entry, whose parts must not be torn: ask again.
    pub fn hold(&mut self, uuid: &Uuid) -> bool {
        let between_entries = self.is_between_entries();
        if between_entries {
            self.set_hold(uuid);
        }
        between_entries
    }

    pub(super) fn set_hold(&mut self, uuid: &Uuid) {
        if let Some(collection) = self.collections.get_mut(uuid) {
            assert!(collection.is_copied(), "only a copied collection is held");
            collection.hold.get_or_insert_default();
            self.holding.insert(*uuid);
        }
    }

    fn is_between_entries(&self) -> bool {
        self.begun == self.passed
    }

    /// Hands over what waited and lets ops through again.
    pub fn release(&mut self, uuid: &Uuid) -> Opening {
        let between_entries = self.is_between_entries();
        let Some(collection) = self.collections.get_mut(uuid) else {
            return Opening::Open { last: false };
        };
        let last = collection.is_copied();
        if let Some(hold) = &mut collection.hold
            && collection.tracked.counts()
        {
            if let Some(first) = first_to_do(hold, between_entries, self.passed) {
                return first;
            }
            for op in hold.take() {
                collection.queue(op, &self.lanes);
            }
        }
        collection.hold = None;
        self.holding.remove(uuid);
        Opening::Open { last }
    }
}

/// What must be done before the ops of `held` may be handed over.
fn first_to_do(held: &mut Held, between_entries: bool, passed: Position) -> Option<Opening> {
    if held.is_open() && !between_entries {
        return Some(Opening::Torn);
    }
    held.to_read(passed).map(Opening::Spooled)
}
