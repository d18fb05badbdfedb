//! What a document will be after the ops of a flush, whatever it was before: one
//! statement stands for any number of ops on it.
//!
//! # One more op
//!
//! What the base becomes, by the op (rows) and by what the base is (columns):
//!
//! | op \ base | Unknown    | Replaced   | Full    | Gone  | Unclear   |
//! |-----------|------------|------------|---------|-------|-----------|
//! | Insert    | Full       | Full       | Full    | Full  | Full      |
//! | Replace   | Replaced   | Replaced   | Full    | stays | stays     |
//! | Delta     | one more delta | one more delta | one more delta | stays | stays |
//! | Delete    | Gone       | Gone       | Gone    | Gone  | Gone      |
//! | Unclear   | Unclear    | Unclear    | Unclear | Unclear | Unclear |
//!
//! Where the base becomes another one, the deltas on it are gone. An update never brings a
//! document back (R3). Of an unclear document only what says all of it is clear again.
//!
//! Pure. Knows nothing about lanes or servers; `render` makes commands of it.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::limits::{COMMAND_BYTES_MAX, PIPELINE_STAGES_MAX};
use crate::pair::budget::Permits;
use crate::pair::collection::Tracked;
use crate::pair::op::{Op, OpKind};
use crate::pair::oplog::delta;
use crate::pair::write::command::STATEMENT_OVERHEAD_BYTES;
use crate::pair::write::overlay::{delta_of, delta_of_old, fields_set, fields_set_old, overlay};
use crate::position::Position;

/// One write to one document.
#[derive(Debug)]
pub struct Statement {
    pub id: IdKey,
    pub base: Base,
    /// The result of `locate::needs_literal` for the document in `base`.
    pub needs_literal: bool,
    /// Changes to the base in the oplog's own forms, oldest first.
    pub deltas: Deltas,
    /// Position of the oldest op that it stands for; for a copied document, the fence.
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
    /// Only the source knows: the document becomes doubtful instead of being written.
    Unclear,
}

/// Longest chain of deltas on one document in one flush: each is one pipeline
/// stage, and one more sets the base.
const DELTAS_MAX: usize = 200;
const _: () = assert!(DELTAS_MAX < PIPELINE_STAGES_MAX);

/// Where a chain of deltas on one document is closed, bytes: base and deltas
/// are one statement of one command.
const STATEMENT_BYTES_MAX: usize = COMMAND_BYTES_MAX / 2;

impl Statement {
    /// The state after one op.
    pub fn first(op: Op) -> Self {
        let mut statement = Statement::unknown(op.id, op.position);
        statement.made = matches!(op.kind, OpKind::Insert | OpKind::Unclear);
        statement.become_after(op.kind, op.body, op.look.needs_literal);
        statement
    }

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
            deltas: Deltas::new(),
            position,
            made: false,
        }
    }

    /// Whether it is a whole document that a plain insert stores unchanged.
    pub fn is_insert(&self) -> bool {
        matches!(self.base, Base::Full(_)) && self.deltas.is_empty() && !self.needs_literal
    }

    /// Whether it finds a document, or makes one, if all before it is applied.
    /// `horizon`: the collection's.
    pub fn must_find(&self, horizon: Position) -> bool {
        // Made and removed in one flush, it never was on the target.
        horizon < self.position && !(self.made && self.base == Base::Gone)
    }

    /// Whether its deltas may change the order of fields where the first of them are applied
    /// already.
    pub fn may_move_fields_again(&self) -> bool {
        self.base == Base::Unknown
            && 1 < self.deltas.len()
            && self
                .deltas
                .iter()
                .any(|delta| delta::may_move_fields(delta))
    }

    /// Bytes that the statement takes in a command; never too low.
    pub fn weight(&self) -> usize {
        let base = match &self.base {
            Base::Full(document) | Base::Replaced(document) => document.len(),
            Base::Unknown | Base::Gone | Base::Unclear => 0,
        };
        let mut weight = base + self.id.bytes() + STATEMENT_OVERHEAD_BYTES;
        for delta in &self.deltas {
            weight += delta.len() + STATEMENT_OVERHEAD_BYTES;
        }
        weight
    }

    /// Holds a whole document.
    pub fn is_whole(&self) -> bool {
        matches!(self.base, Base::Full(_) | Base::Replaced(_))
    }

    /// False if a delta of that many bytes must wait for the next flush.
    pub fn has_room_for(&self, delta_bytes: usize) -> bool {
        self.deltas.len() < DELTAS_MAX && self.weight() + delta_bytes <= STATEMENT_BYTES_MAX
    }

    /// The state after one more op on the document.
    pub fn fold(&mut self, op: Op) {
        if self.become_after(op.kind, op.body, op.look.needs_literal) {
            // The newest spelling of an equal `_id` (1 or 1.0) is the stored one.
            self.id = op.id;
        }
    }

    /// The table above; true if the base is another one. `needs_literal`: the document in
    /// `body` does.
    fn become_after(&mut self, kind: OpKind, body: Bytes, needs_literal: bool) -> bool {
        let base = match (kind, &self.base) {
            (OpKind::Insert, _) | (OpKind::Replace, Base::Full(_)) => Base::Full(body),
            (OpKind::Replace, Base::Unknown | Base::Replaced(_)) => Base::Replaced(body),
            (OpKind::Replace | OpKind::Delta, Base::Gone | Base::Unclear) => return false,
            (OpKind::Delete, _) => Base::Gone,
            (OpKind::Unclear, _) => Base::Unclear,
            (OpKind::Delta, Base::Unknown | Base::Replaced(_) | Base::Full(_)) => {
                self.change(body);
                return false;
            }
        };
        self.base = base;
        self.needs_literal = needs_literal;
        self.deltas = Deltas::new();
        true
    }

    /// Adds a delta: merged where the result is the same, else appended to the chain.
    fn change(&mut self, delta: Bytes) {
        if let Some(last) = self.deltas.last_mut() {
            match as_one(last, &delta) {
                Some(both) => *last = both,
                None => self.deltas.push(delta),
            }
            return;
        }
        if let Base::Full(document) | Base::Replaced(document) = &mut self.base
            && let Some(changed) = applied(document, &delta)
        {
            self.needs_literal = locate::needs_literal(locate::raw(&changed));
            *document = changed;
            return;
        }
        self.deltas.push(delta);
    }
}

/// Both deltas as one; None if they stay two.
fn as_one(first: &[u8], second: &[u8]) -> Option<Bytes> {
    if let Some(fields) = fields_set(first) {
        return Some(delta_of(&overlay(fields, fields_set(second)?)?));
    }
    delta_of_old(&overlay(fields_set_old(first)?, fields_set_old(second)?)?)
}

/// The document with the delta applied; None if only the server can do that.
fn applied(document: &[u8], delta: &[u8]) -> Option<Bytes> {
    let fields = fields_set(delta).or_else(|| fields_set_old(delta))?;
    overlay(document, fields)
}

/// The writes of one collection in one flush.
#[derive(Debug)]
pub struct CollectionWrites {
    pub collection: Arc<Tracked>,
    /// If the collection is `in_order`: one statement per op, in op order, and a document
    /// may occur more than once. Else one per document, roughly in the order of `_id`, so
    /// that the target touches each of its pages once.
    pub statements: Vec<Statement>,
    /// Number of ops that the statements stand for, dropped ones included.
    pub ops: u64,
    /// Permits for the bytes of all those ops. Never read; they are given back when the
    /// writes are acknowledged and dropped.
    pub permits: Permits,
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

/// The size of one flush, or of one bulk in it.
#[derive(Debug, Clone, Copy)]
pub struct FlushLimits {
    /// Statements: any number of ops may be one.
    pub statements_max: usize,
    /// Bytes of all statements.
    pub bytes_max: usize,
}

impl FlushLimits {
    /// Cuts `all` into what each fits, but one at least. `size`: statements and bytes.
    pub fn split<'a, T>(&self, all: &'a [T], size: impl Fn(&T) -> (usize, usize)) -> Vec<&'a [T]> {
        let (mut parts, mut rest) = (Vec::new(), all);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.fitting(rest, &size));
            parts.push(part);
            rest = after;
        }
        parts
    }

    /// How many of the first fit together: one at least, if there is one.
    fn fitting<T>(&self, all: &[T], size: impl Fn(&T) -> (usize, usize)) -> usize {
        let (mut statements, mut bytes) = (0, 0);
        for (before, item) in all.iter().enumerate() {
            let (more_statements, more_bytes) = size(item);
            statements += more_statements;
            bytes += more_bytes;
            if self.statements_max < statements || self.bytes_max < bytes {
                return before.max(1);
            }
        }
        all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::locate::Look;
    use OpKind::*;
    use bson::{RawBsonRef, RawDocumentBuf, Uuid, rawdoc};

    fn op(kind: OpKind, id: RawBsonRef<'_>, body: &[u8]) -> Op {
        Op {
            position: Position::default(),
            uuid: Uuid::from_bytes([1; 16]),
            kind,
            id: IdKey::of(id),
            body: Bytes::copy_from_slice(body),
            look: Look::default(),
            permit: None,
        }
    }

    /// Folds ops given as (kind, body) on one document; shows base and deltas.
    fn folded(ops: &[(OpKind, &str)]) -> String {
        let one = |(kind, body): &(OpKind, &str)| op(*kind, RawBsonRef::Int32(1), body.as_bytes());
        let mut s = Statement::first(one(&ops[0]));
        ops[1..].iter().for_each(|next| s.fold(one(next)));
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let base = match &s.base {
            Base::Unknown => "?".to_owned(),
            Base::Replaced(doc) => format!("replaced {}", text(doc)),
            Base::Full(doc) => format!("full {}", text(doc)),
            Base::Gone => "gone".to_owned(),
            Base::Unclear => "unclear".to_owned(),
        };
        s.deltas
            .iter()
            .fold(base, |shown, delta| format!("{shown} +{}", text(delta)))
    }

    #[test]
    fn one_state_stands_for_any_sequence_of_ops() {
        for (ops, expect) in [
            (&[(Delta, "a"), (Delta, "b")][..], "? +a +b"),
            (&[(Delta, "a"), (Insert, "D"), (Delta, "b")], "full D +b"),
            (&[(Insert, "D"), (Replace, "E")], "full E"),
            (
                &[(Delta, "a"), (Replace, "E"), (Delta, "b")],
                "replaced E +b",
            ),
            (&[(Replace, "D"), (Replace, "E")], "replaced E"),
            (&[(Insert, "D"), (Delta, "a"), (Delete, "")], "gone"),
            // An update never brings a document back (R3).
            (&[(Delete, ""), (Replace, "E"), (Delta, "a")], "gone"),
            (&[(Delete, ""), (Insert, "D")], "full D"),
            // Only what says all of the document makes it clear again.
            (
                &[(Insert, "D"), (Unclear, ""), (Delta, "a"), (Replace, "E")],
                "unclear",
            ),
            (&[(Delete, ""), (Unclear, "")], "unclear"),
            (&[(Unclear, ""), (Insert, "D"), (Delta, "a")], "full D +a"),
            (&[(Unclear, ""), (Delete, "")], "gone"),
        ] {
            assert_eq!(folded(ops), expect, "{ops:?}");
        }
    }

    #[test]
    fn the_newest_spelling_of_an_id_is_that_of_the_last_whole_document() {
        let mut s = Statement::first(op(Insert, RawBsonRef::Int32(1), b"D"));
        let id = |s: &Statement| s.id.value().readable();
        s.fold(op(Delta, RawBsonRef::Int64(1), b"a"));
        assert_eq!(id(&s), Some(bson::RawBson::Int32(1)));
        s.fold(op(Replace, RawBsonRef::Double(1.0), b"E"));
        assert_eq!(id(&s), Some(bson::RawBson::Double(1.0)));
    }

    #[test]
    fn deltas_that_set_fields_are_one_write() {
        let set = |fields: RawDocumentBuf| rawdoc! { "$v": 2, "diff": { "u": fields } };
        let unset = rawdoc! { "$v": 2, "diff": { "d": { "a": false } } };
        let one = |kind, body: &RawDocumentBuf| op(kind, RawBsonRef::Int32(1), body.as_bytes());
        let mut s = Statement::first(one(Delta, &set(rawdoc! { "a": 1 })));
        s.fold(one(Delta, &set(rawdoc! { "b": 2, "a": 3 })));
        s.fold(one(Delta, &unset));
        s.fold(one(Delta, &set(rawdoc! { "c": 4 })));
        let expect = [
            set(rawdoc! { "a": 3, "b": 2 }),
            unset,
            set(rawdoc! { "c": 4 }),
        ];
        let deltas = s.deltas.iter().map(|delta| &**delta);
        assert!(
            deltas.eq(expect.iter().map(|delta| delta.as_bytes())),
            "{:?}",
            s.deltas
        );
        s.fold(one(Insert, &rawdoc! { "_id": 1, "a": 1 }));
        s.fold(one(Delta, &set(rawdoc! { "a": 2, "b": 3 })));
        let document = rawdoc! { "_id": 1, "a": 2, "b": 3 };
        assert_eq!(s.base, Base::Full(document.into_bytes().into()));
        assert!(s.deltas.is_empty());
    }

    #[test]
    fn what_is_split_fits_or_is_alone() {
        let limits = FlushLimits {
            statements_max: 3,
            bytes_max: 10,
        };
        for (bytes, expect) in [
            (&[][..], &[][..]),
            (&[1, 1, 1, 1], &[3, 1]),
            (&[5, 5, 1], &[2, 1]),
            (&[20, 1, 20, 20], &[1, 1, 1, 1]),
        ] {
            let parts = limits.split(bytes, |bytes| (1, *bytes));
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, expect, "{bytes:?}");
        }
    }
}
