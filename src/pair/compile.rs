//! Ops → fewest writes. Between two flushes a lane keeps one state per
//! document (DESIGN §5): what the document will be, whatever it was before.
//!
//! Pure. Knows nothing about servers; `bulk` turns statements into commands.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bson::Uuid;

use crate::bson::identity::IdKey;
use crate::limits::PIPELINE_STAGES_MAX;
use crate::pair::budget::Permit;
use crate::pair::collection::Tracked;
use crate::pair::inbox::Queued;
use crate::pair::op::OpKind;

/// One write to one document.
#[derive(Debug)]
pub struct Statement {
    pub id: IdKey,
    pub base: Base,
    /// `$v: 2` diffs to apply to the base, oldest first.
    pub deltas: Vec<Box<[u8]>>,
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
    /// Ops these stand for.
    pub ops: u64,
    /// Never read: the bytes of all those ops, given back when the writes are
    /// acknowledged and dropped.
    pub permit: Option<Permit>,
}

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
        self.collections[collection].statements[statement].deltas.len() >= DELTAS_MAX
    }

    fn add(&mut self, next: Queued) {
        let Queued { op, collection } = next;
        let in_order = collection.in_order();
        let index = *self.by_uuid.entry(op.uuid).or_insert_with(|| {
            self.collections.push(CollectionWrites { collection, statements: Vec::new(), ops: 0, permit: None });
            self.collections.len() - 1
        });
        let writes = &mut self.collections[index];
        writes.ops += 1;
        match (&mut writes.permit, op.permit) {
            (Some(permit), Some(more)) => permit.merge(more),
            (none, permit) => *none = permit,
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
            writes.statements.push(Statement { id: op.id.clone(), base: Base::Unknown, deltas: Vec::new() });
        }
        writes.statements[statement].fold(op.kind, op.id, op.body);
    }
}

impl Statement {
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
    use OpKind::*;

    /// Folds ops given as (kind, body) on one document; shows base and deltas.
    fn folded(ops: &[(OpKind, &str)]) -> String {
        let id = || IdKey::new(bson::RawBsonRef::Int32(1));
        let mut s = Statement { id: id(), base: Base::Unknown, deltas: Vec::new() };
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
}
