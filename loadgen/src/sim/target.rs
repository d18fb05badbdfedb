//! One target shard of the simulation: what it holds, what of that is
//! majority-committed, elections that take the rest back, and writes whose
//! sender is gone.
//!
//! Takes the engine's own write commands, and refuses some. Knows nothing of its gates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bson::Uuid;

use crate::layout::dice::Dice;
use crate::sim::body::{Doc, FIELDS, Key, Spelling, UNIQUE};
use crate::sim::command::{Change, Command, Refusal, Write};
use crate::sim::store::{Store, StoreWrite};
use crate::sim::tally::Tally;

#[derive(Debug)]
pub(super) struct Target {
    pub(super) term: i64,
    pub(super) now: State,
    /// As of the majority commit point.
    pub(super) durable: State,
    /// What happened to its commands, in all.
    pub(super) tally: Tally,
    /// Writes beyond that point.
    beyond: VecDeque<Effect>,
    /// Writes ever made that were not taken back.
    written: u64,
    /// Of so many outcomes it takes all but one; 0: all.
    refuses: u64,
    trace: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) collections: BTreeMap<Uuid, Stored>,
    pub(super) store: Store,
}

/// A collection as the target has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stored {
    /// Commands must say it.
    pub(super) name: String,
    pub(super) documents: BTreeMap<Key, Doc>,
    /// Has a unique, sparse index on the field `UNIQUE`.
    pub(super) unique: bool,
    /// What stands for its options.
    pub(super) option: i32,
}

#[derive(Debug, Clone)]
enum Effect {
    Document(Uuid, Key, Option<Doc>),
    /// All of it or nothing.
    Documents(Uuid, Vec<(Key, Option<Doc>)>),
    /// It has this name; it is made if it is not there.
    Name(Uuid, String),
    Drop(Uuid),
    Unique(Uuid, bool),
    Option(Uuid, i32),
    Store(StoreWrite),
}

/// Why a statement is refused.
#[derive(Debug)]
enum Refused {
    /// A document of its `_id` is there.
    OnId,
    /// A unique index, or what is in the document.
    Else,
}

impl Target {
    /// `refuses`: see there.
    pub(super) fn new(store: Store, refuses: u64, trace: bool) -> Self {
        let now = State {
            collections: BTreeMap::new(),
            store,
        };
        Target {
            term: 1,
            durable: now.clone(),
            now,
            tally: Tally::default(),
            beyond: VecDeque::new(),
            written: 0,
            refuses,
            trace,
        }
    }

    pub(super) fn name(&mut self, uuid: Uuid, name: &str) {
        self.write(Effect::Name(uuid, name.to_owned()));
        self.commit_all();
    }

    pub(super) fn drop_collection(&mut self, uuid: Uuid) {
        self.write(Effect::Drop(uuid));
        self.commit_all();
    }

    pub(super) fn holds_documents(&self, uuid: Uuid) -> bool {
        let stored = self.now.collections.get(&uuid);
        stored.is_some_and(|stored| !stored.documents.is_empty())
    }

    /// As `control::recorded::emptying`: a range, by its `_id`s, and first the unique index.
    pub(super) fn empty(&mut self, uuid: Uuid, keys: std::ops::Range<Key>) {
        self.write(Effect::Unique(uuid, false));
        let there = self
            .now
            .collections
            .get(&uuid)
            .into_iter()
            .flat_map(|stored| stored.documents.range(keys.clone()));
        let gone: Vec<Key> = there.map(|(key, _)| *key).collect();
        gone.into_iter()
            .for_each(|key| self.write(Effect::Document(uuid, key, None)));
        self.commit_all();
    }

    /// Builds the unique index; its number among the writes. None if documents are in
    /// its way.
    pub(super) fn build_unique(&mut self, uuid: Uuid) -> Option<u64> {
        let stored = self.now.collections.get(&uuid);
        let all: Vec<i32> = stored
            .into_iter()
            .flat_map(|stored| stored.documents.values())
            .map(|doc| doc.fields[UNIQUE])
            .filter(|value| *value != 0)
            .collect();
        let distinct: BTreeSet<&i32> = all.iter().collect();
        if distinct.len() < all.len() {
            return None;
        }
        self.write(Effect::Unique(uuid, true));
        Some(self.written)
    }

    /// Changes its options; the number of the write, to wait for.
    pub(super) fn modify(&mut self, uuid: Uuid, option: i32) -> u64 {
        self.tally.modified += 1;
        self.write(Effect::Option(uuid, option));
        self.written
    }

    /// Returns the number of the write, to wait for, or None if it was refused.
    pub(super) fn store(&mut self, write: StoreWrite) -> Option<u64> {
        if !self.now.store.takes(&write) {
            return None;
        }
        self.write(Effect::Store(write));
        Some(self.written)
    }

    /// Runs one statement of a command, or all of them if it is a transaction. False if
    /// its collection is gone, or has another name.
    pub(super) fn run(&mut self, command: &mut Command, dice: &mut Dice) -> bool {
        if command.at_once {
            return self.run_at_once(command);
        }
        let next = if command.ordered {
            0
        } else {
            dice.below(command.writes.len() as u64) as usize
        };
        let write = command.writes.remove(next);
        let Some(stored) = self.now.named(command) else {
            return false;
        };
        let there = stored.documents.get(&write.key).copied();
        match outcome(stored, &write, self.refuses) {
            Ok(doc) => {
                command.note(write.key, there.or(doc).is_some());
                if there != doc {
                    self.write(Effect::Document(command.collection, write.key, doc));
                }
            }
            Err(why) => {
                self.note(|| format!("refused, {why:?}: {write:?} of {}", command.collection));
                let on_id = matches!(why, Refused::OnId);
                self.tally.refused += u64::from(!on_id);
                command.refused.push(Refusal {
                    index: write.index,
                    on_id,
                });
                if command.ordered {
                    command.writes.clear();
                }
            }
        }
        true
    }

    /// All of it takes effect, or nothing: then one statement is said to be refused.
    fn run_at_once(&mut self, command: &mut Command) -> bool {
        let writes = std::mem::take(&mut command.writes);
        let Some(stored) = self.now.named(command) else {
            return false;
        };
        // What the source has is taken by any server; what replay makes of it may not be.
        let refuses = if command.is_exact { 0 } else { self.refuses };
        let (mut changed, mut documents) = (stored.clone(), Vec::new());
        for write in writes {
            let there = changed.documents.get(&write.key).copied();
            match outcome(&changed, &write, refuses) {
                Ok(doc) => {
                    command.note(write.key, there.or(doc).is_some());
                    changed.set(write.key, doc);
                    documents.push((write.key, doc));
                }
                Err(why) => {
                    self.note(|| format!("refused, {why:?}: {write:?}, and all at once"));
                    command.missed = 0;
                    command.refused.push(Refusal {
                        index: write.index,
                        on_id: false,
                    });
                    return true;
                }
            }
        }
        self.write(Effect::Documents(command.collection, documents));
        true
    }

    fn write(&mut self, effect: Effect) {
        self.note(|| format!("{effect:?}"));
        self.now.apply(&effect);
        self.beyond.push_back(effect);
        self.written += 1;
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("        target: {}", what());
        }
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn committed(&self) -> u64 {
        self.written - self.beyond.len() as u64
    }

    pub(super) fn commit_all(&mut self) {
        while self.commit_one() {}
    }

    /// One more write reaches a majority. False if all have.
    pub(super) fn commit_one(&mut self) -> bool {
        let Some(effect) = self.beyond.pop_front() else {
            return false;
        };
        self.durable.apply(&effect);
        true
    }

    /// Another primary: of what a majority did not have, a random end is lost.
    pub(super) fn elect(&mut self, dice: &mut Dice) {
        let kept = dice.below(self.beyond.len() as u64 + 1);
        let kept = if dice.below(2) == 0 { 0 } else { kept };
        self.written -= self.beyond.len() as u64 - kept;
        self.beyond.truncate(kept as usize);
        self.commit_all();
        self.now = self.durable.clone();
        self.term += 1;
    }
}

impl State {
    /// What a command is on, if it has the name that the command says.
    fn named(&self, command: &Command) -> Option<&Stored> {
        let stored = self.collections.get(&command.collection);
        stored.filter(|stored| stored.name == command.name)
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Document(uuid, key, doc) => {
                if let Some(stored) = self.collections.get_mut(uuid) {
                    stored.set(*key, *doc);
                }
            }
            Effect::Documents(uuid, documents) => {
                if let Some(stored) = self.collections.get_mut(uuid) {
                    documents
                        .iter()
                        .for_each(|(key, doc)| stored.set(*key, *doc));
                }
            }
            Effect::Name(uuid, name) => {
                self.collections
                    .entry(*uuid)
                    .or_default()
                    .name
                    .clone_from(name);
            }
            Effect::Drop(uuid) => drop(self.collections.remove(uuid)),
            Effect::Unique(uuid, unique) => {
                if let Some(stored) = self.collections.get_mut(uuid) {
                    stored.unique = *unique;
                }
            }
            Effect::Option(uuid, option) => {
                if let Some(stored) = self.collections.get_mut(uuid) {
                    stored.option = *option;
                }
            }
            Effect::Store(write) => self.store.apply(write),
        }
    }
}

impl Stored {
    fn set(&mut self, key: Key, doc: Option<Doc>) {
        match doc {
            Some(doc) => drop(self.documents.insert(key, doc)),
            None => drop(self.documents.remove(&key)),
        }
    }

    /// Another document has its value in the unique index.
    fn collides(&self, key: Key, doc: &Doc) -> bool {
        let value = doc.fields[UNIQUE];
        let is_other =
            |(other, there): (&Key, &Doc)| *other != key && there.fields[UNIQUE] == value;
        self.unique && value != 0 && self.documents.iter().any(is_other)
    }
}

/// What the document is after a statement.
fn outcome(stored: &Stored, write: &Write, refuses: u64) -> Result<Option<Doc>, Refused> {
    let there = stored.documents.get(&write.key).copied();
    let doc = match &write.change {
        Change::Insert(_) if there.is_some() => return Err(Refused::OnId),
        Change::Insert(doc) => *doc,
        Change::Delete => return Ok(None),
        Change::Update {
            upsert,
            base,
            deltas,
        } => {
            let empty = Doc {
                spelling: Spelling::Int32,
                fields: [0; FIELDS],
            };
            let start = if *upsert {
                Some(base.or(there).unwrap_or(empty))
            } else {
                there.and(base.or(there))
            };
            let Some(mut doc) = start else {
                return Ok(None);
            };
            deltas.iter().for_each(|delta| delta.apply(&mut doc));
            doc
        }
    };
    let unlike = there != Some(doc);
    if unlike && (stored.collides(write.key, &doc) || is_refused(write.key, there, &doc, refuses)) {
        return Err(Refused::Else);
    }
    Ok(Some(doc))
}

/// Whether a server would not make this of that: the same again, however often it is
/// asked.
fn is_refused(key: Key, there: Option<Doc>, doc: &Doc, refuses: u64) -> bool {
    if refuses == 0 {
        return false;
    }
    let before = there.map_or([0; FIELDS], |there| there.fields);
    let parts: Vec<u64> = before
        .iter()
        .chain(&doc.fields)
        .map(|field| *field as u64)
        .chain([key as u64])
        .collect();
    Dice::new(&parts).one_in(refuses)
}
