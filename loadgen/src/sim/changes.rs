//! Random changes of documents on a source shard of the simulation: by themselves, in
//! transactions, and in prepared ones; values of a unique index go round.

use std::collections::BTreeMap;

use bson::Uuid;
use shardlift::pair::op::OpKind;
use shardlift::position::Position;

use crate::layout::dice::Dice;
use crate::sim::body::{Delta, Doc, FIELDS, Key, Spelling, UNIQUE};
use crate::sim::source::{Change, Event, KEYS, Prepared, Source};

#[derive(Debug, PartialEq)]
enum End {
    Committed,
    Aborted,
}

const PREPARED_MAX: usize = 2;
/// Values of a unique index: few, so that they go round.
const UNIQUE_VALUES: u64 = 6;

/// Documents that a transaction has changed so far.
type Now = BTreeMap<(Uuid, Key), Option<Doc>>;

/// What a change may set.
struct Fresh {
    /// For any field.
    value: i32,
    /// For that of the unique index, if there is one; 0 if none is free.
    unique: Option<i32>,
}

impl Fresh {
    fn of(&self, field: usize) -> i32 {
        self.unique
            .filter(|_| field == UNIQUE)
            .unwrap_or(self.value)
    }

    /// Of all fields.
    fn all(&self) -> [i32; FIELDS] {
        std::array::from_fn(|field| self.of(field))
    }

    /// Only this one is there.
    fn one(&self, field: usize) -> [i32; FIELDS] {
        let mut fields = [0; FIELDS];
        fields[field] = self.of(field);
        fields
    }

    /// Often the one of the unique index.
    fn field(&self, dice: &mut Dice) -> usize {
        if self.unique.is_some() && dice.one_in(2) {
            return UNIQUE;
        }
        dice.below(FIELDS as u64) as usize
    }
}

impl Source {
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

    fn changes(&mut self, count: u64, dice: &mut Dice) -> Vec<Change> {
        let alive: Vec<Uuid> = self
            .collections
            .iter()
            .filter(|(_, c)| c.alive)
            .map(|(uuid, _)| *uuid)
            .collect();
        let mut now = Now::new();
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
            let fresh = self.fresh(*uuid, key, &now, dice);
            let change = self.change(*uuid, key, there, &fresh, dice);
            now.insert((*uuid, key), change.doc);
            changes.push(change);
        }
        changes
    }

    fn fresh(&mut self, uuid: Uuid, key: Key, now: &Now, dice: &mut Dice) -> Fresh {
        self.values += 1;
        let unique = self.collections[&uuid].unique.then(|| {
            let value = 1 + dice.below(UNIQUE_VALUES) as i32;
            let is_free = self.is_free(uuid, key, value, now);
            if is_free { value } else { 0 }
        });
        Fresh {
            value: self.values,
            unique,
        }
    }

    /// No other document has it in the unique index, or may have once an open
    /// transaction ends.
    fn is_free(&self, uuid: Uuid, key: Key, value: i32, now: &Now) -> bool {
        let has = |doc: Option<Doc>| doc.is_some_and(|doc| doc.fields[UNIQUE] == value);
        let collection = &self.collections[&uuid];
        let others = (0..KEYS as Key).filter(|other| *other != key);
        for other in others {
            let changed = now.get(&(uuid, other)).copied();
            if has(changed.unwrap_or_else(|| collection.at(other, Position::MAX))) {
                return false;
            }
        }
        let parts = self.prepared.iter().flat_map(|prepared| &prepared.parts);
        let mut claimed = parts.flat_map(|part| self.part(*part));
        !claimed.any(|change| change.uuid == uuid && has(change.doc))
    }

    fn change(
        &self,
        uuid: Uuid,
        key: Key,
        there: Option<Doc>,
        fresh: &Fresh,
        dice: &mut Dice,
    ) -> Change {
        let change = |kind, spelling, doc| Change {
            uuid,
            kind,
            key,
            spelling,
            doc,
            stray: None,
            delta: Delta::default(),
        };
        let Some(mut doc) = there else {
            return self.creation(change, fresh, uuid, dice);
        };
        let spelling = doc.spelling;
        let field = fresh.field(dice);
        let rest = Doc {
            fields: fresh.one(field),
            ..doc
        };
        match dice.below(9) {
            // A user's `applyOps`, whatever it did.
            8 => change(OpKind::Unclear, spelling, Some(rest)),
            0..3 => change(OpKind::Delete, spelling, None),
            3 => change(OpKind::Replace, spelling, Some(rest)),
            unset => {
                let mut delta = Delta::default();
                delta.0[field] = Some(if unset == 4 { 0 } else { fresh.of(field) });
                delta.apply(&mut doc);
                Change {
                    delta,
                    ..change(OpKind::Delta, spelling, Some(doc))
                }
            }
        }
    }

    /// Of a document that is not there.
    fn creation(
        &self,
        change: impl Fn(OpKind, Spelling, Option<Doc>) -> Change,
        fresh: &Fresh,
        uuid: Uuid,
        dice: &mut Dice,
    ) -> Change {
        let spelling = match (self.collections[&uuid].spelled, dice.below(3)) {
            (true, 0) => Spelling::Double,
            (true, 1) => Spelling::Int64,
            _ => Spelling::Int32,
        };
        let doc = Some(Doc {
            spelling,
            fields: fresh.all(),
        });
        if self.strays && dice.below(10) == 0 {
            return Change {
                stray: doc,
                ..change(OpKind::Replace, spelling, None)
            };
        }
        let kind = if dice.below(10) == 0 {
            OpKind::Unclear
        } else {
            OpKind::Insert
        };
        change(kind, spelling, doc)
    }
}
