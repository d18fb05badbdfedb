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

    /// A creation, a drop, or both at once; on one shard, or on all.
    pub(super) fn source_ddl(&mut self) {
        let shards = self.sources.len();
        let sharded = 1 < shards && self.dice.below(2) == 0;
        let shard = self.dice.below(shards as u64) as usize;
        let name = match sharded {
            true => format!("all{}", self.dice.below(2)),
            false => format!("own{shard}.{}", self.dice.below(2)),
        };
        if self.ddl.iter().any(|ddl| ddl.name == name) {
            return;
        }
        let on: Vec<usize> = if sharded {
            (0..shards).collect()
        } else {
            vec![shard]
        };
        let holds = |source: &Source| {
            source
                .collections
                .iter()
                .find(|(_, c)| c.alive && c.name == name)
                .map(|(u, _)| *u)
        };
        self.gossip(on[0]);
        let there = holds(&self.sources[on[0]]);
        let dropped = there.is_none_or(|uuid| self.sources[on[0]].drop_collection(uuid));
        if !dropped {
            return;
        }
        if let Some(uuid) = there {
            let late = on[1..].iter().map(|shard| Ddl {
                shard: *shard,
                uuid,
                name: name.clone(),
                create: false,
            });
            self.ddl.extend(late);
            if 1 < on.len() || self.dice.below(2) == 0 {
                return;
            }
        }
        self.uuids += 1;
        let uuid = Uuid::from_bytes(self.uuids.to_le_bytes());
        self.sources[on[0]].create(uuid, &name, &mut self.dice);
        let late = on[1..].iter().map(|shard| Ddl {
            shard: *shard,
            uuid,
            name: name.clone(),
            create: true,
        });
        self.ddl.extend(late);
    }
}
