//! Verification ahead of the cutover, as the gate sees it: when tracking of a collection
//! begins, and the position after which both sides may be compared.
//!
//! Reads nothing and compares nothing: that is control's and `verify`'s.

use bson::Uuid;

use super::Gate;
use crate::bson::identity::IdKey;
use crate::position::Position;

impl Gate {
    /// Starts keeping the touched documents of a copied collection, at most `ids_max`
    /// over all collections. Returns the round; None if the collection is not copied, or
    /// gone.
    pub fn track(&mut self, uuid: &Uuid, ids_max: usize) -> Option<u64> {
        let collection = self.collections.get(uuid)?;
        if !collection.tracked.counts() || !collection.is_copied() {
            return None;
        }
        self.touched_max = ids_max;
        Some(self.touched.begin(*uuid))
    }

    /// The position that must be applied before both sides are compared. Every op decided
    /// on so far is at or below it, and so is all that the copied documents may show. A
    /// difference seen after it is one that following cannot mend, unless the document is
    /// kept as touched. None if the round is over.
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

    /// Adds documents that were found different. Returns false if the round is over.
    pub fn touch(&mut self, uuid: &Uuid, round: u64, ids: Vec<IdKey>) -> bool {
        self.touched
            .add(uuid, round, ids, self.begun, self.touched_max)
    }

    /// Removes documents found equal by a comparison that was valid for `position`.
    pub fn found_equal(&mut self, uuid: &Uuid, round: u64, ids: &[IdKey], position: Position) {
        self.touched.found_equal(uuid, round, ids, position);
    }

    /// The collection counts as unverified from now on.
    pub fn untrack(&mut self, uuid: &Uuid) {
        self.touched.forget(uuid);
    }

    pub fn is_tracked(&self, uuid: &Uuid, round: u64) -> bool {
        self.touched.is_on(uuid, round)
    }

    /// Number of touched documents of all collections.
    pub fn touched_count(&self) -> usize {
        self.touched.count()
    }

    /// Newest entry of which at least one op was classified.
    pub fn begun(&self) -> Position {
        self.begun
    }
}
