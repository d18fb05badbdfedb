//! Where a pair of the simulation goes on: the steps of
//! `shardlift::control::attempt::resume` and `emptying`, between which it can be killed.
//!
//! The model's sources keep all they ever had; that a position rolled off is a
//! throw of the dice.

use bson::Uuid;
use shardlift::control::attempt::resume::{units_in_flight, wait_anew};
use shardlift::state::PairState;

use crate::sim::body::{self, Key};
use crate::sim::store::StoreWrite;
use crate::sim::world::World;

/// One start in so many finds its resume position gone.
const ROLLED_OFF: u64 = 4;
/// One step in so many is the process's last.
const KILLED: u64 = 6;

impl World {
    /// False if the process is killed on the way.
    pub(super) fn choose_start(
        &mut self,
        which: usize,
        incarnation: i64,
        state: &mut PairState,
    ) -> bool {
        let rolled_off = 0 < self.fault_steps && self.dice.below(ROLLED_OFF) == 0;
        if rolled_off && state.resume.position < state.applied.position {
            let lost: Vec<(Uuid, usize)> = units_in_flight(state)
                .map(|(c, unit)| (c.uuid, unit))
                .collect();
            self.note(|| {
                format!(
                    "pair {which} goes on at {:?}, without {lost:?}",
                    state.applied.position
                )
            });
            self.write(which, StoreWrite::Wiping(lost.clone()));
            if self.is_killed() {
                return false;
            }
            self.finish_wipes(which);
            if self.is_killed() {
                return false;
            }
            wait_anew(state, &lost);
            state.resume = state.applied;
        }
        state.applied = state.resume;
        self.write(which, StoreWrite::GoOn(incarnation, state.resume));
        !self.is_killed()
    }

    /// A process that ends within is made up for by the next: the mark stays until
    /// all is deleted.
    pub(super) fn finish_wipes(&mut self, which: usize) {
        let wiping = self.targets[which].now.store.wiping();
        let collections = self.targets[which].now.store.load().collections;
        for collection in collections {
            let Some(target) = collection.target_uuid else {
                continue;
            };
            let bound = |i: usize| {
                collection
                    .bounds
                    .get(i)
                    .map(|b| body::key(b.as_raw_bson_ref()).0)
            };
            for (_, unit) in wiping.iter().filter(|(uuid, _)| *uuid == collection.uuid) {
                let lower = unit.checked_sub(1).and_then(bound).unwrap_or(Key::MIN);
                let upper = bound(*unit).unwrap_or(Key::MAX);
                self.targets[which].empty(target, lower..upper);
            }
        }
        self.write(which, StoreWrite::Forget(wiping));
    }

    pub(super) fn write(&mut self, which: usize, write: StoreWrite) {
        self.targets[which].store(write);
        self.targets[which].commit_all();
    }

    pub(super) fn is_killed(&mut self) -> bool {
        0 < self.fault_steps && self.dice.below(KILLED) == 0
    }
}
