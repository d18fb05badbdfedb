//! Ops → fewest writes. Between two flushes a lane keeps one statement per document.
//!
//! Pure. Knows nothing about servers, or what an op does to a document; `statement` does.

use std::collections::HashMap;
use std::sync::Arc;

use bson::Uuid;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::bson::identity::IdKey;
use crate::pair::budget::Permits;
use crate::pair::collection::Tracked;
use crate::pair::lanes::queue::{Queue, Queued};
use crate::pair::op::{Op, OpKind};
use crate::pair::write::statement::{CollectionWrites, FlushLimits, Statement};

/// Most ops in one flush: what is read and not applied stays bounded in time too.
const OPS_MAX: u64 = 200_000;

/// Takes ops off the front of `queue` until a limit is reached, and compiles
/// them. Takes at least one op.
pub fn compile(queue: &mut Queue, limits: FlushLimits) -> Vec<CollectionWrites> {
    let statements_max = queue.len().min(limits.statements_max).min(OPS_MAX as usize);
    let mut flush = Flush::of(statements_max);
    while flush.has_room(limits) {
        let Some(next) = queue.peek() else { break };
        let slot = flush.slot_of(next);
        if flush.ends_before(next, slot) {
            break;
        }
        if let Some(next) = queue.pop() {
            flush.add(next, slot);
        }
    }
    flush.sorted()
}

struct Flush {
    collections: Vec<CollectionWrites>,
    ops: u64,
    statements: usize,
    /// Expected number of statements.
    statements_max: usize,
    bytes: usize,
    /// Index of the previous op's collection, which is mostly that of the next op too.
    last: usize,
    by_uuid: HashMap<Uuid, usize, FixedState>,
    documents: DocumentIndex,
}

/// Where an op goes.
#[derive(Clone, Copy)]
enum Slot {
    /// It is the first of its collection.
    NewCollection,
    /// It is the first on its document, or its collection is in order.
    NewStatement { collection: usize },
    /// It is folded into the statement of its document.
    Statement { collection: usize, statement: usize },
}

impl Flush {
    fn of(statements_max: usize) -> Self {
        Flush {
            collections: Vec::new(),
            ops: 0,
            statements: 0,
            statements_max,
            bytes: 0,
            last: 0,
            by_uuid: HashMap::default(),
            documents: DocumentIndex::with_capacity(statements_max),
        }
    }

    fn has_room(&self, limits: FlushLimits) -> bool {
        self.ops < OPS_MAX
            && self.statements < limits.statements_max
            && self.bytes < limits.bytes_max
    }

    fn slot_of(&self, next: &Queued) -> Slot {
        let Some(collection) = self.collection_of(next.op.uuid) else {
            return Slot::NewCollection;
        };
        if next.collection.in_order() {
            return Slot::NewStatement { collection };
        }
        match self
            .documents
            .find(collection, &next.op.id, &self.collections)
        {
            Some(statement) => Slot::Statement {
                collection,
                statement,
            },
            None => Slot::NewStatement { collection },
        }
    }

    fn collection_of(&self, uuid: Uuid) -> Option<usize> {
        match self.collections.get(self.last) {
            Some(last) if last.collection.uuid == uuid => Some(self.last),
            _ => self.by_uuid.get(&uuid).copied(),
        }
    }

    /// True if the op cannot be folded into what its document has, and must not stand
    /// beside it.
    fn ends_before(&self, next: &Queued, slot: Slot) -> bool {
        let Slot::Statement {
            collection,
            statement,
        } = slot
        else {
            return false;
        };
        if next.op.kind != OpKind::Delta {
            return false;
        }
        let statement = &self.collections[collection].statements[statement];
        let is_delicate =
            statement.is_whole() && next.collection.duplicate_names.may_be_in(&next.op.id);
        is_delicate || !statement.has_room_for(next.op.body.len())
    }

    fn add(&mut self, next: Queued, slot: Slot) {
        let Queued { mut op, collection } = next;
        self.ops += 1;
        let is_dropped = collection.doubts.contains(&op.id);
        self.last = match slot {
            Slot::NewCollection => self.begin(collection),
            Slot::NewStatement { collection } | Slot::Statement { collection, .. } => collection,
        };
        let writes = &mut self.collections[self.last];
        writes.ops += 1;
        if let Some(permit) = op.permit.take() {
            writes.permits.add(permit);
        }
        // It is read again from the source at a later position (R3).
        if is_dropped {
            return;
        }
        match slot {
            Slot::Statement { statement, .. } => {
                let statement = &mut writes.statements[statement];
                let before = statement.weight();
                statement.fold(op);
                self.bytes = (self.bytes + statement.weight()).saturating_sub(before);
            }
            Slot::NewCollection | Slot::NewStatement { .. } => self.push(op),
        }
    }

    /// A statement of its own, in the collection of the op.
    fn push(&mut self, op: Op) {
        let writes = &mut self.collections[self.last];
        let statement = Statement::first(op);
        self.bytes += statement.weight();
        self.statements += 1;
        writes.statements.push(statement);
        if !writes.collection.in_order() {
            let newest = writes.statements.len() - 1;
            self.documents.add(self.last, newest, &self.collections);
        }
    }

    fn begin(&mut self, collection: Arc<Tracked>) -> usize {
        let (index, uuid) = (self.collections.len(), collection.uuid);
        // The first is mostly the only one.
        let expected = if self.collections.is_empty() {
            self.statements_max
        } else {
            0
        };
        self.collections.push(CollectionWrites {
            collection,
            statements: Vec::with_capacity(expected),
            ops: 0,
            permits: Permits::default(),
        });
        self.by_uuid.insert(uuid, index);
        index
    }

    /// The statements of each collection in the order they are sent in.
    fn sorted(mut self) -> Vec<CollectionWrites> {
        for writes in &mut self.collections {
            if !writes.collection.in_order() {
                writes
                    .statements
                    .sort_by_cached_key(|statement| statement.id.place());
            }
        }
        self.collections
    }
}

/// Which statement is on which document. Knows numbers only, so each call is given the
/// flush's collections, which have the `_id`s.
struct DocumentIndex {
    /// By the hash of the `_id`.
    table: HashTable<Numbers>,
}

/// Of a statement: its collection's in the flush, and its own in the collection. Small,
/// for there is one for each document.
struct Numbers {
    collection: u32,
    statement: u32,
}

impl Numbers {
    fn id<'a>(&self, collections: &'a [CollectionWrites]) -> &'a IdKey {
        let statements = &collections[self.collection as usize].statements;
        &statements[self.statement as usize].id
    }
}

impl DocumentIndex {
    fn with_capacity(documents: usize) -> Self {
        DocumentIndex {
            table: HashTable::with_capacity(documents),
        }
    }

    fn find(&self, collection: usize, id: &IdKey, all: &[CollectionWrites]) -> Option<usize> {
        let is_it =
            |known: &Numbers| known.collection as usize == collection && known.id(all) == id;
        let known = self.table.find(id.hash(), is_it)?;
        Some(known.statement as usize)
    }

    /// The statement is there, and no other is on its document.
    fn add(&mut self, collection: usize, statement: usize, all: &[CollectionWrites]) {
        let new = Numbers {
            collection: collection as u32,
            statement: statement as u32,
        };
        let hash = new.id(all).hash();
        self.table
            .insert_unique(hash, new, |known| known.id(all).hash());
    }
}

#[cfg(test)]
mod tests;
