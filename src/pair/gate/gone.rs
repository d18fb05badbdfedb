//! Collections that are, or seem to be, dropped on the source: what happens to their
//! units, and what must not count as applied meanwhile.

use std::sync::Arc;

use bson::Uuid;

use super::Gate;
use super::unit::UnitState;
use crate::pair::collection::Tracked;
use crate::pair::gate::ledger::Pin;
use crate::position::Position;

impl Gate {
    /// All collections whose data matters here.
    pub fn all_that_count(&self) -> impl Iterator<Item = &Arc<Tracked>> {
        self.collections
            .values()
            .map(|c| &c.tracked)
            .filter(|tracked| tracked.counts())
    }

    /// The collection is known to be dropped later: its ops are of no use.
    pub fn discard(&mut self, uuid: &Uuid) {
        if let Some(collection) = self.collections.get_mut(uuid) {
            collection.tracked.expect_drop();
            self.give_up(uuid);
        }
    }

    /// Discards the ops of a collection that seems to be dropped on the source. The drop
    /// may still be rolled back, and then all of them would be needed again: the fences
    /// and held ops of its units, the ops in its lanes, its doubtful documents. So until
    /// the pin is returned nothing more counts as applied.
    pub fn suspend(&mut self, uuid: &Uuid) -> Pin {
        let watermark = self.watermark();
        let fences = self.fences();
        let pin = self.ledger.pin_all(watermark, fences);
        self.discard(uuid);
        pin
    }

    /// The collection was dropped on the source: its ops are discarded, now and
    /// for ever. Returns it, if this pair held it.
    pub fn kill(&mut self, uuid: &Uuid) -> Option<Arc<Tracked>> {
        let collection = self
            .collections
            .get(uuid)
            .filter(|c| !c.tracked.is_dead())?;
        let tracked = collection.tracked.clone();
        tracked.kill();
        self.give_up(uuid);
        Some(tracked)
    }

    /// Nothing on these is met any more (`control::across::forget`).
    pub fn forget(&mut self, uuids: &[Uuid]) {
        for uuid in uuids {
            if self
                .collections
                .get(uuid)
                .is_some_and(|c| c.tracked.is_dead())
            {
                self.collections.remove(uuid);
            }
        }
    }

    fn give_up(&mut self, uuid: &Uuid) {
        let Some(collection) = self.collections.get_mut(uuid) else {
            return;
        };
        collection.hold = None;
        collection.tracked.roll(false);
        for unit in &mut collection.units {
            unit.state = UnitState::Copied {
                shown: Position::MAX,
            };
        }
        self.holding.remove(uuid);
        self.touched.forget(uuid);
        self.copying.retain(|(of, _)| of != uuid);
    }
}
