//! What the sources of the simulation do meanwhile: documents change, collections
//! come and go, sharded ones on one shard after the other.

use bson::Uuid;

use crate::sim::source::Source;
use crate::sim::world::{Ddl, World};

impl World {
    pub(super) fn source_step(&mut self) {
        if self.dice.below(3) == 0 && !self.ddl.is_empty() {
            self.late_ddl();
        } else if self.dice.below(25) == 0 {
            self.source_ddl();
        } else {
            let which = self.dice.below(self.sources.len() as u64) as usize;
            self.sources[which].write(&mut self.dice);
        }
    }

    pub(super) fn stop_source(&mut self) {
        for source in &mut self.sources {
            source.finish(&mut self.dice);
        }
        while !self.ddl.is_empty() {
            self.late_ddl();
        }
        self.note(|| "the source stops".to_owned());
    }

    pub(super) fn late_ddl(&mut self) {
        let Ddl {
            shard,
            uuid,
            name,
            create,
        } = self.ddl.remove(0);
        self.gossip(shard);
        if create {
            self.sources[shard].create(uuid, &name, &mut self.dice);
        } else if !self.sources[shard].drop_collection(uuid) {
            self.ddl.push(Ddl {
                shard,
                uuid,
                name,
                create,
            });
        }
    }

    /// A command of another shard comes with the time there.
    fn gossip(&mut self, shard: usize) {
        let newest = self
            .sources
            .iter()
            .map(Source::newest)
            .max()
            .expect("there is a shard");
        self.sources[shard].hear(newest);
    }

    /// A creation, a drop, or both at once; on one shard, or on several.
    pub(super) fn source_ddl(&mut self) {
        let shards = self.sources.len();
        let sharded = 1 < shards && self.dice.below(2) == 0;
        let shard = self.dice.below(shards as u64) as usize;
        let name = if sharded {
            format!("all{}", self.dice.below(2))
        } else {
            format!("own{shard}.{}", self.dice.below(2))
        };
        if self.ddl.iter().any(|ddl| ddl.name == name) {
            return;
        }
        if let Some((uuid, holders)) = self.holders(&name) {
            self.gossip(holders[0]);
            if !self.sources[holders[0]].drop_collection(uuid) {
                return;
            }
            self.later(&holders[1..], uuid, &name, false);
            if 1 < holders.len() || self.dice.below(2) == 0 {
                return;
            }
        }
        let on = if sharded {
            self.some_shards()
        } else {
            vec![shard]
        };
        self.gossip(on[0]);
        self.uuids += 1;
        let uuid = Uuid::from_bytes(self.uuids.to_le_bytes());
        self.sources[on[0]].create(uuid, &name, &mut self.dice);
        self.later(&on[1..], uuid, &name, true);
    }

    /// The collection of that name, and the shards that have it.
    fn holders(&self, name: &str) -> Option<(Uuid, Vec<usize>)> {
        let held = |source: &Source| {
            let mut alive = source.collections.iter().filter(|(_, c)| c.alive);
            alive.find(|(_, c)| c.name == name).map(|(uuid, _)| *uuid)
        };
        let uuid = self.sources.iter().find_map(held)?;
        let holders = 0..self.sources.len();
        let holders = holders.filter(|shard| self.sources[*shard].has(&uuid));
        Some((uuid, holders.collect()))
    }

    /// All shards, or all but one of three: a collection has chunks where it has some.
    fn some_shards(&mut self) -> Vec<usize> {
        let mut shards: Vec<usize> = (0..self.sources.len()).collect();
        if 2 < shards.len() && self.dice.below(2) == 0 {
            shards.remove(self.dice.below(shards.len() as u64) as usize);
        }
        shards
    }

    fn later(&mut self, shards: &[usize], uuid: Uuid, name: &str, create: bool) {
        let ddl = shards.iter().map(|shard| Ddl {
            shard: *shard,
            uuid,
            name: name.to_owned(),
            create,
        });
        self.ddl.extend(ddl);
    }
}
