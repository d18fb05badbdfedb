//! Renames on the sources of the simulation: onto a name that is free, or in the place of what
//! has it, there and back, round a circle, and with a new collection by the name before.

use std::collections::BTreeSet;

use bson::Uuid;

use crate::sim::load::{SHARED, own, shared};
use crate::sim::source::Place;
use crate::sim::world::{Change, Ddl, World};

/// Names of what only one shard has.
const OWN: u64 = 4;

impl World {
    /// Of a collection that is not sharded.
    pub(super) fn source_rename(&mut self) {
        let shards = self.sources.len();
        let shard = self.dice.below(shards as u64) as usize;
        let alive = self.sources[shard]
            .alive()
            .filter(|(_, c)| !c.place.sharded);
        let movable: Vec<Uuid> = alive.map(|(uuid, _)| *uuid).collect();
        if movable.is_empty() {
            return;
        }
        let uuid = self.dice.pick(&movable);
        let from = self.sources[shard].collections[&uuid].name.clone();
        let to = self.some_name(shard);
        match self.dice.below(4) {
            0 => self.trade(shard, uuid, &to),
            1 => {
                self.rename(shard, uuid, &to);
                let third = self.some_name(shard);
                self.rename(shard, uuid, &third);
            }
            _ => {
                self.rename(shard, uuid, &to);
            }
        }
        if self.dice.below(2) == 0 {
            self.make_again(shard, &from);
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
    fn rename(&mut self, shard: usize, uuid: Uuid, to: &str) -> bool {
        let from = self.sources[shard].collections[&uuid].name.clone();
        if from == to || self.is_under_way(&from) || self.is_under_way(to) {
            return false;
        }
        let Some((over, holders)) = self.holders(to).filter(|(_, on)| on != &[shard]) else {
            self.gossip(shard);
            return self.sources[shard].rename(uuid, to);
        };
        // Each shard does its part, in any order.
        let others: Vec<usize> = holders.into_iter().filter(|on| *on != shard).collect();
        let to = to.to_owned();
        let renaming = Ddl {
            shard,
            uuid,
            name: from,
            change: Change::Rename { to: to.clone() },
        };
        if self.dice.below(2) == 0 {
            self.later(&others, over, &to, Change::Drop);
            self.ddl.push(renaming);
        } else {
            self.ddl.push(renaming);
            self.later(&others, over, &to, Change::Drop);
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
        if self.rename(shard, uuid, &third) && self.rename(shard, other, &from) {
            self.rename(shard, uuid, to);
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
}
