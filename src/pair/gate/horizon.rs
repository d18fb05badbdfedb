//! Which collections the tail has passed the horizon of (R3).

use crate::pair::collection::Tracked;
use crate::pair::gate::Gate;

impl Gate {
    /// Whether the tail has passed the collection's horizon. If it is held then and its
    /// lanes are empty, it equals the source at the position passed, except for its
    /// doubtful documents.
    pub fn is_past_horizon(&self, tracked: &Tracked) -> bool {
        self.is_copied(&tracked.uuid) && tracked.horizon() <= self.passed
    }

    /// Whether a copied collection waits for the tail to pass its horizon.
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
