//! Which collections the tail has passed the horizon of (R3).

use crate::pair::collection::Tracked;
use crate::pair::gate::Gate;

impl Gate {
    /// Once its lanes are empty, a collection held at the position passed is
    /// what the source was there, save its doubtful documents.
    pub fn is_past_horizon(&self, tracked: &Tracked) -> bool {
        self.is_copied(&tracked.uuid) && tracked.horizon() <= self.passed
    }

    /// A collection that is copied waits for the tail to pass its horizon.
    pub fn waits_for_horizon(&self) -> bool {
        let tracked = self
            .collections
            .values()
            .map(|collection| &collection.tracked);
        let mut behind =
            tracked.filter(|tracked| tracked.counts() && self.passed < tracked.horizon());
        behind.any(|tracked| self.is_copied(&tracked.uuid))
    }
}
