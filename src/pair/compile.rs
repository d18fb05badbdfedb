//! Ops → fewest writes. Between two flushes a lane keeps one state per
//! document (DESIGN §5): what the document will be, whatever it was before.
//!
//! Pure. Knows nothing about servers; `bulk` turns statements into commands.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bson::Uuid;

use crate::bson::identity::IdKey;
use crate::limits::{COMMAND_BYTES_MAX, PIPELINE_STAGES_MAX};
use crate::pair::budget::Permit;
use crate::pair::collection::Tracked;
use crate::pair::inbox::Queued;
use crate::pair::op::OpKind;
use crate::pair::position::Position;

/// One write to one document.
#[derive(Debug)]
pub struct Statement {
    pub id: IdKey,
    pub base: Base,
    /// `$v: 2` diffs to apply to the base, oldest first.
    pub deltas: Vec<Box<[u8]>>,
    /// Of the oldest op it stands for; of a copied document the fence.
    pub position: Position,
}

/// What a document is before the deltas apply.
#[derive(Debug, PartialEq, Eq)]
pub enum Base {
    /// Whatever the target has. Never upserts.
    Unknown,
    /// This document, if the target has one with its `_id`. Never upserts.
    Replaced(Box<[u8]>),
    /// This document. Upserts.
    Full(Box<[u8]>),
    /// Not there.
    Gone,
}

/// The writes of one collection in one flush.
#[derive(Debug)]
pub struct CollectionWrites {
    pub collection: Arc<Tracked>,
    /// If the collection is `in_order`: in op order, one per op, and the same
    /// document may come again. Else one per document, in any order.
    pub statements: Vec<Statement>,
    /// Ops these stand for, dropped ones included.
    pub ops: u64,
    /// Never read: the bytes of all those ops, given back when the writes are
    /// acknowledged and dropped.
    pub permit: Option<Permit>,
}

/// Where a chain of deltas on one document is closed, bytes: base and deltas
/// are one statement of one command.
const STATEMENT_BYTES_MAX: usize = COMMAND_BYTES_MAX / 2;

/// How much goes into one flush.
#[derive(Debug, Clone, Copy)]
pub struct FlushLimits {
    pub ops_max: usize,
    pub bytes_max: usize,
}

/// Longest chain of deltas on one document in one flush: each is one pipeline
/// stage, and one more sets the base.
const DELTAS_MAX: usize = 200;
const _: () = assert!(DELTAS_MAX < PIPELINE_STAGES_MAX);

/// Takes ops off the front of `queue` until a limit is reached, and compiles
/// them. Takes at least one op.
pub fn compile(
    queue: &mut std::iter::Peekable<std::vec::IntoIter<Queued>>,
    limits: FlushLimits,
) -> Vec<CollectionWrites> {
    let mut flush = Flush::default();
    let (mut ops, mut bytes) = (0, 0);
    while ops < limits.ops_max && bytes < limits.bytes_max {
        let Some(next) = queue.next_if(|next| !flush.is_chain_full(next)) else { break };
        ops += 1;
        bytes += next.op.body.len();
        flush.add(next);
    }
    flush.collections
}

#[derive(Default)]
struct Flush {
    collections: Vec<CollectionWrites>,
    by_uuid: HashMap<Uuid, usize>,
    by_document: HashMap<(Uuid, IdKey), usize>,
}

impl Flush {
    fn is_chain_full(&self, next: &Queued) -> bool {
        if next.op.kind != OpKind::Delta || next.collection.in_order() {
            return false;
        }
        // The clone of a key is cheap next to a full chain; look only if one may be full.
        let Some(&collection) = self.by_uuid.get(&next.op.uuid) else { return false };
        let Some(&statement) = self.by_document.get(&(next.op.uuid, next.op.id.clone())) else { return false };
        let statement = &self.collections[collection].statements[statement];
        let whole = matches!(statement.base, Base::Full(_) | Base::Replaced(_));
        let delicate = whole && next.collection.has_duplicate_names(&next.op.id);
        delicate
            || statement.deltas.len() >= DELTAS_MAX
            || STATEMENT_BYTES_MAX < statement.weight() + next.op.body.len()
    }

    fn add(&mut self, next: Queued) {
        let Queued { op, collection } = next;
        if matches!(op.kind, OpKind::Insert | OpKind::Replace) {
            collection.note_duplicate_names_of(&op.id, op.document());
        }
        let in_order = collection.in_order();
        let index = *self.by_uuid.entry(op.uuid).or_insert_with(|| {
            self.collections.push(CollectionWrites { collection, statements: Vec::new(), ops: 0, permit: None });
            self.collections.len() - 1
        });
        let writes = &mut self.collections[index];
        writes.ops += 1;
        match (&mut writes.permit, op.permit) {
            (Some(permit), Some(more)) => permit.merge(more),
            (none, Some(permit)) => *none = Some(permit),
            (_, None) => {}
        }
        // It is read again from the source at a later position (R3).
        if writes.collection.doubts.contains(&op.id) {
            return;
        }
        let statement = if in_order {
            writes.statements.len()
        } else {
            match self.by_document.entry((op.uuid, op.id.clone())) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(writes.statements.len()),
            }
        };
        if statement == writes.statements.len() {
            writes.statements.push(Statement::unknown(op.id.clone(), op.position));
        }
        writes.statements[statement].fold(op.kind, op.id, op.body);
    }
}

impl CollectionWrites {
    /// One statement by itself.
    pub fn one(collection: Arc<Tracked>, statement: Statement) -> Self {
        CollectionWrites { collection, statements: vec![statement], ops: 1, permit: None }
    }
}

impl Statement {
    /// Writes `document` over whatever is there.
    pub fn full(id: IdKey, document: Box<[u8]>, position: Position) -> Self {
        Statement { base: Base::Full(document), ..Statement::unknown(id, position) }
    }

    /// Changes nothing yet.
    pub fn unknown(id: IdKey, position: Position) -> Self {
        Statement { id, base: Base::Unknown, deltas: Vec::new(), position }
    }

    /// The state after one more op.
    fn fold(&mut self, kind: OpKind, id: IdKey, body: Box<[u8]>) {
        match (kind, &self.base) {
            (OpKind::Insert, _) => self.reset(id, Base::Full(body)),
            (OpKind::Delete, _) => self.reset(id, Base::Gone),
            (_, Base::Gone) => {}
            (OpKind::Replace, Base::Full(_)) => self.reset(id, Base::Full(body)),
            (OpKind::Replace, _) => self.reset(id, Base::Replaced(body)),
            (OpKind::Delta, _) => self.deltas.push(body),
        }
    }

    fn reset(&mut self, id: IdKey, base: Base) {
        // The newest spelling of an equal `_id` (1 or 1.0) is the stored one.
        self.id = id;
        self.base = base;
        self.deltas.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::catalog::Namespace;
    use crate::pair::budget::Share;
    use crate::pair::collection::Traits;
    use crate::pair::op::Op;
    use OpKind::*;

    /// Folds ops given as (kind, body) on one document; shows base and deltas.
    fn folded(ops: &[(OpKind, &str)]) -> String {
        let id = || IdKey::new(bson::RawBsonRef::Int32(1));
        let mut s = Statement::unknown(id(), Position::default());
        ops.iter().for_each(|(kind, body)| s.fold(*kind, id(), body.as_bytes().into()));
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let base = match &s.base {
            Base::Unknown => "?".to_owned(),
            Base::Replaced(doc) => format!("replaced {}", text(doc)),
            Base::Full(doc) => format!("full {}", text(doc)),
            Base::Gone => "gone".to_owned(),
        };
        s.deltas.iter().fold(base, |shown, delta| format!("{shown} +{}", text(delta)))
    }

    #[test]
    fn one_state_stands_for_any_sequence_of_ops() {
        for (ops, expect) in [
            (&[(Delta, "a"), (Delta, "b")][..], "? +a +b"),
            (&[(Delta, "a"), (Insert, "D"), (Delta, "b")], "full D +b"),
            (&[(Insert, "D"), (Replace, "E")], "full E"),
            (&[(Delta, "a"), (Replace, "E"), (Delta, "b")], "replaced E +b"),
            (&[(Insert, "D"), (Delete, "")], "gone"),
            // An update never brings a document back (R3).
            (&[(Delete, ""), (Replace, "E"), (Delta, "a")], "gone"),
            (&[(Delete, ""), (Insert, "D")], "full D"),
        ] {
            assert_eq!(folded(ops), expect, "{ops:?}");
        }
    }

    const LIMITS: FlushLimits = FlushLimits { ops_max: 100, bytes_max: 1 << 20 };

    fn queued(collection: &Arc<Tracked>, id: bson::RawBsonRef<'_>, position: u64) -> Queued {
        let (uuid, position) = (collection.uuid, Position::from_raw(position));
        let op = Op { position, uuid, kind: Delete, id: IdKey::new(id), body: Box::default(), permit: None };
        Queued { op, collection: collection.clone() }
    }

    #[tokio::test]
    async fn ops_of_doubtful_documents_are_dropped_and_count_as_applied() {
        let ns = Namespace { db: "d".to_owned(), coll: "c".to_owned() };
        let collection = Arc::new(Tracked::new(Uuid::from_bytes([1; 16]), ns, Traits::default()));
        collection.doubts.add(&IdKey::new(bson::RawBsonRef::Int32(2)), Position::from_raw(3));
        let share = Share::new(0);
        let mut dropped = queued(&collection, bson::RawBsonRef::Double(2.0), 5);
        dropped.op.permit = Some(share.reserve(100).await);
        let kept = [7, 8].map(|position| queued(&collection, bson::RawBsonRef::Int32(1), position));
        let queue: Vec<Queued> = std::iter::once(dropped).chain(kept).collect();
        let writes = compile(&mut queue.into_iter().peekable(), LIMITS);
        let statements: Vec<_> = writes[0].statements.iter().map(|s| (s.id.value.clone(), s.position.raw())).collect();
        assert_eq!((writes[0].ops, statements), (3, vec![(bson::RawBson::Int32(1), 7)]));
        assert_eq!(share.used(), 100);
        drop(writes);
        assert_eq!(share.used(), 0);
    }
}
