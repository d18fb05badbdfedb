//! One target shard of the simulation: what it holds, what of that is
//! majority-committed, elections that take the rest back, and writes whose
//! sender is gone.
//!
//! Takes the engine's own write commands. Knows nothing of its gates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bson::{RawBsonRef, RawDocument, Uuid};

use shardlift::wire::message::Request;

use crate::layout::dice::Dice;
use crate::sim::body::{self, Delta, Doc, FIELDS, Key, Spelling};
use crate::sim::store::{Store, StoreWrite};

#[derive(Debug)]
pub(super) struct Target {
    pub(super) term: i64,
    pub(super) now: State,
    /// As of the majority commit point.
    pub(super) durable: State,
    /// Writes beyond that point.
    beyond: VecDeque<Effect>,
    /// Writes ever made that were not taken back.
    written: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) collections: BTreeMap<Uuid, BTreeMap<Key, Doc>>,
    pub(super) store: Store,
}

#[derive(Debug, Clone)]
enum Effect {
    Document(Uuid, Key, Option<Doc>),
    /// All of it or nothing.
    Documents(Uuid, Vec<(Key, Option<Doc>)>),
    Create(Uuid),
    Drop(Uuid),
    Store(StoreWrite),
}

/// A write command the engine has sent.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) collection: Uuid,
    ordered: bool,
    /// What is left to do of it.
    pub(super) writes: Vec<Write>,
    /// Documents that its updates and deletes must find, and how many they did not.
    pub(super) must_find: BTreeSet<Key>,
    pub(super) missed: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Write {
    Insert(Key, Doc),
    Delete(Key),
    Update {
        key: Key,
        upsert: bool,
        base: Option<Doc>,
        deltas: Vec<Delta>,
    },
}

impl Target {
    pub(super) fn new(store: Store) -> Self {
        let now = State {
            collections: BTreeMap::new(),
            store,
        };
        Target {
            term: 1,
            durable: now.clone(),
            now,
            beyond: VecDeque::new(),
            written: 0,
        }
    }

    pub(super) fn create(&mut self, uuid: Uuid) {
        self.write(Effect::Create(uuid));
        self.commit_all();
    }

    pub(super) fn drop_collection(&mut self, uuid: Uuid) {
        self.write(Effect::Drop(uuid));
        self.commit_all();
    }

    /// As `control::emptying`: a range, by its `_id`s.
    pub(super) fn empty(&mut self, uuid: Uuid, keys: std::ops::Range<Key>) {
        let there = self
            .now
            .collections
            .get(&uuid)
            .into_iter()
            .flat_map(|documents| documents.range(keys.clone()));
        let gone: Vec<Key> = there.map(|(key, _)| *key).collect();
        gone.into_iter()
            .for_each(|key| self.write(Effect::Document(uuid, key, None)));
        self.commit_all();
    }

    /// As `pair::reread`: one transaction.
    pub(super) fn settle(&mut self, uuid: Uuid, documents: Vec<(Key, Option<Doc>)>) {
        self.write(Effect::Documents(uuid, documents));
    }

    /// Returns the number of the write, to wait for, or None if it was refused.
    pub(super) fn store(&mut self, write: StoreWrite) -> Option<u64> {
        if !self.now.store.takes(&write) {
            return None;
        }
        self.write(Effect::Store(write));
        Some(self.written)
    }

    /// Runs one statement of a command. False if its collection is gone.
    pub(super) fn run(&mut self, command: &mut Command, dice: &mut Dice) -> bool {
        let next = if command.ordered {
            0
        } else {
            dice.below(command.writes.len() as u64) as usize
        };
        let write = command.writes.remove(next);
        let Some(documents) = self.now.collections.get(&command.collection) else {
            return false;
        };
        let (key, doc) = match write {
            Write::Insert(key, doc) => (key, Some(documents.get(&key).copied().unwrap_or(doc))),
            Write::Delete(key) => (key, None),
            Write::Update {
                key,
                upsert,
                base,
                deltas,
            } => {
                let there = documents.get(&key).copied();
                let empty = || Doc {
                    spelling: Spelling::Int32,
                    fields: [0; FIELDS],
                };
                let start = match upsert {
                    true => Some(base.or(there).unwrap_or_else(empty)),
                    false => there.and(base.or(there)),
                };
                let changed = start.map(|mut doc| {
                    deltas.iter().for_each(|delta| delta.apply(&mut doc));
                    doc
                });
                (key, changed)
            }
        };
        let there = documents.get(&key).copied();
        // An upsert makes what it does not find.
        let found = there.or(doc).is_some();
        command.missed += u64::from(!found && command.must_find.contains(&key));
        if there != doc {
            self.write(Effect::Document(command.collection, key, doc));
        }
        true
    }

    fn write(&mut self, effect: Effect) {
        self.now.apply(&effect);
        self.beyond.push_back(effect);
        self.written += 1;
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
    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Document(uuid, key, Some(doc)) => {
                self.collections
                    .get_mut(uuid)
                    .map(|documents| documents.insert(*key, *doc));
            }
            Effect::Document(uuid, key, None) => {
                self.collections
                    .get_mut(uuid)
                    .map(|documents| documents.remove(key));
            }
            Effect::Documents(uuid, documents) => {
                documents
                    .iter()
                    .for_each(|(key, doc)| self.apply(&Effect::Document(*uuid, *key, *doc)));
            }
            Effect::Create(uuid) => drop(self.collections.entry(*uuid).or_default()),
            Effect::Drop(uuid) => drop(self.collections.remove(uuid)),
            Effect::Store(write) => self.store.apply(write),
        }
    }
}

impl Command {
    /// Reads a command as the engine rendered it.
    pub(super) fn read(request: &Request) -> Self {
        let head = request.head();
        let uuid = head
            .get_binary("collectionUUID")
            .expect("every command is bound to a UUID");
        let uuid = Uuid::from_bytes(uuid.bytes.try_into().expect("a UUID"));
        let ordered = head.get_bool("ordered").expect("every command says so");
        let (field, statements) = request
            .sequence()
            .read()
            .expect("every command has statements");
        let read = |statement: &RawDocument| match field {
            "documents" => insert(statement),
            "updates" => update(statement),
            _ => Write::Delete(queried(statement)),
        };
        let (writes, must_find) = (statements.map(read).collect(), BTreeSet::new());
        Command {
            collection: uuid,
            ordered,
            writes,
            must_find,
            missed: 0,
        }
    }
}

fn insert(document: &RawDocument) -> Write {
    let (key, doc) = body::read(document);
    Write::Insert(key, doc)
}

fn queried(statement: &RawDocument) -> Key {
    let query = statement
        .get_document("q")
        .expect("a statement has a query");
    body::key(
        query
            .get("_id")
            .expect("valid")
            .expect("a query names an `_id`"),
    )
    .0
}

fn update(statement: &RawDocument) -> Write {
    let (key, upsert) = (
        queried(statement),
        statement.get_bool("upsert").expect("said"),
    );
    let (mut base, mut deltas) = (None, Vec::new());
    match statement.get("u").expect("valid") {
        Some(RawBsonRef::Document(document)) => base = Some(body::read(document).1),
        Some(RawBsonRef::Array(stages)) => {
            for stage in stages {
                let stage = stage.expect("valid").as_document().expect("a stage");
                if let Ok(literal) = stage.get_document("$replaceWith") {
                    base = Some(body::read(literal.get_document("$literal").expect("a literal")).1);
                } else {
                    let delta = stage
                        .get_document("$_internalApplyOplogUpdate")
                        .expect("no other stage is sent");
                    deltas.push(body::read_diff(
                        delta.get_document("oplogUpdate").expect("a diff"),
                    ));
                }
            }
        }
        other => panic!("an update of unknown form: {other:?}"),
    }
    Write::Update {
        key,
        upsert,
        base,
        deltas,
    }
}
