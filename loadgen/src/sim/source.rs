//! One source shard of the simulation: collections, every version of every
//! document, and the oplog that made them. What is written is `changes`'.
//!
//! Knows nothing about the engine but the form of a position.

use std::collections::{BTreeMap, BTreeSet};

use bson::Uuid;
use shardlift::pair::op::OpKind;
use shardlift::position::{Mark, Position};

use crate::layout::dice::Dice;
use crate::sim::body::{Delta, Doc, Key, Spelling};

#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) log: Vec<Entry>,
    pub(super) collections: BTreeMap<Uuid, Collection>,
    pub(super) prepared: Vec<Prepared>,
    pub(super) term: i64,
    pub(super) values: i32,
    /// Records ever made.
    records: u64,
    /// Newest position of another shard that this one has heard of.
    heard: u64,
    /// Some changes are strays, see `Change`.
    pub(super) strays: bool,
}

#[derive(Debug)]
pub(super) struct Collection {
    pub(super) name: String,
    pub(super) place: Place,
    /// Has a collation of its own: one unit, one lane, op order.
    pub(super) collated: bool,
    /// `_id`s come in several spellings.
    pub(super) spelled: bool,
    /// Has a unique, sparse index on the field `UNIQUE`.
    pub(super) unique: bool,
    /// What stands for its options, as this shard has them.
    pub(super) option: i32,
    pub(super) alive: bool,
    /// Per document its versions, oldest first.
    versions: BTreeMap<Key, Vec<Version>>,
}

/// Where a collection may have documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// On several shards.
    pub(super) sharded: bool,
    /// The primary shard of its database, which has it in any case.
    pub(super) primary: usize,
}

#[derive(Debug, Clone, Copy)]
struct Version {
    /// Of the entry that takes effect.
    position: Position,
    /// From where on reads show it: those of a prepared transaction are shown as of a
    /// position before its commit entry.
    shown_from: Position,
    doc: Option<Doc>,
    /// Its place on the disk.
    record: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) mark: Mark,
    pub(super) event: Event,
}

#[derive(Debug)]
pub(super) enum Event {
    Noop,
    Ops(Vec<Change>),
    /// Entry of a prepared transaction; takes effect with its commit.
    Part(Vec<Change>),
    /// Indexes into the log of its parts, first to last.
    Commit(Vec<usize>),
    /// By this name.
    Create(Uuid, String),
    Drop(Uuid),
    Rename(Renamed),
    /// Its options, see `Collection::option`.
    Modify(Uuid),
}

#[derive(Debug, Clone)]
pub(super) struct Renamed {
    pub(super) uuid: Uuid,
    pub(super) from: String,
    pub(super) to: String,
    /// What had the name on this shard.
    pub(super) dropped: Option<Uuid>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) uuid: Uuid,
    pub(super) kind: OpKind,
    pub(super) key: Key,
    pub(super) spelling: Spelling,
    /// What it is afterwards.
    pub(super) doc: Option<Doc>,
    /// A replacement of a document this shard never had by an op that counts (an
    /// orphan's, whose insert was a migration's): nothing may come of it.
    pub(super) stray: Option<Doc>,
    /// Of deltas only.
    pub(super) delta: Delta,
}

#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) parts: Vec<usize>,
    pub(super) locked: BTreeSet<(Uuid, Key)>,
}

/// Documents of one collection; small, so that they are met often.
pub(super) const KEYS: u64 = 12;

impl Source {
    /// `strays`: some of its changes are that.
    pub(super) fn new(strays: bool) -> Self {
        let mut source = Source {
            term: 1,
            strays,
            ..Source::default()
        };
        source.append(Event::Noop);
        source
    }

    pub(super) fn newest(&self) -> Position {
        self.log
            .last()
            .expect("the first entry is made by `new`")
            .mark
            .position
    }

    /// Index of the entry of this mark.
    pub(super) fn find(&self, mark: Mark) -> Option<usize> {
        self.log
            .binary_search_by_key(&mark.position, |e| e.mark.position)
            .ok()
            .filter(|i| self.log[*i].mark == mark)
    }

    pub(super) fn append(&mut self, event: Event) -> usize {
        let last = self.log.last().map_or(0, |entry| entry.mark.position.raw());
        let position = Position::from_raw(4 + last.max(self.heard));
        self.log.push(Entry {
            mark: Mark {
                position,
                term: self.term,
            },
            event,
        });
        self.log.len() - 1
    }

    /// What it logs from now on is later: shards tell each other the time with each
    /// command.
    pub(super) fn hear(&mut self, position: Position) {
        self.heard = position.raw();
    }

    pub(super) fn create(&mut self, uuid: Uuid, name: &str, place: Place, dice: &mut Dice) {
        let (collated, spelled) = (dice.below(8) == 0, dice.below(2) == 0);
        let unique = dice.below(3) == 0;
        let name = name.to_owned();
        self.collections.insert(
            uuid,
            Collection {
                name: name.clone(),
                place,
                collated,
                spelled,
                unique,
                option: 0,
                alive: true,
                versions: BTreeMap::new(),
            },
        );
        self.append(Event::Create(uuid, name));
    }

    /// False while a prepared transaction has documents of it.
    pub(super) fn drop_collection(&mut self, uuid: Uuid) -> bool {
        let is_free = !self.is_locked(&uuid);
        if is_free {
            self.end(uuid);
            self.append(Event::Drop(uuid));
        }
        is_free
    }

    /// Drops what has the name here. False while a prepared transaction has documents of
    /// either.
    pub(super) fn rename(&mut self, uuid: Uuid, to: &str) -> bool {
        let dropped = self.called(to);
        if self.is_locked(&uuid) || dropped.is_some_and(|dropped| self.is_locked(&dropped)) {
            return false;
        }
        dropped.into_iter().for_each(|dropped| self.end(dropped));
        let renamed = self.collections.get_mut(&uuid);
        let name = &mut renamed.expect("only known ones are renamed").name;
        let from = std::mem::replace(name, to.to_owned());
        let to = to.to_owned();
        self.append(Event::Rename(Renamed {
            uuid,
            from,
            to,
            dropped,
        }));
        true
    }

    /// False while a prepared transaction has documents of it.
    pub(super) fn modify(&mut self, uuid: Uuid, option: i32) -> bool {
        let is_free = !self.is_locked(&uuid);
        if is_free {
            let modified = self.collections.get_mut(&uuid);
            modified.expect("only known ones are modified").option = option;
            self.append(Event::Modify(uuid));
        }
        is_free
    }

    /// The collection that has this name.
    pub(super) fn called(&self, name: &str) -> Option<Uuid> {
        let mut alive = self.alive();
        alive.find(|(_, c)| c.name == name).map(|(uuid, _)| *uuid)
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (&Uuid, &Collection)> {
        self.collections.iter().filter(|(_, c)| c.alive)
    }

    fn end(&mut self, uuid: Uuid) {
        let ended = self.collections.get_mut(&uuid);
        ended.expect("only known ones are dropped").alive = false;
    }

    /// A prepared transaction has documents of it.
    fn is_locked(&self, uuid: &Uuid) -> bool {
        let mut locked = self.prepared.iter().flat_map(|p| &p.locked);
        locked.any(|(of, _)| of == uuid)
    }

    pub(super) fn has(&self, uuid: &Uuid) -> bool {
        self.collections.get(uuid).is_some_and(|c| c.alive)
    }

    /// `shown_from`, `at`: indexes into the log.
    pub(super) fn store(&mut self, shown_from: usize, at: usize, ops: &[Change]) {
        let [shown_from, position] = [shown_from, at].map(|at| self.log[at].mark.position);
        for op in ops {
            let collection = self
                .collections
                .get_mut(&op.uuid)
                .expect("ops are made on known ones");
            let versions = collection.versions.entry(op.key).or_default();
            let before = versions.last().filter(|version| version.doc.is_some());
            let record = match before {
                Some(version) => version.record,
                None => {
                    self.records += 1;
                    record(self.records)
                }
            };
            versions.push(Version {
                position,
                shown_from,
                doc: op.doc,
                record,
            });
        }
    }

    /// The ops of a prepared transaction's entry.
    pub(super) fn part(&self, at: usize) -> &[Change] {
        match &self.log[at].event {
            Event::Part(ops) => ops,
            other => panic!("no part of a transaction: {other:?}"),
        }
    }
}

impl Collection {
    /// The document as it was at a position.
    pub(super) fn at(&self, key: Key, position: Position) -> Option<Doc> {
        newest(self.versions.get(&key)?, |version| {
            version.position <= position
        })?
        .doc
    }

    /// All documents as they were at a position.
    pub(super) fn all_at(&self, position: Position) -> BTreeMap<Key, Doc> {
        self.versions
            .keys()
            .filter_map(|key| Some((*key, self.at(*key, position)?)))
            .collect()
    }

    /// All documents as a read at a position shows them.
    pub(super) fn shown_at(&self, position: Position) -> BTreeMap<Key, Doc> {
        self.on_disk_at(position).into_values().collect()
    }

    /// The same by their records.
    pub(super) fn on_disk_at(&self, position: Position) -> BTreeMap<u64, (Key, Doc)> {
        let shown = |key: &Key, versions: &[Version]| {
            let version = newest(versions, |version| version.shown_from <= position)?;
            Some((version.record, (*key, version.doc?)))
        };
        self.versions
            .iter()
            .filter_map(|(key, versions)| shown(key, versions))
            .collect()
    }
}

/// The last of the versions that are `old` enough, which come first.
fn newest(versions: &[Version], old: impl Fn(&Version) -> bool) -> Option<&Version> {
    let older = versions.partition_point(old);
    versions.get(older.checked_sub(1)?)
}

/// The place of the `n`th record. Some were kept for a writer that committed late, and lie
/// before others that could be seen earlier.
fn record(n: u64) -> u64 {
    const LATE: u64 = 4;
    if n.is_multiple_of(3) && LATE < n {
        2 * (n - LATE) + 1
    } else {
        2 * n
    }
}
