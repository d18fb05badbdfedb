//! Held ops that memory has no room for. They are left to the spool, which keeps every
//! entry from the resume position on (R6), and are read again from there when their place
//! is about to open.
//!
//! Reads nothing itself; `replay` does.

use bson::Uuid;

use super::{Gate, Place};
use crate::bson::identity::IdKey;
use crate::pair::gate::held::Held;
use crate::pair::gate::unit::Way;
use crate::pair::op::OpRef;
use crate::pair::origin::Origin;
use crate::position::Position;

impl Gate {
    /// Leaves held ops to the spool, the largest places first, until at most `bytes_max`
    /// are in memory. Returns the number of ops. Those that wait for reads under way stay:
    /// what these give is written within seconds, unless a side is away (`copy::natural`).
    ///
    /// Only whole entries are left: the entry of the oldest op is read again from its
    /// beginning, and an entry that the tail is in the middle of stays with the rest.
    pub fn leave(&mut self, bytes_max: u64) -> u64 {
        let mut left = 0;
        let mut places: Vec<(u64, Place)> = self
            .places()
            .into_iter()
            .map(|place| (self.bytes_at(&place), place))
            .collect();
        places.sort_unstable();
        let mut bytes: u64 = places.iter().map(|(bytes, _)| bytes).sum();
        while bytes_max < bytes
            && let Some((of_place, place)) = places.pop()
        {
            bytes -= of_place;
            left += self.held_at(&place).map_or(0, Held::leave);
        }
        self.left += left;
        left
    }

    /// Leaves all ops of a held collection at `position` or later to the spool. What they
    /// mean is decided only when they are read again.
    pub fn leave_from(&mut self, uuid: &Uuid, position: Position) {
        let held = self
            .collections
            .get_mut(uuid)
            .and_then(|collection| collection.hold.as_mut());
        self.left += held.map_or(0, |held| held.leave_from(position));
    }

    /// Ops ever left to the spool.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Hands over an op that was left to the spool, if it belongs to this place and still
    /// counts. To be called in order, and only for the stretch that is to be read.
    pub fn replay(&mut self, place: &Place, op: OpRef<'_>, origin: &mut Origin) -> bool {
        debug_assert!(op.uuid == place.uuid, "the reader looks for one collection");
        let Some(collection) = self
            .collections
            .get_mut(&op.uuid)
            .filter(|c| c.tracked.counts())
        else {
            return false;
        };
        let is_here = place
            .unit
            .is_none_or(|unit| collection.unit_of(op.id) == unit);
        if !is_here || !collection.owns(&op) {
            return false;
        }
        let kept = origin.lend(op.body);
        collection.queue(op.kept(IdKey::new(op.id), kept), &self.lanes);
        true
    }

    /// All ops of the place in the entries up to and with `position` were handed
    /// over. False if its collection is gone.
    pub fn replayed(&mut self, place: &Place, position: Position) -> bool {
        let Some(held) = self.held_at(place) else {
            return false;
        };
        held.read(position);
        true
    }

    fn places(&self) -> Vec<Place> {
        let mut places = Vec::with_capacity(self.copying.len() + self.holding.len());
        let by_id = self
            .copying
            .iter()
            .filter(|(uuid, _)| self.collections[uuid].way() != Way::Rolling);
        for (uuid, unit) in by_id {
            places.push(Place {
                uuid: *uuid,
                unit: Some(*unit),
            });
        }
        for uuid in &self.holding {
            places.push(Place {
                uuid: *uuid,
                unit: None,
            });
        }
        places
    }

    fn bytes_at(&mut self, place: &Place) -> u64 {
        self.held_at(place).map_or(0, |held| held.bytes())
    }

    fn held_at(&mut self, place: &Place) -> Option<&mut Held> {
        self.collections.get_mut(&place.uuid)?.held(place.unit)
    }
}
