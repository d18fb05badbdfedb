//! Knowledge about the target's collections, from the recorded states of all pairs at the
//! start of an attempt.
//!
//! Pure. The simulation drives the same code.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::Namespace;
use crate::state::{CollectionState, PairState};

#[derive(Debug, Default)]
pub struct Known {
    /// Pairs whose source shard has the UUID and that have not dropped it.
    pub holders: HashMap<Uuid, BTreeSet<usize>>,
    /// Names in use on the target, by the source UUID they stand for.
    pub names: HashMap<Namespace, Uuid>,
    /// Dropped for good: a pair that still meets its creation discards it.
    pub dead: HashSet<Uuid>,
    /// UUIDs on the target of those in `names`.
    pub targets: HashMap<Uuid, Uuid>,
    /// Recorded as dead by some pair.
    recorded_dead: HashSet<Uuid>,
}

impl Known {
    /// `states[i]`: collections that pair i tracks. A UUID that one pair has dropped on
    /// the target is dead for all (R4). A UUID may also be dead for a pair that never had
    /// it there (created and dropped before it was made); it may live on for the others
    /// until they reach its drop. `dropped`: UUIDs that were made on the target and are
    /// gone from it, whether a pair could record that or not.
    pub fn of(states: &[PairState], dropped: HashSet<Uuid>) -> Self {
        let mut known = Known::default();
        let all = || states.iter().flat_map(|pair| &pair.collections);
        known.dead = all()
            .filter(|c| c.dead && c.target_uuid.is_some())
            .map(|c| c.uuid)
            .chain(dropped)
            .collect();
        for (pair, tracked) in states.iter().enumerate() {
            for collection in tracked.collections.iter().filter(|c| !c.dead) {
                known
                    .holders
                    .entry(collection.uuid)
                    .or_default()
                    .insert(pair);
            }
        }
        // The name of one that is dead for some pair may have passed to another.
        let dead_somewhere: HashSet<Uuid> = all().filter(|c| c.dead).map(|c| c.uuid).collect();
        known.recorded_dead.clone_from(&dead_somewhere);
        let alive = || all().filter(|c| !c.dead && !known.dead.contains(&c.uuid));
        let (doubted, sure): (Vec<_>, Vec<_>) =
            alive().partition(|c| dead_somewhere.contains(&c.uuid));
        let named = doubted.into_iter().chain(sure);
        known.names = named
            .map(|c: &CollectionState| (c.ns.clone(), c.uuid))
            .collect();
        known.targets = alive()
            .filter_map(|c| Some((c.uuid, c.target_uuid?)))
            .collect();
        known
    }

    /// UUIDs that are dead and that no pair holds any more.
    pub fn unheld(&self) -> Vec<Uuid> {
        let is_held = |uuid: &&Uuid| {
            self.holders
                .get(uuid)
                .is_some_and(|pairs| !pairs.is_empty())
        };
        self.dead
            .union(&self.recorded_dead)
            .filter(|uuid| !is_held(uuid))
            .copied()
            .collect()
    }

    /// No pair will meet these any more (`control::across::forget`).
    pub fn forget(&mut self, uuids: &[Uuid]) {
        for uuid in uuids {
            self.dead.remove(uuid);
            self.recorded_dead.remove(uuid);
            self.holders.remove(uuid);
            self.targets.remove(uuid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Mark, Position};

    fn tracked(uuid: u8, target: Option<u8>, dead: bool) -> CollectionState {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let [uuid, target] =
            [Some(uuid), target].map(|byte| byte.map(|byte| Uuid::from_bytes([byte; 16])));
        CollectionState {
            target_uuid: target,
            dead,
            ..CollectionState::dead(uuid.expect("given"), &ns)
        }
    }

    fn known(pairs: [Vec<CollectionState>; 2]) -> Known {
        let resume = Mark {
            position: Position::default(),
            term: 1,
        };
        let state = |collections| PairState {
            resume,
            applied: resume,
            catalog_position: Position::default(),
            collections,
        };
        Known::of(&pairs.map(state), HashSet::new())
    }

    #[test]
    fn dropped_on_the_target_by_one_is_dead_for_all() {
        let known = known([
            vec![tracked(1, Some(9), true)],
            vec![tracked(1, Some(9), false)],
        ]);
        assert!(known.dead.contains(&Uuid::from_bytes([1; 16])) && known.names.is_empty());
    }

    #[test]
    fn dead_before_it_was_made_lives_on_for_the_pair_that_has_it() {
        let uuid = Uuid::from_bytes([1; 16]);
        let states = || {
            [
                vec![tracked(1, None, true)],
                vec![tracked(1, Some(9), false)],
            ]
        };
        let known_now = known(states());
        assert!(known_now.dead.is_empty() && known_now.targets.contains_key(&uuid));
        assert_eq!(known_now.holders[&uuid], BTreeSet::from([1]));
        // Forgotten now, the next pair to meet its drop would make it alone.
        assert!(known_now.unheld().is_empty());
        // Its name has passed on: then it was dropped, and that not recorded.
        let [first, second] = states();
        let renamed = known([[first, vec![tracked(2, Some(8), false)]].concat(), second]);
        assert_eq!(
            renamed.names.values().copied().collect::<Vec<_>>(),
            [Uuid::from_bytes([2; 16])]
        );
    }
}
