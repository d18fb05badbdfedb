//! What the sources of the simulation do meanwhile: documents change, collections
//! come and go, sharded ones on one shard after the other.

use bson::Uuid;

use crate::sim::source::{Place, Source};
use crate::sim::world::{Change, Ddl, World};

/// Names of sharded collections; each in the database of one shard.
pub(super) const SHARED: u64 = 2;

/// The name of one that may be sharded, in the database of shard `which` modulo shards.
pub(super) fn shared(which: usize) -> String {
    format!("all{which}")
}

/// One of the names of what only this shard has.
pub(super) fn own(shard: usize, which: u64) -> String {
    format!("own{shard}.{which}")
}

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
        let ddl = self.ddl.remove(0);
        self.gossip(ddl.shard);
        let (source, uuid) = (&mut self.sources[ddl.shard], ddl.uuid);
        let is_made = match &ddl.change {
            Change::Create(place) => {
                source.create(uuid, &ddl.name, *place, &mut self.dice);
                true
            }
            Change::Drop => source.drop_collection(uuid),
            Change::Rename { to } => source.rename(uuid, to),
            Change::Modify { option } => source.modify(uuid, *option),
        };
        if !is_made {
            self.ddl.push(ddl);
        }
    }

    /// A command of another shard comes with the time there.
    pub(super) fn gossip(&mut self, shard: usize) {
        let newest = self
            .sources
            .iter()
            .map(Source::newest)
            .max()
            .expect("there is a shard");
        self.sources[shard].hear(newest);
    }

    /// A creation, a drop, or both at once, a rename, or other options; on one shard, or on
    /// several.
    pub(super) fn source_ddl(&mut self) {
        match self.dice.below(5) {
            0 | 1 => return self.source_rename(),
            2 => return self.source_modify(),
            _ => {}
        }
        let shards = self.sources.len();
        let sharded = 1 < shards && self.dice.below(2) == 0;
        let (name, place) = if sharded {
            let which = self.dice.below(SHARED) as usize;
            (
                shared(which),
                Place {
                    sharded,
                    primary: which % shards,
                },
            )
        } else {
            let primary = self.dice.below(shards as u64) as usize;
            (own(primary, self.dice.below(2)), Place { sharded, primary })
        };
        if self.is_under_way(&name) {
            return;
        }
        if let Some((uuid, holders)) = self.holders(&name) {
            self.gossip(holders[0]);
            if !self.sources[holders[0]].drop_collection(uuid) {
                return;
            }
            self.later(&holders[1..], uuid, &name, Change::Drop);
            if 1 < holders.len() || self.dice.below(2) == 0 {
                return;
            }
        }
        self.source_create(&name, place);
    }

    /// Each shard that has it changes its own, one after the other.
    fn source_modify(&mut self) {
        let some = self.dice.below(self.sources.len() as u64) as usize;
        let alive: Vec<Uuid> = self.sources[some].alive().map(|(uuid, _)| *uuid).collect();
        if alive.is_empty() {
            return;
        }
        let uuid = self.dice.pick(&alive);
        let name = self.sources[some].collections[&uuid].name.clone();
        if self.is_under_way(&name) {
            return;
        }
        let shards = 0..self.sources.len();
        let holders: Vec<usize> = shards.filter(|i| self.sources[*i].has(&uuid)).collect();
        let option = 1 + self.dice.below(1_000) as i32;
        self.later(&holders, uuid, &name, Change::Modify { option });
    }

    pub(super) fn source_create(&mut self, name: &str, place: Place) {
        let on = if place.sharded {
            self.some_shards(place.primary)
        } else {
            vec![place.primary]
        };
        self.gossip(on[0]);
        self.uuids += 1;
        let uuid = Uuid::from_bytes(self.uuids.to_le_bytes());
        self.sources[on[0]].create(uuid, name, place, &mut self.dice);
        self.later(&on[1..], uuid, name, Change::Create(place));
    }

    /// Some shard has yet to do something about this name.
    pub(super) fn is_under_way(&self, name: &str) -> bool {
        let is_its = |ddl: &Ddl| {
            ddl.name == name || matches!(&ddl.change, Change::Rename { to } if to == name)
        };
        self.ddl.iter().any(is_its)
    }

    /// The collection of that name, and the shards that have it.
    pub(super) fn holders(&self, name: &str) -> Option<(Uuid, Vec<usize>)> {
        let uuid = self.sources.iter().find_map(|source| source.called(name))?;
        let holders = 0..self.sources.len();
        let holders = holders.filter(|shard| self.sources[*shard].has(&uuid));
        Some((uuid, holders.collect()))
    }

    /// All shards, or all but one of three, which is not the primary: a collection has chunks
    /// where it has some.
    fn some_shards(&mut self, primary: usize) -> Vec<usize> {
        let mut shards: Vec<usize> = (0..self.sources.len()).collect();
        if 2 < shards.len() && self.dice.below(2) == 0 {
            let without = self.dice.below(shards.len() as u64) as usize;
            shards.retain(|shard| *shard != without || *shard == primary);
        }
        shards
    }

    pub(super) fn later(&mut self, shards: &[usize], uuid: Uuid, name: &str, change: Change) {
        let ddl = shards.iter().map(|shard| Ddl {
            shard: *shard,
            uuid,
            name: name.to_owned(),
            change: change.clone(),
        });
        self.ddl.extend(ddl);
    }
}
