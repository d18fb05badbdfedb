//! The register of collections: who has each, its name and UUID on the target, and what is
//! dead. Begun from the recorded states of all pairs as an attempt starts.
//!
//! Pure. What follows from it is decided by `control::across::rendezvous`.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{Namespace, Sharded};
use crate::error::{Error, Kind, Result};
use crate::position::Position;
use crate::state::{CollectionState, PairState};

#[derive(Debug, Default)]
pub struct Register {
    /// Pairs whose source shard has the UUID and that have not dropped it.
    pub(super) holders: HashMap<Uuid, BTreeSet<usize>>,
    /// Pairs that know the UUID: they held it, or hold it.
    pub(super) met: HashMap<Uuid, BTreeSet<usize>>,
    /// Public names in use on the target, by the source UUID they stand for.
    pub(super) names: HashMap<Namespace, Uuid>,
    /// Dropped for good: a pair that still meets its creation discards it.
    pub(super) dead: HashSet<Uuid>,
    /// UUIDs on the target of those in `names`.
    pub(super) targets: HashMap<Uuid, Uuid>,
    /// Recorded as dead by some pair.
    recorded_dead: HashSet<Uuid>,
}

impl Register {
    /// `states[i]`: collections that pair i tracks. A UUID that one pair has dropped on
    /// the target is dead for all (R4). A UUID may also be dead for a pair that never had
    /// it there (created and dropped before it was made); it may live on for the others
    /// until they reach its drop. `dropped`: UUIDs that were made on the target and are
    /// gone from it, whether a pair could record that or not.
    pub fn of(states: &[PairState], dropped: HashSet<Uuid>) -> Self {
        let mut register = Register::default();
        let all = || states.iter().flat_map(|pair| &pair.collections);
        register.dead = all()
            .filter(|c| c.dead && c.target_uuid.is_some())
            .map(|c| c.uuid)
            .chain(dropped)
            .collect();
        for (pair, tracked) in states.iter().enumerate() {
            for collection in &tracked.collections {
                let met = register.met.entry(collection.uuid).or_default();
                met.insert(pair);
                if !collection.dead {
                    let holders = register.holders.entry(collection.uuid).or_default();
                    holders.insert(pair);
                }
            }
        }
        // The name of one that is dead for some pair may have passed to another.
        let dead_somewhere: HashSet<Uuid> = all().filter(|c| c.dead).map(|c| c.uuid).collect();
        register.recorded_dead.clone_from(&dead_somewhere);
        let alive = || all().filter(|c| !c.dead && !register.dead.contains(&c.uuid));
        // Or to one that was made, from one that never was.
        let is_sure =
            |c: &&CollectionState| (!dead_somewhere.contains(&c.uuid), c.target_uuid.is_some());
        let mut named: Vec<&CollectionState> = alive().collect();
        named.sort_by_key(is_sure);
        // One name each: a pair that has no part of it on the target sees no rename there.
        let called: HashMap<Uuid, &Namespace> = named.iter().map(|c| (c.uuid, &c.ns)).collect();
        let names = named.iter().filter(|c| called[&c.uuid] == &c.ns);
        register.names = names.map(|c| (c.ns.public(), c.uuid)).collect();
        register.targets = alive()
            .filter_map(|c| Some((c.uuid, c.target_uuid?)))
            .collect();
        register
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
            self.met.remove(uuid);
            self.targets.remove(uuid);
        }
    }
}

/// Up to where entries on what was given up are still to be read, whatever pairs have met.
pub fn given_up_to(states: &[PairState]) -> Position {
    let all = states.iter().flat_map(|state| &state.collections);
    let given_up = all.filter(|c| c.dead).map(|c| c.planned_at);
    given_up.max().unwrap_or_default()
}

/// Collections that were made on the target and are no longer there: their drop was made,
/// and not every pair could record it. Nothing can be written to them, and a namesake may
/// be there already (R4).
///
/// `there`: UUIDs of the target's collections.
pub fn dropped(states: &[PairState], there: &HashSet<Uuid>) -> HashSet<Uuid> {
    let all = states.iter().flat_map(|state| &state.collections);
    all.filter(|c| c.target_uuid.is_some_and(|made| !there.contains(&made)))
        .map(|c| c.uuid)
        .collect()
}

/// Takes out of `dropped` what is on the target by another UUID: a `shardlift recopy` that did
/// not end made it anew, or was to, and the source has dropped it since. That drop is still to be
/// made. A record of what is not there counts as that of a pair with no part of it.
pub fn take_out_made_anew(
    states: &mut [PairState],
    dropped: &mut HashSet<Uuid>,
    there: &HashSet<Uuid>,
) {
    let is_there = |c: &CollectionState| c.target_uuid.is_some_and(|made| there.contains(&made));
    let all = states.iter().flat_map(|state| &state.collections);
    let alive = all.filter(|c| !c.dead && is_there(c));
    let anew: HashMap<Uuid, Option<Sharded>> = alive.map(|c| (c.uuid, c.sharded.clone())).collect();
    for state in states {
        let mut recorded = state.collections.iter_mut();
        let lost = |c: &CollectionState| {
            dropped.contains(&c.uuid) && anew.contains_key(&c.uuid) && !is_there(c)
        };
        while let Some(of) = recorded.find(|c| lost(c)) {
            of.target_uuid = None;
            // Nor has the target the map that was of it.
            of.target_version = None;
            of.sharded.clone_from(&anew[&of.uuid]);
        }
    }
    dropped.retain(|uuid| !anew.contains_key(uuid));
}

/// A drop is made on the target when every pair has met it: then no source shard lists the
/// collection.
///
/// `gone[i]`: UUIDs that pair i tracks and that its source shard has no longer.
///
/// # Errors
/// `Unsupported` for one of `dropped` that a source shard still has.
pub fn check_dropped_by_us(
    states: &[PairState],
    gone: &[HashSet<Uuid>],
    dropped: &HashSet<Uuid>,
) -> Result<()> {
    for (state, gone) in states.iter().zip(gone) {
        let mut alive = state
            .collections
            .iter()
            .filter(|c| !c.dead && !gone.contains(&c.uuid));
        if let Some(lost) = alive.find(|c| dropped.contains(&c.uuid)) {
            let ns = &lost.ns;
            let found = format!("{ns} was dropped or recreated on the target by somebody else");
            return Err(Error::new(Kind::Unsupported, found).remedy(format!(
                "if a `shardlift recopy` did not end, run it again; else make that collection anew with `shardlift recopy --ns {}` and the same --source and --target, then run the same `shardlift migrate` again, and leave the target alone during a run",
                ns.public()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Mark;

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

    fn register(pairs: [Vec<CollectionState>; 2]) -> Register {
        Register::of(&states(pairs), HashSet::new())
    }

    fn states(pairs: [Vec<CollectionState>; 2]) -> [PairState; 2] {
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
        pairs.map(state)
    }

    #[test]
    fn dropped_on_the_target_by_one_is_dead_for_all() {
        let register = register([
            vec![tracked(1, Some(9), true)],
            vec![tracked(1, Some(9), false)],
        ]);
        assert!(register.dead.contains(&Uuid::from_bytes([1; 16])) && register.names.is_empty());
    }

    #[test]
    fn a_name_is_that_of_the_one_that_was_made() {
        for (first, second) in [(Some(9), None), (None, Some(9))] {
            let both = vec![tracked(1, first, false), tracked(2, second, false)];
            let register = register([both, Vec::new()]);
            let holder = if first.is_some() { 1 } else { 2 };
            let names: Vec<_> = register.names.values().collect();
            assert_eq!(names, [&Uuid::from_bytes([holder; 16])]);
        }
    }

    #[test]
    fn a_collection_has_the_name_that_pairs_with_a_part_of_it_see() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "renamed".to_owned(),
        };
        let sees_it = CollectionState {
            ns: ns.clone(),
            ..tracked(1, Some(9), false)
        };
        let register = register([vec![sees_it], vec![tracked(1, None, false)]]);
        assert_eq!(register.names.into_keys().collect::<Vec<_>>(), [ns]);
        assert_eq!(
            register.met[&Uuid::from_bytes([1; 16])],
            BTreeSet::from([0, 1])
        );
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
        let register_now = register(states());
        assert!(register_now.dead.is_empty() && register_now.targets.contains_key(&uuid));
        assert_eq!(register_now.holders[&uuid], BTreeSet::from([1]));
        // Forgotten now, the next pair to meet its drop would make it alone.
        assert!(register_now.unheld().is_empty());
        // Its name has passed on: then it was dropped, and that not recorded.
        let [first, second] = states();
        let renamed = register([[first, vec![tracked(2, Some(8), false)]].concat(), second]);
        assert_eq!(
            renamed.names.values().copied().collect::<Vec<_>>(),
            [Uuid::from_bytes([2; 16])]
        );
    }

    #[test]
    fn what_was_given_up_is_read_of_up_to_where_it_was() {
        let at = |raw, of: CollectionState| CollectionState {
            planned_at: Position::from_raw(raw),
            ..of
        };
        let [given_up, planned] =
            [tracked(1, Some(9), true), tracked(2, Some(8), false)].map(|of| at(5, of));
        let later = at(7, planned.clone());
        assert_eq!(
            given_up_to(&states([vec![planned], vec![]])),
            Position::default()
        );
        let both = states([vec![given_up], vec![later]]);
        assert_eq!(given_up_to(&both), Position::from_raw(5));
    }

    #[test]
    fn what_is_not_on_the_target_was_dropped_by_us_if_no_source_shard_has_it() {
        let uuid = Uuid::from_bytes([1; 16]);
        let [nobody, it]: [HashSet<Uuid>; 2] = [HashSet::new(), HashSet::from([uuid])];
        let alive = tracked(1, Some(9), false);
        let dead = tracked(1, Some(9), true);
        let unmade = tracked(1, None, false);
        // Of each pair what is recorded, and what its source shard has no longer; whether it
        // counts as dropped, and whether by us.
        let rows = [
            ([&alive, &alive], [&it, &it], true, true),
            ([&dead, &alive], [&it, &it], true, true),
            ([&dead, &alive], [&it, &nobody], true, false),
            ([&alive, &alive], [&nobody, &nobody], true, false),
            // No one was told of a collection there.
            ([&unmade, &unmade], [&nobody, &nobody], false, true),
        ];
        for (pairs, gone, is_dropped, by_us) in rows {
            let states = states(pairs.map(|c| vec![c.clone()]));
            let dropped = dropped(&states, &HashSet::new());
            assert_eq!(dropped.contains(&uuid), is_dropped, "{pairs:?}");
            let checked = check_dropped_by_us(&states, &gone.map(Clone::clone), &dropped);
            assert_eq!(checked.is_ok(), by_us, "{pairs:?}, {gone:?}");
        }
        let there = HashSet::from([Uuid::from_bytes([9; 16])]);
        let states = states([vec![alive.clone()], vec![dead]]);
        assert!(dropped(&states, &there).is_empty(), "it is there");
    }

    #[test]
    fn what_was_made_anew_and_is_there_is_still_to_be_dropped() {
        let (uuid, there) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([8; 16]));
        let of = |target: u8, dead: bool| tracked(1, Some(target), dead);
        // Of each pair what is recorded; whether it counts as dropped, and of each pair whether
        // it has a part.
        let rows = [
            ([of(8, false), of(9, false)], false, [true, false]),
            ([of(9, true), of(8, false)], false, [false, true]),
            ([of(9, false), of(9, false)], true, [true, true]),
            ([of(8, true), of(9, false)], true, [true, true]),
        ];
        for (pairs, is_dropped, parts) in rows {
            let (there, mut states) = (HashSet::from([there]), states(pairs.map(|c| vec![c])));
            let mut dropped = dropped(&states, &there);
            assert!(dropped.contains(&uuid), "{states:?}");
            take_out_made_anew(&mut states, &mut dropped, &there);
            assert_eq!(dropped.contains(&uuid), is_dropped, "{states:?}");
            let has = states
                .each_ref()
                .map(|state| state.collections[0].target_uuid.is_some());
            assert_eq!(has, parts, "{states:?}");
            let register = Register::of(&states, dropped);
            assert_eq!(register.dead.contains(&uuid), is_dropped, "{states:?}");
            let made = register.targets.values();
            assert_eq!(made.count(), usize::from(!is_dropped), "{states:?}");
        }
    }
}
