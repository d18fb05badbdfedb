//! Renames on the sources of the simulation: onto a name that is free, or in the place of what
//! has it, there and back, round a circle, and with a new collection by the name before.

use std::collections::{BTreeMap, BTreeSet};

use bson::Uuid;

use crate::sim::load::{SHARED, own, shared};
use crate::sim::source::Place;
use crate::sim::world::{Change, Ddl, World};

/// Names of what only one shard has.
const OWN: u64 = 4;

impl World {
    /// Of any collection that is on all of its shards.
    pub(super) fn source_rename(&mut self) {
        let shards = self.sources.len();
        let some = self.dice.below(shards as u64) as usize;
        let alive = self.sources[some].alive();
        let movable: Vec<Uuid> = alive.map(|(uuid, _)| *uuid).collect();
        if movable.is_empty() {
            return;
        }
        let uuid = self.dice.pick(&movable);
        let collection = &self.sources[some].collections[&uuid];
        let (from, place) = (collection.name.clone(), collection.place);
        if self.is_under_way(&from) {
            return;
        }
        let to = self.some_name(place.primary);
        match self.dice.below(4) {
            0 if !place.sharded => self.trade(place.primary, uuid, &to),
            1 => {
                self.rename(uuid, &to);
                let third = self.some_name(place.primary);
                self.rename(uuid, &third);
            }
            _ => {
                self.rename(uuid, &to);
            }
        }
        if self.dice.below(2) == 0 {
            self.make_again(place.primary, &from);
        }
    }

    /// A name in the databases of the shard.
    fn some_name(&mut self, shard: usize) -> String {
        let shards = self.sources.len();
        let mut names: Vec<String> = (0..OWN).map(|which| own(shard, which)).collect();
        let others = (0..SHARED as usize).filter(|which| which % shards == shard);
        names.extend(others.map(shared));
        names.swap_remove(self.dice.below(names.len() as u64) as usize)
    }

    /// It drops what has the name. False if that cannot be just now.
    fn rename(&mut self, uuid: Uuid, to: &str) -> bool {
        let on: Vec<usize> = (0..self.sources.len())
            .filter(|shard| self.sources[*shard].has(&uuid))
            .collect();
        let from = self.sources[on[0]].collections[&uuid].name.clone();
        if from == to || self.is_under_way(&from) || self.is_under_way(to) {
            return false;
        }
        let over = self.holders(to);
        let mut dropping = over.unwrap_or((uuid, Vec::new()));
        dropping.1.retain(|shard| !on.contains(shard));
        if let ([only], []) = (&on[..], &dropping.1[..]) {
            self.gossip(*only);
            return self.sources[*only].rename(uuid, to);
        }
        // Each shard does its part, in any order.
        let before = self.ddl.len();
        let change = Change::Rename { to: to.to_owned() };
        self.later(&on, uuid, &from, change);
        self.later(&dropping.1, dropping.0, to, Change::Drop);
        let mut parts = self.ddl.split_off(before);
        while !parts.is_empty() {
            let which = self.dice.below(parts.len() as u64) as usize;
            self.ddl.push(parts.swap_remove(which));
        }
        true
    }

    /// They trade their names, if there is one of the name, by way of a third name.
    fn trade(&mut self, shard: usize, uuid: Uuid, to: &str) {
        let from = self.sources[shard].collections[&uuid].name.clone();
        let third = self.some_name(shard);
        let is_free = self.holders(&third).is_none() && !self.is_under_way(&third);
        let other = self.sources[shard].called(to);
        let is_other =
            |other: &Uuid| *other != uuid && !self.sources[shard].collections[other].place.sharded;
        let Some(other) = other.filter(is_other).filter(|_| is_free) else {
            return;
        };
        if self.rename(uuid, &third) && self.rename(other, &from) {
            self.rename(uuid, to);
        }
    }

    /// A new collection has the name that one had before.
    fn make_again(&mut self, shard: usize, name: &str) {
        if self.is_under_way(name) || self.holders(name).is_some() {
            return;
        }
        let shards = self.sources.len();
        let is_shared = (0..SHARED as usize).any(|which| shared(which) == name);
        let place = Place {
            sharded: 1 < shards && is_shared,
            primary: shard,
        };
        self.source_create(name, place);
    }

    /// Some shard has yet to do its part of a rename.
    pub(super) fn is_renaming(&self) -> bool {
        let names = |name: &str| {
            let held = self.sources.iter().filter_map(|source| source.called(name));
            held.collect::<BTreeSet<Uuid>>().len()
        };
        let is_it = |ddl: &Ddl| matches!(ddl.change, Change::Rename { .. }) || 1 < names(&ddl.name);
        self.ddl.iter().any(is_it)
    }

    /// Shards that made each sharded collection: all of its chunks are there.
    pub(super) fn note_owners(&self, owners: &mut BTreeMap<Uuid, BTreeSet<usize>>) {
        for (shard, source) in self.sources.iter().enumerate() {
            let sharded = source.collections.iter().filter(|(_, c)| c.place.sharded);
            for (uuid, _) in sharded {
                owners.entry(*uuid).or_default().insert(shard);
            }
        }
    }
}
