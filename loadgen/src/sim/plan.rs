//! The plan of a run of the simulation, as `shardlift::control::layout::prepare`: positions,
//! then the catalog with the names of the positions before, then the layout, while the source
//! goes on.

use std::collections::HashMap;

use bson::{RawBson, RawDocumentBuf, Uuid};
use shardlift::cluster::catalog::{Collection, CollectionKind};
use shardlift::control::layout::listing::{are_unique, as_of_start};
use shardlift::pair::oplog::namings::Namings;
use shardlift::position::{Mark, Position};
use shardlift::scope::Scope;
use shardlift::state::{CollectionState, ScanOrder, UnitState};

use crate::sim::chore::planned;
use crate::sim::coordinator::Router;
use crate::sim::pair::namespace;
use crate::sim::source::{Event, KEYS, Source};
use crate::sim::store::Store;
use crate::sim::target::Target;
use crate::sim::world::{Process, World};

impl World {
    pub(super) fn plan(&mut self) {
        for _ in 0..1 + self.dice.below(3) {
            self.source_ddl();
        }
        (0..20 + self.dice.below(20)).for_each(|_| self.source_step());
        let (starts, names) = self.list();
        let catalog: Vec<Position> = self.sources.iter().map(Source::newest).collect();
        let mut router = Router::default();
        let mut plans: Vec<Vec<CollectionState>> = Vec::new();
        let mut options = Vec::new();
        for index in 0..self.sources.len() {
            let alive = self.sources[index].alive();
            let held =
                alive.filter_map(|(uuid, c)| Some((*uuid, names.get(uuid)?, c.collated, c.option)));
            let held: Vec<_> = held.collect();
            let plan = held.into_iter().map(|(uuid, name, collated, option)| {
                let target_uuid = router.create(name);
                options.push((index, target_uuid, option));
                self.with_units(planned(uuid, name, collated, index, target_uuid))
            });
            plans.push(plan.collect());
        }
        (0..self.dice.below(6)).for_each(|_| self.source_step());
        for (index, plan) in plans.into_iter().enumerate() {
            let store = Store::new(starts[index], catalog[index], plan);
            self.targets
                .push(Target::new(store, self.shape.refuses, self.trace));
        }
        self.carry_out(&mut router).expect("a plan drops nothing");
        // As they are made: with what was listed.
        options.retain(|(_, _, option)| *option != 0);
        for (index, made, option) in options {
            self.targets[index].modify(made, option);
            self.targets[index].commit_all();
        }
        self.process = Process::Down(router);
    }

    /// Positions, and the names that collections had there; again while these cannot be told.
    fn list(&mut self) -> (Vec<Mark>, HashMap<Uuid, String>) {
        loop {
            let newest = |source: &Source| source.log.last().expect("never empty").mark;
            let starts: Vec<Mark> = self.sources.iter().map(newest).collect();
            (0..self.dice.below(6)).for_each(|_| self.source_step());
            // A name is one collection's while it is passed on.
            while self.is_renaming() {
                self.source_step();
            }
            let mut collections = self.collections();
            let namings = self.namings(&starts);
            as_of_start(&mut collections, &namings, &Scope::default())
                .expect("no name is too long");
            let mut renamed = namings.before.keys();
            if renamed.any(|uuid| self.is_sharded(uuid)) {
                continue;
            }
            if namings.before.is_empty() || are_unique(&collections) {
                let named = |c: Collection| Some((c.uuid?, c.ns.coll));
                return (starts, collections.into_iter().filter_map(named).collect());
            }
        }
    }

    /// As a router lists them, each once.
    fn collections(&self) -> Vec<Collection> {
        let mut names = HashMap::new();
        for source in &self.sources {
            names.extend(source.alive().map(|(uuid, c)| (*uuid, &c.name)));
        }
        let mut listed: Vec<Collection> = names
            .into_iter()
            .map(|(uuid, name)| listed(uuid, name))
            .collect();
        listed.sort_by(|a, b| a.ns.cmp(&b.ns));
        listed
    }

    /// Some pairs would begin before its rename, and others after it.
    fn is_sharded(&self, uuid: &Uuid) -> bool {
        let mut all = self.sources.iter().flat_map(|source| &source.collections);
        all.any(|(of, c)| of == uuid && c.place.sharded)
    }

    /// What the logs say from these positions on. Of sharded ones none is left out: they look
    /// like others here.
    fn namings(&self, starts: &[Mark]) -> Namings {
        let mut namings = Namings::default();
        for (source, start) in self.sources.iter().zip(starts) {
            let from = source.find(*start).expect("it was the newest") + 1;
            for entry in &source.log[from..] {
                match &entry.event {
                    Event::Rename(renamed) => {
                        let before = namespace(&renamed.from).to_string();
                        namings.before.entry(renamed.uuid).or_insert(before);
                    }
                    Event::Create(uuid, _) if !source.collections[uuid].place.sharded => {
                        namings.created.insert(*uuid);
                    }
                    _ => {}
                }
            }
        }
        namings
    }

    fn with_units(&mut self, state: CollectionState) -> CollectionState {
        if !state.options.is_empty() {
            return state;
        }
        if self.dice.below(3) == 0 {
            let order = ScanOrder::Natural;
            return CollectionState { order, ..state };
        }
        let mut bounds: Vec<i64> = (0..self.dice.below(4))
            .map(|_| self.dice.below(KEYS) as i64)
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        let bound = |(i, bound): (usize, &i64)| match i % 2 {
            0 => RawBson::Int32(*bound as i32),
            _ => RawBson::Double(*bound as f64),
        };
        let bounds: Vec<RawBson> = bounds.iter().enumerate().map(bound).collect();
        CollectionState {
            units: vec![UnitState::Waiting; bounds.len() + 1],
            bounds,
            ..state
        }
    }
}

fn listed(uuid: Uuid, name: &str) -> Collection {
    Collection {
        ns: namespace(name),
        kind: CollectionKind::Plain,
        uuid: Some(uuid),
        options: RawDocumentBuf::new(),
        primary: 0,
        sharded: None,
        key_index: None,
    }
}
