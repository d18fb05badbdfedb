//! Chores of the simulation: what `DdlSink` and the index builder do after the
//! tail has gone on, one at a time on each name.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::{RawDocumentBuf, Uuid, rawdoc};
use shardlift::pair::collection::Tracked;
use shardlift::pair::gate::Place;
use shardlift::pair::ledger::Pin;
use shardlift::pair::position::Position;
use shardlift::state::{CollectionState, UnitState};

use crate::sim::body;
use crate::sim::coordinator::{Answer, Coordinator};
use crate::sim::pair::{Pair, Reach, Step, Wait, check_equal, namespace};
use crate::sim::replay::Replay;
use crate::sim::store::StoreWrite;

pub(super) struct Chore {
    pub(super) tracked: Arc<Tracked>,
    pin: Option<Pin>,
    pub(super) work: Work,
}

pub(super) enum Work {
    Create,
    Creating,
    /// Dropped again before it was made: it waits for the drop to be met.
    Unmade,
    Unmaking,
    Record(Box<CollectionState>),
    /// The collection's ops go on once it is recorded, if it was made.
    Recording {
        wait: Wait,
        made: bool,
    },
    Drop,
    Dropping,
    Kill,
    Killing(Wait),
    /// A unique build: the collection is held until its lanes are empty.
    Build,
    /// Held at this position.
    Building(Position),
    /// Its doubtful documents are read again once it is held, past its horizon, and its
    /// lanes are empty.
    Reread,
    /// Held at this position.
    Rereading(Position),
    /// Its ops go on.
    Releasing(Replay),
    Done,
}

impl Chore {
    pub(super) fn new(tracked: Arc<Tracked>, pin: Option<Pin>, work: Work) -> Self {
        Chore { tracked, pin, work }
    }

    pub(super) fn wait(&self) -> Option<Wait> {
        match &self.work {
            Work::Recording { wait, .. } | Work::Killing(wait) => Some(*wait),
            _ => None,
        }
    }
}

impl Pair {
    /// A step of a random chore that is the first on its name.
    pub(super) fn chore(&mut self, coordinator: &mut Coordinator, reach: &mut Reach<'_>) -> Step {
        self.reread_doubtful();
        let is_first = |i: &usize| {
            self.chores[..*i]
                .iter()
                .all(|c| c.tracked.ns != self.chores[*i].tracked.ns)
        };
        let first: Vec<usize> = (0..self.chores.len()).filter(is_first).collect();
        let Some(which) = first
            .get(reach.dice.below(first.len() as u64) as usize)
            .copied()
        else {
            return Ok(());
        };
        let tracked = self.chores[which].tracked.clone();
        let work = std::mem::replace(&mut self.chores[which].work, Work::Done);
        let next = self.work(&tracked, work, coordinator, reach)?;
        if let Work::Done = next {
            let chore = self.chores.remove(which);
            chore.pin.into_iter().for_each(|pin| self.gate.unpin(pin));
        } else {
            self.chores[which].work = next;
        }
        Ok(())
    }

    fn work(
        &mut self,
        tracked: &Arc<Tracked>,
        work: Work,
        coordinator: &mut Coordinator,
        reach: &mut Reach<'_>,
    ) -> Step<Work> {
        let (uuid, committed) = (tracked.uuid, reach.target.committed());
        let release = || Work::Releasing(Replay::new(Place { uuid, unit: None }));
        Ok(match work {
            Work::Create => {
                coordinator.hold(self.index, uuid);
                Work::Creating
            }
            Work::Creating if tracked.is_dead() => Work::Unmade,
            Work::Creating => match coordinator.create(self.index, tracked, reach) {
                Answer::Wait => Work::Creating,
                Answer::Gone => {
                    self.gate.discard(&uuid);
                    Work::Unmade
                }
                Answer::Made(target_uuid) => {
                    tracked.bind(target_uuid);
                    Work::Record(Box::new(created(tracked, self.index, target_uuid)))
                }
            },
            Work::Unmade if tracked.is_dead() => {
                coordinator.arrive(self.index, tracked);
                Work::Unmaking
            }
            Work::Unmaking if coordinator.is_dropped(&uuid) => {
                Work::Record(Box::new(dead(tracked)))
            }
            Work::Record(state) => {
                let made = !state.dead;
                let number = reach
                    .target
                    .store(StoreWrite::Add(state))
                    .expect("never refused");
                Work::Recording {
                    wait: Wait {
                        number,
                        term: reach.target.term,
                    },
                    made,
                }
            }
            Work::Recording { wait, made } if wait.number <= committed => {
                if made {
                    release()
                } else {
                    Work::Done
                }
            }
            Work::Drop => {
                coordinator.arrive(self.index, tracked);
                Work::Dropping
            }
            Work::Dropping if coordinator.is_dropped(&uuid) => Work::Kill,
            Work::Kill => {
                let number = reach
                    .target
                    .store(StoreWrite::Kill(uuid))
                    .expect("never refused");
                Work::Killing(Wait {
                    number,
                    term: reach.target.term,
                })
            }
            Work::Killing(wait) if wait.number <= committed => Work::Done,
            Work::Build if !tracked.counts() => Work::Done,
            Work::Build => {
                if self.gate.is_past_horizon(tracked) && self.gate.hold(&uuid) {
                    Work::Building(self.gate.passed())
                } else {
                    Work::Build
                }
            }
            Work::Building(_) if !tracked.counts() => release(),
            Work::Building(position) if tracked.in_lanes.load(SeqCst) == 0 => {
                // Documents that are doubtful are not written yet.
                if reach.target.term == self.term && tracked.doubts.is_empty() {
                    check_equal(
                        tracked,
                        position,
                        &reach.source.collections[&uuid],
                        reach.target,
                    )?;
                }
                release()
            }
            Work::Reread if !tracked.counts() => Work::Done,
            Work::Reread => {
                if self.gate.is_past_horizon(tracked) && self.gate.hold(&uuid) {
                    Work::Rereading(self.gate.passed())
                } else {
                    Work::Reread
                }
            }
            Work::Rereading(_) if !tracked.counts() => release(),
            // In another term the attempt is about to end.
            Work::Rereading(position)
                if tracked.in_lanes.load(SeqCst) == 0 && reach.target.term == self.term =>
            {
                reread(tracked, position, reach);
                release()
            }
            Work::Releasing(mut replay) => match replay.step(self, reach) {
                Some(_) => Work::Done,
                None => Work::Releasing(replay),
            },
            waiting => waiting,
        })
    }
}

impl Pair {
    /// Every collection with doubtful documents has a chore that reads them again.
    pub(super) fn reread_doubtful(&mut self) {
        for tracked in self.gate.doubtful() {
            let is_its = |c: &Chore| {
                c.tracked.uuid == tracked.uuid
                    && matches!(c.work, Work::Reread | Work::Rereading(_))
            };
            if !self.chores.iter().any(is_its) {
                self.chores.push(Chore::new(tracked, None, Work::Reread));
            }
        }
    }
}

/// As `pair::reread`: what the source shows at the position held at.
fn reread(tracked: &Tracked, position: Position, reach: &mut Reach<'_>) {
    let ids = tracked.doubts.ids();
    let shown = reach.source.collections[&tracked.uuid].shown_at(position);
    let documents = ids
        .iter()
        .map(body::key_of)
        .map(|key| (key, shown.get(&key).copied()))
        .collect();
    tracked.raise_horizon(reach.source.newest());
    reach.target.settle(tracked.target_uuid(), documents);
    tracked.doubts.forget(&ids);
}

/// A collection as a plan, or a creation, records it.
pub(super) fn planned(
    uuid: Uuid,
    name: &str,
    collated: bool,
    pair: usize,
    target_uuid: Uuid,
) -> CollectionState {
    let options = if collated {
        rawdoc! { "collation": { "locale": "de" } }
    } else {
        RawDocumentBuf::new()
    };
    CollectionState {
        uuid,
        target_version: None,
        target_uuid: Some(target_uuid),
        ns: namespace(name),
        options,
        primary: pair,
        sharded: None,
        key_index: None,
        dead: false,
        wiping: false,
        duplicate_names: false,
        bounds: Vec::new(),
        units: vec![UnitState::Waiting],
    }
}

fn created(tracked: &Tracked, pair: usize, target_uuid: Uuid) -> CollectionState {
    let planned = planned(
        tracked.uuid,
        &tracked.ns.coll,
        tracked.traits.collated,
        pair,
        target_uuid,
    );
    CollectionState {
        units: vec![UnitState::Settled],
        ..planned
    }
}

fn dead(tracked: &Tracked) -> CollectionState {
    CollectionState::dead(tracked.uuid, &tracked.ns)
}
