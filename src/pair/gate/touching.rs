//! Verification ahead of the cutover, as the gate sees it: when a collection begins
//! to be tracked, and which position a look at both sides has to be good for.
//!
//! Reads nothing and compares nothing: that is control's and `verify`'s.

use bson::Uuid;

use super::Gate;
use crate::bson::identity::IdKey;
use crate::position::Position;

impl Gate {
    /// From now on the touched documents of a copied collection are kept, of all
    /// collections no more than `ids_max`. Returns the round; None if it is not
    /// copied, or gone.
    pub fn track(&mut self, uuid: &Uuid, ids_max: usize) -> Option<u64> {
        let collection = self.collections.get(uuid)?;
        if !collection.tracked.counts() || !collection.is_copied() {
            return None;
        }
        self.touched_max = ids_max;
        Some(self.touched.begin(*uuid))
    }

    /// Everything of the collection that was decided on is at or below it, and so is
    /// all that its copied documents may show: once it is applied, and where both
    /// sides are read after it, a difference is none that the follow would still mend,
    /// save by an op that is kept as touched. None if the round is over.
    pub fn look_at(&self, uuid: &Uuid, round: u64) -> Option<Position> {
        let collection = self
            .collections
            .get(uuid)
            .filter(|_| self.touched.is_on(uuid, round))?;
        Some(self.begun.max(collection.tracked.horizon()))
    }

    /// The documents of the collection last touched at or before `position`, at most
    /// `most`; None if the round is over.
    pub fn touched_of(
        &self,
        uuid: &Uuid,
        round: u64,
        position: Position,
        most: usize,
    ) -> Option<Vec<IdKey>> {
        self.touched.of(uuid, round, position, most)
    }

    /// These were found different. False if the round is over.
    pub fn touch(&mut self, uuid: &Uuid, round: u64, ids: Vec<IdKey>) -> bool {
        self.touched
            .add(uuid, round, ids, self.begun, self.touched_max)
    }

    /// These were found equal by a look that was good for `position`.
    pub fn settle(&mut self, uuid: &Uuid, round: u64, ids: &[IdKey], position: Position) {
        self.touched.settle(uuid, round, ids, position);
    }

    /// The collection counts as unverified from now on.
    pub fn untrack(&mut self, uuid: &Uuid) {
        self.touched.forget(uuid);
    }

    pub fn is_tracked(&self, uuid: &Uuid, round: u64) -> bool {
        self.touched.is_on(uuid, round)
    }

    /// Documents touched, of all collections.
    pub fn touched_count(&self) -> usize {
        self.touched.count()
    }

    /// Newest entry of which anything was classified.
    pub fn begun(&self) -> Position {
        self.begun
    }
}
