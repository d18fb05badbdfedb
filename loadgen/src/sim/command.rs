//! Write commands as a target of the simulation takes them, read from the bytes that
//! the engine rendered.

use std::collections::BTreeSet;

use bson::{RawBsonRef, RawDocument, Uuid};

use shardlift::pair::collection::Tracked;
use shardlift::wire::message::Request;

use crate::sim::body::{self, Delta, Doc, Key};

/// A write command the engine has sent.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) collection: Uuid,
    pub(super) name: String,
    pub(super) ordered: bool,
    /// A transaction: all of it or nothing.
    pub(super) at_once: bool,
    /// Documents as the source had them at one position.
    pub(super) is_exact: bool,
    /// What is left to do of it.
    pub(super) writes: Vec<Write>,
    /// Documents that its updates and deletes must find, and how many they did not.
    pub(super) must_find: BTreeSet<Key>,
    pub(super) missed: u64,
    /// What the target did not take.
    pub(super) refused: Vec<Refusal>,
}

/// One statement.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// Its place in the command.
    pub(super) index: usize,
    pub(super) key: Key,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Insert(Doc),
    Delete,
    Update {
        upsert: bool,
        base: Option<Doc>,
        deltas: Vec<Delta>,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) index: usize,
    /// A document with the `_id` of its insert is there.
    pub(super) on_id: bool,
}

impl Command {
    /// Reads a command as the engine rendered it.
    pub(super) fn read(request: &Request) -> Self {
        let head = request.head();
        let uuid = head
            .get_binary("collectionUUID")
            .expect("every command is bound to a UUID");
        let uuid = Uuid::from_bytes(uuid.bytes.try_into().expect("a UUID"));
        let (_, name) = head
            .iter()
            .next()
            .expect("a command is not empty")
            .expect("valid");
        // Those of a transaction need not say it.
        let ordered = head.get_bool("ordered").unwrap_or(true);
        let (field, statements) = request
            .sequence()
            .read()
            .expect("every command has statements");
        let read = |(index, statement): (usize, &RawDocument)| {
            let (key, change) = match field {
                "documents" => insert(statement),
                "updates" => (queried(statement), update(statement)),
                _ => (queried(statement), Change::Delete),
            };
            Write { index, key, change }
        };
        Command {
            collection: uuid,
            name: name.as_str().expect("it names its collection").to_owned(),
            ordered,
            at_once: false,
            is_exact: false,
            writes: statements.enumerate().map(read).collect(),
            must_find: BTreeSet::new(),
            missed: 0,
            refused: Vec::new(),
        }
    }

    /// Commands of one collection in one transaction.
    pub(super) fn transaction(requests: &[Request]) -> Self {
        let mut parts = requests.iter().map(Command::read);
        let mut all = parts.next().expect("a transaction has a command");
        all.writes.extend(parts.flat_map(|part| part.writes));
        all.ordered = true;
        all.at_once = true;
        all
    }

    /// As `pair::mend::reread`: all are deleted, then those that are there are written.
    pub(super) fn exact(tracked: &Tracked, documents: &[(Key, Option<Doc>)]) -> Self {
        let deletes = documents.iter().map(|(key, _)| (*key, Change::Delete));
        let inserts = documents
            .iter()
            .filter_map(|(key, doc)| Some((*key, Change::Insert((*doc)?))));
        let writes = deletes.chain(inserts).enumerate();
        let writes = writes.map(|(index, (key, change))| Write { index, key, change });
        Command {
            collection: tracked.target_uuid(),
            name: tracked.ns().coll,
            ordered: true,
            at_once: true,
            is_exact: true,
            writes: writes.collect(),
            must_find: BTreeSet::new(),
            missed: 0,
            refused: Vec::new(),
        }
    }

    /// A statement ran. An upsert finds what it makes.
    pub(super) fn note(&mut self, key: Key, found: bool) {
        self.missed += u64::from(!found && self.must_find.contains(&key));
    }
}

fn insert(document: &RawDocument) -> (Key, Change) {
    let (key, doc) = body::read(document);
    (key, Change::Insert(doc))
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

fn update(statement: &RawDocument) -> Change {
    let upsert = statement.get_bool("upsert").expect("said");
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
    Change::Update {
        upsert,
        base,
        deltas,
    }
}
