//! An attempt of the simulation begins: the steps of `shardlift::control::attempt::start`, between
//! which it can be killed, and its writes of the state may run late.

use std::collections::HashSet;

use bson::Uuid;
use shardlift::control::across::register;
use shardlift::control::recorded::names;
use shardlift::state::{PairState, UnitState};

use crate::sim::coordinator::{Coordinator, Router};
use crate::sim::pair::{Pair, Step, namespace, wrong};
use crate::sim::store::StoreWrite;
use crate::sim::target::Target;
use crate::sim::world::{Process, World};

impl World {
    /// One step of a restart, in the order of `control::attempt::start::start`.
    pub(super) fn begin(&mut self, process: Process) -> Step<Process> {
        Ok(match process {
            Process::Down(router) => {
                let begun = self.targets.iter_mut().map(begin_incarnation).collect();
                Process::Begun(router, begun)
            }
            Process::Begun(router, begun) => {
                // The target lists no connection of an older incarnation, and its
                // state was written over them too.
                self.zombies.iter_mut().for_each(Vec::clear);
                self.store_zombies.iter_mut().for_each(Vec::clear);
                self.record_names(&router);
                if self.is_killed() {
                    return Ok(Process::Down(router));
                }
                (0..self.targets.len()).for_each(|which| self.finish_wipes(which));
                Process::Alone(router, begun)
            }
            Process::Alone(router, begun) => {
                let states = self
                    .targets
                    .iter()
                    .map(|target| target.durable.store.load())
                    .collect();
                Process::Loaded(router, begun, states)
            }
            Process::Loaded(router, begun, mut states) => {
                let dropped = self.dropped(&states, &router)?;
                for (which, state) in states.iter_mut().enumerate() {
                    if !self.choose_start(which, begun[which].0, state) {
                        return Ok(Process::Down(router));
                    }
                }
                self.attempts += 1;
                self.began = self.steps;
                let coordinator = Coordinator::new(&states, dropped, router);
                let mut pairs = Vec::new();
                for (index, state) in states.iter().enumerate() {
                    let source = &self.sources[index];
                    let mut pair = Pair::start(
                        state,
                        index,
                        begun[index],
                        source.newest(),
                        self.shape,
                        source,
                    )?;
                    pair.slow_tail = self.dice.below(2) == 0;
                    pair.reconcile(source, &self.targets[index]);
                    pairs.push(pair);
                    self.note(|| {
                        format!(
                            "pair {index} starts at {}: {:?}",
                            state.resume.position,
                            units(state)
                        )
                    });
                }
                Process::Up(Box::new(coordinator), pairs)
            }
            other => other,
        })
    }
}

impl World {
    /// As `control::recorded::names::record`, which says what to record.
    fn record_names(&mut self, router: &Router) {
        let named = router
            .names
            .iter()
            .map(|(name, uuid)| (*uuid, namespace(name)));
        let there = named.collect();
        for which in 0..self.targets.len() {
            let recorded = self.targets[which].now.store.load().collections;
            for (collection, ns) in names::renamed(&recorded, &there) {
                self.write(which, StoreWrite::Name(collection.uuid, ns.clone()));
            }
        }
    }

    /// Source UUIDs of collections that are no longer on the target.
    fn dropped(&self, states: &[PairState], router: &Router) -> Step<HashSet<Uuid>> {
        let there = router.names.values().copied().collect();
        let dropped = register::dropped(states, &there);
        let gone: Vec<HashSet<Uuid>> = states
            .iter()
            .zip(&self.sources)
            .map(|(state, source)| {
                let tracked = state.collections.iter().map(|c| c.uuid);
                tracked.filter(|uuid| !source.has(uuid)).collect()
            })
            .collect();
        match register::check_dropped_by_us(states, &gone, &dropped) {
            Ok(()) => Ok(dropped),
            Err(e) => wrong(e.message),
        }
    }
}

fn begin_incarnation(target: &mut Target) -> (i64, i64) {
    target.store(StoreWrite::Begin);
    let number = target.now.store.incarnation();
    target.store(StoreWrite::Touch(number, None));
    target.commit_all();
    (number, target.term)
}

fn units(state: &PairState) -> Vec<(String, bool, &[UnitState])> {
    state
        .collections
        .iter()
        .map(|c| (c.ns.coll.clone(), c.dead, &c.units[..]))
        .collect()
}
