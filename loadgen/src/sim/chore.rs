//! Chores of the simulation: what `DdlSink` and the index builder do after the
//! tail has gone on, one at a time on each name.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::{RawDocumentBuf, Uuid, rawdoc};
use shardlift::cluster::catalog::Namespace;
use shardlift::pair::collection::Tracked;
use shardlift::pair::ddl::request::Renamed;
use shardlift::pair::gate::Place;
use shardlift::pair::gate::ledger::Pin;
use shardlift::position::Position;
use shardlift::state::{CollectionState, ScanOrder, UnitState};

use crate::sim::coordinator::{Answer, Coordinator};
use crate::sim::exact::{Aim, Exact};
use crate::sim::pair::{Pair, Reach, Step, Wait, namespace};
use crate::sim::replay::Replay;
use crate::sim::source::Source;
use crate::sim::store::StoreWrite;
use crate::sim::target::Target;

pub(super) struct Chore {
    /// By the log. Chores on one of them are done one after the other.
    names: BTreeSet<String>,
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
    Rename {
        to: Namespace,
        position: Position,
    },
    Renaming {
        to: Namespace,
        position: Position,
    },
    /// Its new name is recorded.
    Renamed {
        to: Namespace,
        position: Position,
    },
    RecordingName(Wait),
    /// It gets the options that the source has by now.
    Modify,
    Modifying(Wait),
    /// What needs its exact state.
    Exact(Exact),
    /// Its ops go on.
    Releasing(Replay),
    Done,
}

impl Chore {
    pub(super) fn new(tracked: Arc<Tracked>, pin: Option<Pin>, work: Work) -> Self {
        let names = BTreeSet::from([tracked.logged_ns().coll]);
        Chore::on(names, tracked, pin, work)
    }

    pub(super) fn on(
        names: BTreeSet<String>,
        tracked: Arc<Tracked>,
        pin: Option<Pin>,
        work: Work,
    ) -> Self {
        Chore {
            names,
            tracked,
            pin,
            work,
        }
    }

    pub(super) fn wait(&self) -> Option<Wait> {
        match &self.work {
            Work::Recording { wait, .. }
            | Work::Killing(wait)
            | Work::RecordingName(wait)
            | Work::Modifying(wait) => Some(*wait),
            Work::Exact(exact) => exact.wait(),
            _ => None,
        }
    }
}

impl Pair {
    /// A step of a random chore that is the first on each of its names.
    pub(super) fn chore(&mut self, coordinator: &mut Coordinator, reach: &mut Reach<'_>) -> Step {
        self.reread_doubtful();
        let is_first = |i: &usize| {
            self.chores[..*i]
                .iter()
                .all(|c| c.names.is_disjoint(&self.chores[*i].names))
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
            Work::Creating => match coordinator.create(tracked, reach) {
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
            Work::Unmaking if !coordinator.is_waiting(self.index, uuid) => {
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
            Work::Dropping if !coordinator.is_waiting(self.index, uuid) => Work::Kill,
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
            Work::Rename { to, position } => {
                coordinator.arrive_at_rename(self.index, tracked, &to);
                Work::Renaming { to, position }
            }
            Work::Renaming { to, position } => match coordinator.rename(self.index, tracked, &to) {
                Some(Renamed::Done(_)) => Work::Renamed { to, position },
                Some(Renamed::Gone) => Work::Done,
                None if tracked.is_dead() && !coordinator.is_renaming(&uuid) => {
                    coordinator.leave_rename(self.index, tracked, &to);
                    Work::Done
                }
                None => Work::Renaming { to, position },
            },
            Work::Renamed { to, position } => {
                let write = StoreWrite::Renamed(uuid, to, position);
                let number = reach.target.store(write).expect("never refused");
                Work::RecordingName(Wait {
                    number,
                    term: reach.target.term,
                })
            }
            Work::RecordingName(wait) if wait.number <= committed => Work::Done,
            Work::Modify => modify(tracked, reach),
            Work::Modifying(wait) if wait.number <= committed => Work::Done,
            Work::Exact(exact) => match self.exact(tracked, exact, reach)? {
                Some(exact) => Work::Exact(exact),
                None => Work::Done,
            },
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
                    && matches!(&c.work, Work::Exact(exact) if exact.aim == Aim::Reread)
            };
            if !self.chores.iter().any(is_its) {
                let work = Work::Exact(Exact::new(Aim::Reread));
                self.chores.push(Chore::new(tracked, None, work));
            }
        }
    }

    /// As `Indexer::reconcile` after a restart: what is copied has its indexes, or gets them.
    pub(super) fn reconcile(&mut self, source: &Source, target: &Target) {
        let lacks_index = |tracked: &Arc<Tracked>| {
            let wanted = source.collections.get(&tracked.uuid);
            let there = target.now.collections.get(&tracked.target_uuid());
            wanted.is_some_and(|c| c.unique) && there.is_some_and(|stored| !stored.unique)
        };
        let all: Vec<Arc<Tracked>> = self.gate.all_that_count().cloned().collect();
        for tracked in all {
            if self.gate.is_copied(&tracked.uuid) && lacks_index(&tracked) {
                self.build(tracked);
            }
        }
    }

    pub(super) fn build(&mut self, tracked: Arc<Tracked>) {
        let work = Work::Exact(Exact::new(Aim::Build));
        self.chores.push(Chore::new(tracked, None, work));
    }
}

/// As `options::align`: not what the entry says, but what is listed now.
fn modify(tracked: &Tracked, reach: &mut Reach<'_>) -> Work {
    let Some(made) = tracked.bound_to().filter(|_| !tracked.is_dead()) else {
        return Work::Done;
    };
    if !reach.source.has(&tracked.uuid) {
        // Its drop is in the log.
        return Work::Modify;
    }
    let option = reach.source.collections[&tracked.uuid].option;
    Work::Modifying(Wait {
        number: reach.target.modify(made, option),
        term: reach.target.term,
    })
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
        renamed_at: Position::default(),
        planned_at: Position::default(),
        options,
        primary: pair,
        sharded: None,
        key_index: None,
        dead: false,
        wiping: false,
        duplicate_names: false,
        order: ScanOrder::Id,
        whole_reads: 0,
        bounds: Vec::new(),
        units: vec![UnitState::Waiting],
    }
}

fn created(tracked: &Tracked, pair: usize, target_uuid: Uuid) -> CollectionState {
    let planned = planned(
        tracked.uuid,
        &tracked.ns().coll,
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
    CollectionState::dead(tracked.uuid, &tracked.ns())
}
