//! The engine's durable state as a target shard of the simulation holds it:
//! the same writes as `shardlift::state::pair_store` makes, one by one.

use std::collections::BTreeMap;

use bson::Uuid;
use shardlift::cluster::catalog::Namespace;
use shardlift::position::{Mark, Position};
use shardlift::state::{CollectionState, PairState, UnitState};

#[derive(Debug, Clone)]
pub(super) struct Store {
    resume: Mark,
    applied: Mark,
    catalog_position: Position,
    incarnation: i64,
    collections: BTreeMap<Uuid, CollectionState>,
    units: BTreeMap<(Uuid, usize), UnitDocument>,
}

#[derive(Debug, Clone, Copy, Default)]
struct UnitDocument {
    fence: Option<Position>,
    settled: bool,
    wiping: bool,
}

/// One write, as `PairStore` sends it.
#[derive(Debug, Clone)]
pub(super) enum StoreWrite {
    Begin,
    Start(Uuid, usize, Position),
    Settled(Vec<(Uuid, usize)>),
    /// Resume and applied; only by the newest incarnation.
    Touch(i64, Option<(Mark, Mark)>),
    /// The same restriction.
    GoOn(i64, Mark),
    Wiping(Vec<(Uuid, usize)>),
    Forget(Vec<(Uuid, usize)>),
    Add(Box<CollectionState>),
    Kill(Uuid),
    /// The name that it has on the target by now.
    Name(Uuid, Namespace),
    /// The same, since the rename at a position.
    Renamed(Uuid, Namespace, Position),
    /// They are dead, and nothing meets them any more.
    Bury(Vec<Uuid>),
}

impl Default for Store {
    fn default() -> Self {
        Store::new(
            Mark {
                position: Position::default(),
                term: 0,
            },
            Position::default(),
            Vec::new(),
        )
    }
}

impl Store {
    pub(super) fn new(
        resume: Mark,
        catalog_position: Position,
        collections: Vec<CollectionState>,
    ) -> Self {
        let collections = collections.into_iter().map(|c| (c.uuid, c)).collect();
        Store {
            resume,
            applied: resume,
            catalog_position,
            incarnation: 0,
            collections,
            units: BTreeMap::new(),
        }
    }

    pub(super) fn incarnation(&self) -> i64 {
        self.incarnation
    }

    pub(super) fn resume(&self) -> Mark {
        self.resume
    }

    pub(super) fn takes(&self, write: &StoreWrite) -> bool {
        match write {
            StoreWrite::Touch(incarnation, _) | StoreWrite::GoOn(incarnation, _) => {
                *incarnation == self.incarnation
            }
            _ => true,
        }
    }

    pub(super) fn apply(&mut self, write: &StoreWrite) {
        match write {
            StoreWrite::Begin => self.incarnation += 1,
            StoreWrite::Start(uuid, unit, fence) => {
                self.units.entry((*uuid, *unit)).or_default().fence = Some(*fence);
            }
            StoreWrite::Settled(settled) => {
                settled
                    .iter()
                    .for_each(|unit| self.units.entry(*unit).or_default().settled = true);
            }
            StoreWrite::Touch(_, None) => {}
            StoreWrite::Touch(_, Some((resume, applied))) => {
                self.raise(*resume);
                self.applied = *applied;
            }
            StoreWrite::GoOn(_, mark) => {
                self.raise(*mark);
                self.applied = *mark;
            }
            StoreWrite::Wiping(units) => {
                units
                    .iter()
                    .for_each(|unit| self.units.entry(*unit).or_default().wiping = true);
            }
            StoreWrite::Forget(units) => self.units.retain(|id, _| !units.contains(id)),
            StoreWrite::Add(collection) => {
                for (index, unit) in collection.units.iter().enumerate() {
                    let settled = *unit == UnitState::Settled;
                    self.units.insert(
                        (collection.uuid, index),
                        UnitDocument {
                            fence: None,
                            settled,
                            wiping: false,
                        },
                    );
                }
                self.collections
                    .insert(collection.uuid, (**collection).clone());
            }
            StoreWrite::Kill(uuid) => {
                // One that a pair meets the drop of late may be forgotten.
                if let Some(collection) = self.collections.get_mut(uuid) {
                    collection.dead = true;
                }
            }
            StoreWrite::Name(uuid, ns) => self.name(uuid, ns, None),
            StoreWrite::Renamed(uuid, ns, position) => self.name(uuid, ns, Some(*position)),
            StoreWrite::Bury(uuids) => {
                self.units.retain(|(uuid, _), _| !uuids.contains(uuid));
                self.collections
                    .retain(|uuid, c| !(c.dead && uuids.contains(uuid)));
            }
        }
    }

    fn name(&mut self, uuid: &Uuid, ns: &Namespace, renamed_at: Option<Position>) {
        if let Some(collection) = self.collections.get_mut(uuid) {
            collection.ns = ns.clone();
            collection.renamed_at = renamed_at.unwrap_or(collection.renamed_at);
        }
    }

    /// `$max` compares documents field by field: `ts` comes first.
    fn raise(&mut self, resume: Mark) {
        if self.resume.position < resume.position {
            self.resume = resume;
        }
    }

    pub(super) fn wiping(&self) -> Vec<(Uuid, usize)> {
        self.units
            .iter()
            .filter(|(_, unit)| unit.wiping)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn load(&self) -> PairState {
        let mut collections = self.collections.clone();
        for ((uuid, index), unit) in &self.units {
            let Some(collection) = collections.get_mut(uuid) else {
                continue;
            };
            collection.units[*index] = match unit {
                UnitDocument { settled: true, .. } => UnitState::Settled,
                UnitDocument {
                    fence: Some(fence), ..
                } => UnitState::Copying(*fence),
                UnitDocument { fence: None, .. } => UnitState::Waiting,
            };
        }
        let collections = collections.into_values().collect();
        let applied = if self.resume.position < self.applied.position {
            self.applied
        } else {
            self.resume
        };
        PairState {
            resume: self.resume,
            applied,
            catalog_position: self.catalog_position,
            collections,
        }
    }
}
