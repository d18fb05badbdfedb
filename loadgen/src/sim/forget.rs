//! Dropped collections are forgotten, as `shardlift::control::across::forget` does it: it decides
//! when, in the simulation too.

use crate::sim::coordinator::Coordinator;
use crate::sim::pair::Pair;
use crate::sim::store::StoreWrite;
use crate::sim::world::World;

impl World {
    /// What is due by now.
    pub(super) fn forget(&mut self, coordinator: &mut Coordinator, pairs: &mut [Pair]) {
        if self.dice.below(8) != 0 {
            return;
        }
        let recorded = self
            .targets
            .iter()
            .map(|target| target.durable.store.resume().position);
        let reached = pairs
            .iter()
            .map(Pair::reached)
            .max()
            .expect("there is a pair");
        let due = coordinator.forgettable(reached, recorded.min().expect("there is a target"));
        if due.is_empty() {
            return;
        }
        self.note(|| format!("forgotten: {due:?}"));
        for pair in pairs {
            self.targets[pair.index].store(StoreWrite::Bury(due.clone()));
            pair.gate.forget(&due);
        }
    }
}
