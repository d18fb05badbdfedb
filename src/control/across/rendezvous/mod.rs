//! When a collection is made on the target, when it is dropped, and when its name is free
//! (R4). Pairs meet its creation and its drop, each in its own time.
//!
//! | a pair meets | and the collection | so |
//! |---|---|---|
//! | its creation | is dead: its drop is due, or was made | nothing is made |
//! | | has the name of an older one | it waits until that one is dropped |
//! | | is made, or has been claimed | it is told so |
//! | | is yet to be met by the pair of its primary shard | it waits for that pair |
//! | | else | its name is claimed, and it is made |
//! | its rename | is dead, or was never made | nothing is done |
//! | | is to have the name of an older one | it waits until that one is dropped |
//! | | has the name | it is told so |
//! | | is held by pairs that have yet to meet it | it waits for the last of them |
//! | | is yet to be met by the pair of a shard that has a chunk | it waits for that pair |
//! | | else | it is renamed |
//! | its drop | is held by other pairs | it waits for the last of them |
//! | | is held by none any more | the drop is due, and it is dead for all |
//! | | is dropped already | it is told so |
//!
//! Pure. `control::across::ddl` does what is decided here, one change at a time (the
//! *turn*); the simulation drives the same code.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::Namespace;
use crate::control::across::register::Register;
use crate::state::PairState;

#[derive(Debug, Default)]
pub struct Rendezvous {
    register: Register,
    /// Their drop is due, and not made yet.
    due: HashSet<Uuid>,
}

/// What to do about a creation that a pair has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToMake {
    /// Nothing: its drop was met.
    Dead,
    /// An older collection of its name is still to be dropped.
    NameTaken,
    /// The pair of the primary shard of its database has yet to meet it, and before it perhaps
    /// others of its name.
    Awaited,
    /// Nothing more: it is made.
    Made,
    /// Its name is free: claim it, then make the collection.
    Free,
}

/// What to do about a rename that the pair of a collection has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToRename {
    /// Its drop was met, or it was never made.
    Nothing,
    /// Another collection has the name: its drop is still to come, from another pair.
    NameTaken,
    /// Other pairs that hold it, or are to hold it, have yet to meet its rename.
    Awaited,
    /// It has the name.
    Named,
    /// Rename the one that has this name and UUID on the target.
    Free { from: Namespace, made: Uuid },
}

/// What to do about a drop that a pair has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing: it is dropped.
    Dropped,
    /// Other pairs are still to come, or the drop is being made.
    Waits,
    /// It was the last pair: the drop is due.
    Last,
}

/// What a drop that is due removes from the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToDrop {
    /// The collection that has this UUID there; None: the one of its name.
    Made(Option<Uuid>),
    /// Nothing: its name stands for another by now.
    PassedOn,
    /// An earlier incarnation may have made it and ended before that was recorded. Then
    /// no one claims the name, and nothing was written to it.
    Unclaimed,
}

impl Rendezvous {
    /// Arguments as of `Register::of`.
    pub fn of(states: &[PairState], dropped: HashSet<Uuid>) -> Self {
        Rendezvous {
            register: Register::of(states, dropped),
            due: HashSet::new(),
        }
    }

    /// A pair has met the creation: from here on it holds the collection.
    ///
    /// IMPORTANT: in the order of what a pair asks: its drop must not overtake it.
    pub fn hold(&mut self, pair: usize, uuid: Uuid) {
        self.register.holders.entry(uuid).or_default().insert(pair);
        self.register.met.entry(uuid).or_default().insert(pair);
    }

    /// `primary`: the pair of the primary shard of its database, which has every collection of
    /// it, chunks or not.
    ///
    /// IMPORTANT: to be asked in the turn. Else `Made` may be claimed only.
    pub fn to_make(&self, ns: &Namespace, uuid: Uuid, primary: usize) -> ToMake {
        if self.register.dead.contains(&uuid) {
            return ToMake::Dead;
        }
        match self.register.names.get(&ns.public()) {
            Some(holder) if *holder == uuid => ToMake::Made,
            Some(_) => ToMake::NameTaken,
            None if !self.is_held(uuid, primary) => ToMake::Awaited,
            None => ToMake::Free,
        }
    }

    fn is_held(&self, uuid: Uuid, pair: usize) -> bool {
        let holders = self.register.holders.get(&uuid);
        holders.is_some_and(|holders| holders.contains(&pair))
    }

    /// From here on the name stands for this collection.
    ///
    /// IMPORTANT: before it is made: a drop that comes meanwhile must find it.
    pub fn claim(&mut self, ns: &Namespace, uuid: Uuid) {
        self.register.names.insert(ns.public(), uuid);
    }

    /// It has been made. `target`: its UUID there.
    pub fn made(&mut self, uuid: Uuid, target: Uuid) {
        self.register.targets.insert(uuid, target);
    }

    /// `arrived`: pairs that have met its rename to this name. `owners`: pairs of shards that are
    /// known to have made it.
    ///
    /// IMPORTANT: to be asked in the turn.
    pub fn to_rename(
        &self,
        uuid: Uuid,
        to: &Namespace,
        arrived: &BTreeSet<usize>,
        owners: &BTreeSet<usize>,
    ) -> ToRename {
        let Register {
            names,
            targets,
            holders,
            met,
            ..
        } = &self.register;
        let none = BTreeSet::new();
        let holders = holders.get(&uuid).unwrap_or(&none);
        let met = met.get(&uuid).unwrap_or(&none);
        let is_held = !holders.is_subset(arrived);
        let is_to_be_held = !owners.is_subset(met);
        let named = names.iter().find(|(_, holder)| **holder == uuid);
        let free = || {
            let named = named.zip(targets.get(&uuid));
            named.map_or(ToRename::Nothing, |((from, _), made)| ToRename::Free {
                from: from.clone(),
                made: *made,
            })
        };
        match names.get(&to.public()) {
            _ if self.is_dead(&uuid) => ToRename::Nothing,
            Some(holder) if *holder == uuid => ToRename::Named,
            Some(_) => ToRename::NameTaken,
            None if is_held || is_to_be_held => ToRename::Awaited,
            None => free(),
        }
    }

    /// A rename is made: the old name is free.
    pub fn renamed(&mut self, uuid: Uuid, from: &Namespace, to: &Namespace) {
        self.register.names.remove(&from.public());
        self.register.names.insert(to.public(), uuid);
    }

    /// A pair has met the drop.
    pub fn arrive(&mut self, pair: usize, uuid: Uuid) -> Arrival {
        let holders = self.register.holders.entry(uuid).or_default();
        holders.remove(&pair);
        let is_held = !holders.is_empty();
        if self.due.contains(&uuid) {
            return Arrival::Waits;
        }
        if self.register.dead.contains(&uuid) {
            return Arrival::Dropped;
        }
        if is_held {
            return Arrival::Waits;
        }
        self.register.dead.insert(uuid);
        self.due.insert(uuid);
        Arrival::Last
    }

    /// Of a drop that is due. To be asked in the turn.
    pub fn to_drop(&self, ns: &Namespace, uuid: Uuid) -> ToDrop {
        match self.register.names.get(&ns.public()) {
            Some(holder) if *holder == uuid => {
                ToDrop::Made(self.register.targets.get(&uuid).copied())
            }
            Some(_) => ToDrop::PassedOn,
            None => ToDrop::Unclaimed,
        }
    }

    /// A drop that was due is made: the name is free.
    pub fn dropped(&mut self, ns: &Namespace, uuid: Uuid) {
        self.due.remove(&uuid);
        if self.register.names.get(&ns.public()) == Some(&uuid) {
            self.register.names.remove(&ns.public());
        }
    }

    pub fn is_dead(&self, uuid: &Uuid) -> bool {
        self.register.dead.contains(uuid)
    }

    /// A collection of the run has this name on the target.
    pub fn is_taken(&self, ns: &Namespace) -> bool {
        self.register.names.contains_key(ns)
    }

    /// A collection of the run is in this database of the target.
    pub fn has_in(&self, db: &str) -> bool {
        self.register.names.keys().any(|ns| ns.db == db)
    }

    /// UUIDs on the target, by the source UUIDs they stand for.
    pub fn targets(&self) -> &HashMap<Uuid, Uuid> {
        &self.register.targets
    }

    /// Dropped collections that no pair holds any more. Of one whose drop is being made
    /// none has recorded it.
    pub fn unheld(&self) -> Vec<Uuid> {
        let mut unheld = self.register.unheld();
        unheld.retain(|uuid| !self.due.contains(uuid));
        unheld
    }

    /// No pair will meet these any more (`control::across::forget`).
    pub fn forget(&mut self, uuids: &[Uuid]) {
        self.register.forget(uuids);
    }
}

#[cfg(test)]
mod tests;
