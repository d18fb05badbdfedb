//! DDL across the pairs of an attempt, by the rule of `control::across::ddl`: a drop is
//! a rendezvous of exactly its holders, a creation waits until its name is free,
//! and what is dead for one pair is dead for all (R4).

use std::collections::{BTreeMap, BTreeSet};

use bson::Uuid;
use shardlift::control::across::forget::Forgetting;
use shardlift::control::across::known::Known;
use shardlift::pair::collection::Tracked;
use shardlift::position::Position;
use shardlift::state::PairState;

use crate::sim::pair::Reach;

/// The target's catalog as its router shows it: names, and their UUIDs.
#[derive(Debug, Default)]
pub(super) struct Router {
    pub(super) names: BTreeMap<String, Uuid>,
    uuids: u128,
    /// Made or dropped, and not yet on the shards.
    pub(super) orders: Vec<Order>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Create(Uuid),
    Drop(Uuid),
}

pub(super) struct Coordinator {
    pub(super) router: Router,
    /// Source UUIDs of which a shard has yet to create or drop its part.
    pub(super) under_way: BTreeSet<Uuid>,
    known: Known,
    forgetting: Forgetting,
    dropped: BTreeSet<Uuid>,
}

pub(super) enum Answer {
    Wait,
    /// Dropped again on the source.
    Gone,
    /// Its UUID on the target.
    Made(Uuid),
}

impl Router {
    pub(super) fn create(&mut self, name: &str) -> Uuid {
        if let Some(there) = self.names.get(name) {
            return *there;
        }
        self.uuids += 1;
        let uuid = Uuid::from_bytes((self.uuids << 64).to_le_bytes());
        self.names.insert(name.to_owned(), uuid);
        self.orders.push(Order::Create(uuid));
        uuid
    }
}

impl Coordinator {
    pub(super) fn new(states: &[PairState], router: Router) -> Self {
        let (under_way, dropped) = Default::default();
        let (known, forgetting) = (Known::of(states, Default::default()), Forgetting::default());
        Coordinator {
            router,
            under_way,
            known,
            forgetting,
            dropped,
        }
    }

    pub(super) fn hold(&mut self, pair: usize, uuid: Uuid) {
        self.known.holders.entry(uuid).or_default().insert(pair);
    }

    pub(super) fn create(&mut self, _pair: usize, tracked: &Tracked, reach: &Reach<'_>) -> Answer {
        let (uuid, name) = (tracked.uuid, &tracked.ns);
        if self.known.dead.contains(&uuid) || !reach.source.has(&uuid) {
            return Answer::Gone;
        }
        if self.under_way.contains(&uuid) {
            return Answer::Wait;
        }
        match self.known.names.get(name) {
            Some(holder) if *holder != uuid => return Answer::Wait,
            _ => drop(self.known.names.insert(name.clone(), uuid)),
        }
        let made = self.router.create(&name.coll);
        self.known.targets.insert(uuid, made);
        Answer::Made(made)
    }

    /// The pair has reached the drop.
    pub(super) fn arrive(&mut self, pair: usize, tracked: &Tracked) {
        let (uuid, name) = (tracked.uuid, &tracked.ns);
        let holders = self.known.holders.entry(uuid).or_default();
        holders.remove(&pair);
        if !holders.is_empty() {
            return;
        }
        self.known.dead.insert(uuid);
        self.dropped.insert(uuid);
        let target = match self.known.names.get(name) {
            Some(holder) if *holder != uuid => return,
            Some(_) => self.known.targets.get(&uuid).copied(),
            // Perhaps made by an earlier incarnation, and not recorded.
            None => None,
        };
        self.known.names.remove(name);
        let there = self.router.names.get(&name.coll).copied();
        if let Some(there) = there.filter(|there| target.is_none_or(|target| target == *there)) {
            self.router.names.remove(&name.coll);
            self.router.orders.push(Order::Drop(there));
        }
    }

    /// What may be forgotten now, as `control::across::forget`.
    pub(super) fn due(&mut self, reached: Position, recorded: Position) -> Vec<Uuid> {
        let due = self
            .forgetting
            .due(|| self.known.unheld(), || reached, recorded);
        self.known.forget(&due);
        due
    }

    pub(super) fn is_dropped(&self, uuid: &Uuid) -> bool {
        self.dropped.contains(uuid)
    }
}
