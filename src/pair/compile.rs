//! Ops → fewest writes. Between two flushes a lane keeps one state per
//! document: what the document will be, whatever it was before.
//!
//! Pure. Knows nothing about servers; `bulk` turns statements into commands.

use std::collections::HashMap;
use std::sync::Arc;

use bson::Uuid;
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smallvec::{SmallVec, smallvec};

use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::limits::{COMMAND_BYTES_MAX, PIPELINE_STAGES_MAX};
use crate::pair::budget::Permits;
use crate::pair::collection::Tracked;
use crate::pair::op::OpKind;
use crate::pair::overlay::{delta_of, fields_set, overlay};
use crate::pair::position::Position;
use crate::pair::queue::{Queue, Queued};

/// One write to one document.
#[derive(Debug)]
pub struct Statement {
    pub id: IdKey,
    pub base: Base,
    /// As `locate::needs_literal` says of the document in `base`.
    pub needs_literal: bool,
    /// `$v: 2` diffs to apply to the base, oldest first.
    pub deltas: Deltas,
    /// Of the oldest op it stands for; of a copied document the fence.
    pub position: Position,
    /// The oldest op made the document, or may have.
    pub made: bool,
}

/// Mostly one.
pub type Deltas = SmallVec<[Bytes; 1]>;

/// What a document is before the deltas apply.
#[derive(Debug, PartialEq, Eq)]
pub enum Base {
    /// Whatever the target has. Never upserts.
    Unknown,
    /// This document, if the target has one with its `_id`. Never upserts.
    Replaced(Bytes),
    /// This document. Upserts.
    Full(Bytes),
    /// Not there.
    Gone,
    /// What the source has: its document becomes doubtful instead of being written.
    Unclear,
}

/// The writes of one collection in one flush.
#[derive(Debug)]
pub struct CollectionWrites {
    pub collection: Arc<Tracked>,
    /// If the collection is `in_order`: in op order, one per op, and the same
    /// document may come again. Else one per document, in the order of `_id`, about: the
    /// target then meets each of its pages once.
    pub statements: Vec<Statement>,
    /// Ops these stand for, dropped ones included.
    pub ops: u64,
    /// Never read: the bytes of all those ops, given back when the writes are
    /// acknowledged and dropped.
    pub permits: Permits,
}

/// Where a chain of deltas on one document is closed, bytes: base and deltas
/// are one statement of one command.
const STATEMENT_BYTES_MAX: usize = COMMAND_BYTES_MAX / 2;

/// How much goes into one flush, or into one bulk of it.
#[derive(Debug, Clone, Copy)]
pub struct FlushLimits {
    /// Statements: any number of ops may be one.
    pub ops_max: usize,
    /// Of all statements.
    pub bytes_max: usize,
}

impl FlushLimits {
    /// Cuts `all` into what each fits, but one at least. `size`: statements and bytes.
    pub fn split<'a, T>(&self, all: &'a [T], size: impl Fn(&T) -> (usize, usize)) -> Vec<&'a [T]> {
        let (mut parts, mut rest) = (Vec::new(), all);
        while !rest.is_empty() {
            let (mut statements, mut bytes) = (0, 0);
            let fits = |item: &&T| {
                let size = size(item);
                (statements, bytes) = (statements + size.0, bytes + size.1);
                statements <= self.ops_max && bytes <= self.bytes_max
            };
            let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            parts.push(part);
            rest = after;
        }
        parts
    }
}

/// Most ops in one flush: what is read and not applied stays bounded in time too.
const OPS_MAX: u64 = 200_000;

/// Longest chain of deltas on one document in one flush: each is one pipeline
/// stage, and one more sets the base.
const DELTAS_MAX: usize = 200;
const _: () = assert!(DELTAS_MAX < PIPELINE_STAGES_MAX);

/// Takes ops off the front of `queue` until a limit is reached, and compiles
/// them. Takes at least one op.
pub fn compile(queue: &mut Queue, limits: FlushLimits) -> Vec<CollectionWrites> {
    let statements_max = queue.len().min(limits.ops_max).min(OPS_MAX as usize);
    let by_document = HashTable::with_capacity(statements_max);
    let mut flush = Flush {
        statements_max,
        by_document,
        ..Flush::default()
    };
    while flush.ops < OPS_MAX && flush.statements < limits.ops_max && flush.bytes < limits.bytes_max
    {
        let Some(next) = queue.peek() else { break };
        let known = flush.known(next);
        if flush.is_chain_full(next, known) {
            break;
        }
        queue
            .pop()
            .into_iter()
            .for_each(|next| flush.add(next, known));
    }
    for writes in flush
        .collections
        .iter_mut()
        .filter(|writes| !writes.collection.in_order())
    {
        writes
            .statements
            .sort_by_cached_key(|statement| statement.id.place());
    }
    flush.collections
}

#[derive(Default)]
struct Flush {
    collections: Vec<CollectionWrites>,
    ops: u64,
    statements: usize,
    /// As many are to be expected.
    statements_max: usize,
    bytes: usize,
    /// Of the op before: mostly the next one's too.
    last: usize,
    by_uuid: HashMap<Uuid, usize, FixedState>,
    /// (collection, statement) by the hash of the `_id`.
    by_document: HashTable<(u32, u32)>,
}

/// What a flush has of an op before it is added.
#[derive(Clone, Copy)]
struct Known {
    /// None: nothing of its collection.
    collection: Option<usize>,
    /// The statement of its document, if it may be folded.
    statement: Option<usize>,
}

impl Flush {
    fn known(&self, next: &Queued) -> Known {
        let uuid = &next.op.uuid;
        let collection = match self.collections.get(self.last) {
            Some(last) if last.collection.uuid == *uuid => Some(self.last),
            _ => self.by_uuid.get(uuid).copied(),
        };
        let foldable = collection.filter(|_| !next.collection.in_order());
        Known {
            collection,
            statement: foldable.and_then(|collection| self.statement_of(collection, &next.op.id)),
        }
    }

    fn statement_of(&self, collection: usize, id: &IdKey) -> Option<usize> {
        let is = |&(c, s): &(u32, u32)| c as usize == collection && self.statement(c, s).id == *id;
        self.by_document
            .find(id.hash(), is)
            .map(|&(_, statement)| statement as usize)
    }

    fn statement(&self, collection: u32, statement: u32) -> &Statement {
        &self.collections[collection as usize].statements[statement as usize]
    }

    fn is_chain_full(&self, next: &Queued, known: Known) -> bool {
        let Known {
            collection: Some(collection),
            statement: Some(statement),
        } = known
        else {
            return false;
        };
        if next.op.kind != OpKind::Delta {
            return false;
        }
        let statement = &self.collections[collection].statements[statement];
        let whole = matches!(statement.base, Base::Full(_) | Base::Replaced(_));
        let delicate = whole && next.collection.duplicate_names.may_be_in(&next.op.id);
        delicate
            || statement.deltas.len() >= DELTAS_MAX
            || STATEMENT_BYTES_MAX < statement.weight() + next.op.body.len()
    }

    fn add(&mut self, next: Queued, known: Known) {
        let Queued { op, collection } = next;
        self.ops += 1;
        // What a delta sets may hold a name twice, too.
        if op.look.duplicate_names {
            collection.duplicate_names.remember(op.id.clone());
        }
        let needs_literal = op.look.needs_literal;
        let is_dropped = collection.doubts.contains(&op.id);
        let is_foldable = !collection.in_order();
        self.last = known.collection.unwrap_or_else(|| self.begin(collection));
        let writes = &mut self.collections[self.last];
        writes.ops += 1;
        op.permit
            .into_iter()
            .for_each(|permit| writes.permits.add(permit));
        // It is read again from the source at a later position (R3).
        if is_dropped {
            return;
        }
        if let Some(statement) = known.statement {
            let statement = &mut writes.statements[statement];
            let before = statement.weight();
            statement.fold(op.kind, op.id, op.body, needs_literal);
            self.bytes = (self.bytes + statement.weight()).saturating_sub(before);
            return;
        }
        let (hash, index) = (op.id.hash(), writes.statements.len());
        let statement = Statement::first(op.kind, op.id, op.body, needs_literal, op.position);
        self.bytes += statement.weight();
        writes.statements.push(statement);
        self.statements += 1;
        if is_foldable {
            let collections = &self.collections;
            let rehash =
                |&(c, s): &(u32, u32)| collections[c as usize].statements[s as usize].id.hash();
            self.by_document
                .insert_unique(hash, (self.last as u32, index as u32), rehash);
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
        let (statements, permits) = (Vec::with_capacity(expected), Permits::default());
        self.collections.push(CollectionWrites {
            collection,
            statements,
            ops: 0,
            permits,
        });
        self.by_uuid.insert(uuid, index);
        index
    }
}

impl CollectionWrites {
    /// One statement by itself.
    pub fn one(collection: Arc<Tracked>, statement: Statement) -> Self {
        CollectionWrites {
            collection,
            statements: vec![statement],
            ops: 1,
            permits: Permits::default(),
        }
    }
}

impl Statement {
    /// Writes `document` over whatever is there.
    pub fn full(id: IdKey, document: Bytes, position: Position) -> Self {
        let needs_literal = locate::needs_literal(locate::raw(&document));
        Statement {
            base: Base::Full(document),
            needs_literal,
            ..Statement::unknown(id, position)
        }
    }

    /// Changes nothing yet.
    pub fn unknown(id: IdKey, position: Position) -> Self {
        Statement {
            id,
            base: Base::Unknown,
            needs_literal: false,
            deltas: SmallVec::new(),
            position,
            made: false,
        }
    }

    /// Whether it finds a document, or makes one, if all before it is applied.
    /// `horizon`: the collection's.
    pub fn must_find(&self, horizon: Position) -> bool {
        // Made and removed in one flush, it never was on the target.
        horizon < self.position && !(self.made && self.base == Base::Gone)
    }

    /// The state after one op.
    fn first(
        kind: OpKind,
        id: IdKey,
        body: Bytes,
        needs_literal: bool,
        position: Position,
    ) -> Self {
        let (base, deltas) = match kind {
            OpKind::Insert => (Base::Full(body), SmallVec::new()),
            OpKind::Replace => (Base::Replaced(body), SmallVec::new()),
            OpKind::Delta => (Base::Unknown, smallvec![body]),
            OpKind::Delete => (Base::Gone, SmallVec::new()),
            OpKind::Unclear => (Base::Unclear, SmallVec::new()),
        };
        let made = matches!(kind, OpKind::Insert | OpKind::Unclear);
        let needs_literal = needs_literal && kind != OpKind::Delta;
        Statement {
            id,
            base,
            needs_literal,
            deltas,
            position,
            made,
        }
    }

    /// The state after one more op. `needs_literal`: its document does.
    fn fold(&mut self, kind: OpKind, id: IdKey, body: Bytes, needs_literal: bool) {
        let base = match (kind, &self.base) {
            (OpKind::Insert, _) | (OpKind::Replace, Base::Full(_)) => Base::Full(body),
            (OpKind::Delete, _) => Base::Gone,
            (OpKind::Unclear, _) => Base::Unclear,
            (_, Base::Gone | Base::Unclear) => return,
            (OpKind::Replace, _) => Base::Replaced(body),
            (OpKind::Delta, _) => return self.change(body),
        };
        // The newest spelling of an equal `_id` (1 or 1.0) is the stored one.
        *self = Statement {
            base,
            needs_literal,
            made: self.made,
            ..Statement::unknown(id, self.position)
        };
    }

    /// One more delta: merged where that is exact, else one more in the chain.
    fn change(&mut self, delta: Bytes) {
        if let (None, Base::Unknown | Base::Gone) = (self.deltas.last(), &self.base) {
            return self.deltas.push(delta);
        }
        let merged = || {
            let fields = fields_set(&delta)?;
            match (self.deltas.last(), &self.base) {
                (Some(last), _) => {
                    overlay(fields_set(last)?, fields).map(|fields| delta_of(&fields))
                }
                (None, Base::Full(document) | Base::Replaced(document)) => {
                    overlay(document, fields)
                }
                (None, _) => None,
            }
        };
        match (merged(), self.deltas.last_mut(), &mut self.base) {
            (Some(merged), Some(last), _) => *last = merged,
            (Some(merged), None, Base::Full(document) | Base::Replaced(document)) => {
                self.needs_literal = locate::needs_literal(locate::raw(&merged));
                *document = merged;
            }
            _ => self.deltas.push(delta),
        }
    }
}

#[cfg(test)]
mod tests;
