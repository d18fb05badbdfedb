//! DDL across the pairs of an attempt. What is due is decided by the engine's
//! `control::across::rendezvous`; here is who has the turn, and the target's router.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bson::Uuid;
use shardlift::cluster::catalog::Namespace;
use shardlift::control::across::arrivals::Arrivals;
use shardlift::control::across::forget::Forgetting;
use shardlift::control::across::rendezvous::{Arrival, Rendezvous, ToDrop, ToMake, ToRename};
use shardlift::pair::collection::Tracked;
use shardlift::pair::ddl::request::Renamed;
use shardlift::position::Position;
use shardlift::state::PairState;
use shardlift::state::pair_store::bound::Versions;

use crate::layout::dice::Dice;
use crate::sim::pair::{Pair, Reach, Step, wrong};

/// The target's catalog as its router shows it: names, and their UUIDs.
#[derive(Debug, Default)]
pub(super) struct Router {
    pub(super) names: BTreeMap<String, Uuid>,
    uuids: u128,
    /// Made or dropped, and not yet on the shards.
    pub(super) orders: Vec<Order>,
}

#[derive(Debug, Clone)]
pub(super) enum Order {
    Create(Uuid, String),
    Rename(Uuid, String),
    Drop(Uuid),
    /// It must hold nothing.
    DropEmpty(Uuid),
}

pub(super) struct Coordinator {
    pub(super) router: Router,
    /// Source UUIDs of which a shard has yet to create or drop its part.
    pub(super) under_way: BTreeSet<Uuid>,
    /// Source shards that made it, of each sharded collection.
    pub(super) owners: BTreeMap<Uuid, BTreeSet<usize>>,
    rendezvous: Rendezvous,
    forgetting: Forgetting,
    has_turn: Option<Turn>,
    renaming: Arrivals<Arc<Tracked>>,
    /// Drops that are due, and wait for the turn.
    due: Vec<(Namespace, Uuid)>,
    /// Pairs whose drop is not answered.
    waiting: BTreeSet<(Uuid, usize)>,
}

enum Turn {
    /// It is claimed, and the router is asked to make it.
    Make(Namespace, Uuid),
    /// It is renamed as soon as no command on it is under way.
    Rename {
        uuid: Uuid,
        from: Namespace,
        to: Namespace,
        made: Uuid,
    },
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
        self.orders.push(Order::Create(uuid, name.to_owned()));
        uuid
    }

    /// Of that name, and of that UUID if one is given.
    fn drop_made(&mut self, name: &str, made: Option<Uuid>) {
        let there = self.names.get(name).copied();
        if let Some(there) = there.filter(|there| made.is_none_or(|made| made == *there)) {
            self.names.remove(name);
            self.orders.push(Order::Drop(there));
        }
    }

    /// A server refuses a name that is taken, and one that has another UUID.
    fn rename(&mut self, from: &str, to: &str, made: Uuid) -> Step {
        if self.names.get(from) != Some(&made) || self.names.contains_key(to) {
            return wrong(format!(
                "{from} of {made} is renamed to {to}, of {:?}",
                self.names
            ));
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), made);
        self.orders.push(Order::Rename(made, to.to_owned()));
        Ok(())
    }

    fn drop_empty(&mut self, name: &str) {
        if let Some(there) = self.names.remove(name) {
            self.orders.push(Order::DropEmpty(there));
        }
    }
}

impl Coordinator {
    /// `dropped`: source UUIDs of collections that are no longer on the target.
    pub(super) fn new(states: &[PairState], dropped: HashSet<Uuid>, router: Router) -> Self {
        Coordinator {
            router,
            under_way: BTreeSet::new(),
            owners: BTreeMap::new(),
            rendezvous: Rendezvous::of(states, dropped),
            forgetting: Forgetting::default(),
            has_turn: None,
            renaming: Arrivals::default(),
            due: Vec::new(),
            waiting: BTreeSet::new(),
        }
    }

    pub(super) fn hold(&mut self, pair: usize, uuid: Uuid) {
        self.rendezvous.hold(pair, uuid);
    }

    /// As `Coordinator::create`: it is asked again until it answers.
    pub(super) fn create(&mut self, tracked: &Tracked, reach: &Reach<'_>) -> Answer {
        let (uuid, ns) = (tracked.uuid, &tracked.ns());
        if self.rendezvous.is_dead(&uuid) || !reach.source.has(&uuid) {
            return Answer::Gone;
        }
        if self.under_way.contains(&uuid) || self.has_turn.is_some() {
            return Answer::Wait;
        }
        let primary = reach.source.collections[&uuid].place.primary;
        match self.rendezvous.to_make(ns, uuid, primary) {
            ToMake::Dead => Answer::Gone,
            ToMake::NameTaken | ToMake::Awaited => Answer::Wait,
            ToMake::Made => Answer::Made(self.rendezvous.targets()[&uuid]),
            ToMake::Free => {
                self.rendezvous.claim(ns, uuid);
                self.has_turn = Some(Turn::Make(ns.clone(), uuid));
                Answer::Wait
            }
        }
    }

    /// The pair has reached the drop. `is_waiting` says when it is answered.
    pub(super) fn arrive(&mut self, pair: usize, tracked: &Tracked) {
        let uuid = tracked.uuid;
        let arrival = self.rendezvous.arrive(pair, uuid);
        if arrival == Arrival::Dropped {
            return;
        }
        self.waiting.insert((uuid, pair));
        if arrival == Arrival::Last {
            self.due.push((tracked.ns(), uuid));
            self.renaming.dropped(uuid);
        }
    }

    pub(super) fn arrive_at_rename(&mut self, pair: usize, tracked: &Arc<Tracked>, to: &Namespace) {
        let renaming = (tracked.uuid, to);
        self.renaming.arrive(pair, renaming, tracked.clone());
    }

    /// As `Coordinator::rename`: it is asked again until it answers, or the pair leaves.
    pub(super) fn rename(
        &mut self,
        pair: usize,
        tracked: &Tracked,
        to: &Namespace,
    ) -> Option<Renamed> {
        let renamed = self.rename_with_others(tracked, to);
        if renamed.is_some() {
            self.leave_rename(pair, tracked, to);
        }
        renamed
    }

    /// The pair waits for it no longer.
    pub(super) fn leave_rename(&mut self, pair: usize, tracked: &Tracked, to: &Namespace) {
        self.renaming.leave(pair, tracked.uuid, to);
    }

    fn rename_with_others(&mut self, tracked: &Tracked, to: &Namespace) -> Option<Renamed> {
        let uuid = tracked.uuid;
        if self.has_turn.is_some() {
            return None;
        }
        let arrived = self.renaming.at(uuid, to).into_keys().collect();
        let owners = self.owners.get(&uuid).cloned().unwrap_or_default();
        match self.rendezvous.to_rename(uuid, to, &arrived, &owners) {
            ToRename::Nothing => Some(Renamed::Gone),
            ToRename::Named => {
                tracked.renamed(to);
                Some(Renamed::Done(Versions::default()))
            }
            ToRename::Free { from, made } => {
                let to = to.clone();
                self.has_turn = Some(Turn::Rename {
                    uuid,
                    from,
                    to,
                    made,
                });
                None
            }
            ToRename::NameTaken | ToRename::Awaited => None,
        }
    }

    pub(super) fn is_waiting(&self, pair: usize, uuid: Uuid) -> bool {
        self.waiting.contains(&(uuid, pair))
    }

    /// Its rename has the turn.
    pub(super) fn is_renaming(&self, of: &Uuid) -> bool {
        matches!(&self.has_turn, Some(Turn::Rename { uuid, .. }) if uuid == of)
    }

    /// One change of the target's catalog: what has the turn is made, or something that is
    /// due is dropped.
    pub(super) fn turn(&mut self, dice: &mut Dice, pairs: &[Pair]) -> Step {
        match self.has_turn.take() {
            Some(Turn::Make(ns, uuid)) => {
                let made = self.router.create(&ns.coll);
                self.rendezvous.made(uuid, made);
            }
            Some(Turn::Rename {
                uuid,
                from,
                to,
                made,
            }) => {
                if pairs.iter().any(|pair| pair.is_writing_to(&uuid)) {
                    self.has_turn = Some(Turn::Rename {
                        uuid,
                        from,
                        to,
                        made,
                    });
                    return Ok(());
                }
                self.router.rename(&from.coll, &to.coll, made)?;
                let tracked = self.renaming.made(uuid, &to);
                tracked.values().for_each(|tracked| tracked.renamed(&to));
                self.rendezvous.renamed(uuid, &from, &to);
            }
            None => self.make_due(dice),
        }
        Ok(())
    }

    fn make_due(&mut self, dice: &mut Dice) {
        if self.due.is_empty() {
            return;
        }
        let which = dice.below(self.due.len() as u64) as usize;
        let (ns, uuid) = self.due.swap_remove(which);
        match self.rendezvous.to_drop(&ns, uuid) {
            ToDrop::Made(made) => self.router.drop_made(&ns.coll, made),
            ToDrop::PassedOn => {}
            ToDrop::Unclaimed => self.router.drop_empty(&ns.coll),
        }
        self.rendezvous.dropped(&ns, uuid);
        self.waiting.retain(|(of, _)| *of != uuid);
    }

    /// The attempt ends. What was sent to the router may have come to it.
    pub(super) fn into_router(mut self, dice: &mut Dice, pairs: &[Pair]) -> Step<Router> {
        if dice.below(2) == 0 {
            self.turn(dice, pairs)?;
        }
        Ok(self.router)
    }

    /// What may be forgotten now, as `control::across::forget`.
    pub(super) fn forgettable(&mut self, reached: Position, recorded: Position) -> Vec<Uuid> {
        let due = self
            .forgetting
            .due(|| self.rendezvous.unheld(), || reached, recorded);
        self.rendezvous.forget(&due);
        due
    }
}
