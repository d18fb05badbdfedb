//! One source shard of the simulation: collections, every version of every
//! document, and the oplog that made them.
//!
//! Knows nothing about the engine but the form of a position.

use std::collections::{BTreeMap, BTreeSet};

use bson::Uuid;
use shardlift::pair::op::OpKind;
use shardlift::pair::position::{Mark, Position};

use crate::layout::dice::Dice;
use crate::sim::body::{Delta, Doc, FIELDS, Key, Spelling};

#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) log: Vec<Entry>,
    pub(super) collections: BTreeMap<Uuid, Collection>,
    prepared: Vec<Prepared>,
    term: i64,
    values: i32,
    /// Newest position of another shard that this one has heard of.
    heard: u64,
    /// Some changes are strays, see `Change`.
    pub(super) strays: bool,
}

#[derive(Debug)]
pub(super) struct Collection {
    pub(super) name: String,
    /// Has a collation of its own: one unit, one lane, op order.
    pub(super) collated: bool,
    /// `_id`s come in several spellings.
    pub(super) spelled: bool,
    pub(super) alive: bool,
    /// Per document its versions, oldest first.
    versions: BTreeMap<Key, Vec<Version>>,
}

#[derive(Debug, Clone, Copy)]
struct Version {
    /// Of the entry that takes effect.
    position: Position,
    /// From where on reads show it: those of a prepared transaction are shown as of a
    /// position before its commit entry.
    shown_from: Position,
    doc: Option<Doc>,
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
    Create(Uuid),
    Drop(Uuid),
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
struct Prepared {
    parts: Vec<usize>,
    locked: BTreeSet<(Uuid, Key)>,
}

#[derive(Debug, PartialEq)]
enum End {
    Committed,
    Aborted,
}

/// Documents of one collection; small, so that they are met often.
pub(super) const KEYS: u64 = 12;
const PREPARED_MAX: usize = 2;

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

    fn append(&mut self, event: Event) -> usize {
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

    pub(super) fn create(&mut self, uuid: Uuid, name: &str, dice: &mut Dice) {
        let (collated, spelled) = (dice.below(8) == 0, dice.below(2) == 0);
        let name = name.to_owned();
        self.collections.insert(
            uuid,
            Collection {
                name,
                collated,
                spelled,
                alive: true,
                versions: BTreeMap::new(),
            },
        );
        self.append(Event::Create(uuid));
    }

    /// False while a prepared transaction has documents of it.
    pub(super) fn drop_collection(&mut self, uuid: Uuid) -> bool {
        let locked = self
            .prepared
            .iter()
            .any(|p| p.locked.iter().any(|(of, _)| *of == uuid));
        if !locked {
            self.collections
                .get_mut(&uuid)
                .expect("only known ones are dropped")
                .alive = false;
            self.append(Event::Drop(uuid));
        }
        !locked
    }

    pub(super) fn has(&self, uuid: &Uuid) -> bool {
        self.collections.get(uuid).is_some_and(|c| c.alive)
    }

    /// One random change of documents, by itself or in a transaction.
    pub(super) fn write(&mut self, dice: &mut Dice) {
        if dice.below(60) == 0 {
            self.term += 1;
            self.append(Event::Noop);
        }
        match dice.below(20) {
            0 => drop(self.append(Event::Noop)),
            1 | 2 if self.prepared.len() < PREPARED_MAX => self.prepare(dice),
            3 | 4 if !self.prepared.is_empty() => {
                let which = dice.below(self.prepared.len() as u64) as usize;
                let end = if dice.below(5) == 0 {
                    End::Aborted
                } else {
                    End::Committed
                };
                self.end_prepared(which, end, dice);
            }
            5..8 => {
                let count = 2 + dice.below(4);
                let ops = self.changes(count, dice);
                self.effect(ops);
            }
            _ => {
                let ops = self.changes(1, dice);
                self.effect(ops);
            }
        }
    }

    /// Ends what is open.
    pub(super) fn finish(&mut self, dice: &mut Dice) {
        while !self.prepared.is_empty() {
            self.end_prepared(0, End::Committed, dice);
        }
    }

    fn effect(&mut self, ops: Vec<Change>) {
        if ops.is_empty() {
            return;
        }
        let at = self.append(Event::Ops(ops.clone()));
        self.store(at, at, &ops);
    }

    /// `shown_from`, `at`: indexes into the log.
    fn store(&mut self, shown_from: usize, at: usize, ops: &[Change]) {
        let [shown_from, position] = [shown_from, at].map(|at| self.log[at].mark.position);
        for op in ops {
            let collection = self
                .collections
                .get_mut(&op.uuid)
                .expect("ops are made on known ones");
            collection
                .versions
                .entry(op.key)
                .or_default()
                .push(Version {
                    position,
                    shown_from,
                    doc: op.doc,
                });
        }
    }

    fn prepare(&mut self, dice: &mut Dice) {
        let count = 2 + dice.below(3);
        let ops = self.changes(count, dice);
        if ops.is_empty() {
            return;
        }
        let locked = ops.iter().map(|op| (op.uuid, op.key)).collect();
        let cut = dice.below(ops.len() as u64) as usize;
        let (first, second) = ops.split_at(cut);
        let parts = [first, second].into_iter().filter(|part| !part.is_empty());
        let parts = parts.map(|part| part.to_vec()).collect::<Vec<_>>();
        let parts = parts
            .into_iter()
            .map(|part| self.append(Event::Part(part)))
            .collect();
        self.prepared.push(Prepared { parts, locked });
    }

    fn end_prepared(&mut self, which: usize, end: End, dice: &mut Dice) {
        let Prepared { parts, .. } = self.prepared.swap_remove(which);
        let Some(last) = parts.last().copied().filter(|_| end == End::Committed) else {
            self.append(Event::Noop);
            return;
        };
        let ops: Vec<Change> = parts
            .iter()
            .flat_map(|part| self.part(*part))
            .copied()
            .collect();
        let at = self.append(Event::Commit(parts));
        let shown_from = last + dice.below((at - last + 1) as u64) as usize;
        self.store(shown_from, at, &ops);
    }

    /// The ops of a prepared transaction's entry.
    pub(super) fn part(&self, at: usize) -> &[Change] {
        match &self.log[at].event {
            Event::Part(ops) => ops,
            other => panic!("no part of a transaction: {other:?}"),
        }
    }

    fn changes(&mut self, count: u64, dice: &mut Dice) -> Vec<Change> {
        let alive: Vec<Uuid> = self
            .collections
            .iter()
            .filter(|(_, c)| c.alive)
            .map(|(uuid, _)| *uuid)
            .collect();
        let mut now: BTreeMap<(Uuid, Key), Option<Doc>> = BTreeMap::new();
        let mut changes = Vec::new();
        for _ in 0..count {
            let Some(uuid) = alive.get(dice.below(alive.len() as u64) as usize) else {
                break;
            };
            let key = dice.below(KEYS) as Key;
            if self
                .prepared
                .iter()
                .any(|p| p.locked.contains(&(*uuid, key)))
            {
                continue;
            }
            let there = now.get(&(*uuid, key)).copied();
            let there = there.unwrap_or_else(|| self.collections[uuid].at(key, Position::MAX));
            let change = self.change(*uuid, key, there, dice);
            now.insert((*uuid, key), change.doc);
            changes.push(change);
        }
        changes
    }

    fn change(&mut self, uuid: Uuid, key: Key, there: Option<Doc>, dice: &mut Dice) -> Change {
        self.values += 1;
        let value = self.values;
        let mut fields = [0; FIELDS];
        let change = |kind, spelling, doc, delta| Change {
            uuid,
            kind,
            key,
            spelling,
            doc,
            stray: None,
            delta,
        };
        let Some(mut doc) = there else {
            let spelling = match (self.collections[&uuid].spelled, dice.below(3)) {
                (true, 0) => Spelling::Double,
                (true, 1) => Spelling::Int64,
                _ => Spelling::Int32,
            };
            fields.fill(value);
            if self.strays && dice.below(10) == 0 {
                let stray = Some(Doc { spelling, fields });
                return Change {
                    stray,
                    ..change(OpKind::Replace, spelling, None, Delta::default())
                };
            }
            let kind = if dice.below(10) == 0 {
                OpKind::Unclear
            } else {
                OpKind::Insert
            };
            return change(
                kind,
                spelling,
                Some(Doc { spelling, fields }),
                Delta::default(),
            );
        };
        match dice.below(9) {
            // A user's `applyOps`, whatever it did.
            8 => {
                fields[dice.below(FIELDS as u64) as usize] = value;
                change(
                    OpKind::Unclear,
                    doc.spelling,
                    Some(Doc { fields, ..doc }),
                    Delta::default(),
                )
            }
            0..3 => change(OpKind::Delete, doc.spelling, None, Delta::default()),
            3 => {
                fields[dice.below(FIELDS as u64) as usize] = value;
                change(
                    OpKind::Replace,
                    doc.spelling,
                    Some(Doc { fields, ..doc }),
                    Delta::default(),
                )
            }
            unset => {
                let mut delta = Delta::default();
                let field = dice.below(FIELDS as u64) as usize;
                delta.0[field] = Some(if unset == 4 { 0 } else { value });
                delta.apply(&mut doc);
                change(OpKind::Delta, doc.spelling, Some(doc), delta)
            }
        }
    }
}

impl Collection {
    /// The document as it was at a position.
    pub(super) fn at(&self, key: Key, position: Position) -> Option<Doc> {
        newest(self.versions.get(&key)?, |version| {
            version.position <= position
        })
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
        let shown =
            |versions: &[Version]| newest(versions, |version| version.shown_from <= position);
        self.versions
            .iter()
            .filter_map(|(key, versions)| Some((*key, shown(versions)?)))
            .collect()
    }
}

/// The last of the versions that are `old` enough, which come first.
fn newest(versions: &[Version], old: impl Fn(&Version) -> bool) -> Option<Doc> {
    let older = versions.partition_point(old);
    versions.get(older.checked_sub(1)?)?.doc
}
