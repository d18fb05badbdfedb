//! Which write commands one flush becomes, and in which order they may be sent.
//!
//! ```text
//! unclear      not sent: their documents are doubtful
//! ┌ inserts    some commands at a time ─────────────────────────┐
//! ┤ changes    group after group, then `ops` some at a time,    ┼▶ once more: what was refused
//! │            then `delicate` one by one                       │
//! └ in order   each collection by itself, run after run         ┘  (none of `in order`)
//! ```
//!
//! A group goes in one transaction if that pays, else some commands at a time. A document
//! is in one place of all that, once: so it does not matter what is done first. In order,
//! the same document may come again.
//!
//! Pure; `bulk` sends it.

use crate::cluster::dialect::WriteForms;
use crate::pair::collection::Tracked;
use crate::pair::write::delicate;
use crate::pair::write::form::Form;
use crate::pair::write::parts::{Bulk, by_command, bytes, push_by_form, push_by_kind, push_ops};
use crate::pair::write::statement::{Base, CollectionWrites, FlushLimits, Statement};

/// A statement and its collection.
pub type One<'a> = (&'a Tracked, &'a Statement);

/// Updates and deletes of any collections that are sent together.
#[derive(Debug)]
pub struct Group<'a> {
    pub bulks: Vec<Bulk<'a>>,
    /// Worth a transaction.
    pub pays_at_once: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct FlushPlan<'a> {
    pub unclear: Vec<One<'a>>,
    /// Whole documents, as if none was there: where one is, it is replaced (R3).
    pub inserts: Vec<Bulk<'a>>,
    pub changes: Vec<Group<'a>>,
    /// By `applyOps`, which takes part in no transaction.
    pub ops: Vec<Bulk<'a>>,
    /// Each by commands of its own (`delicate`).
    pub delicate: Vec<One<'a>>,
    /// By `in_order`.
    pub in_order: Vec<&'a CollectionWrites>,
}

/// Statements of one collection that fit one command, were they of one kind.
type Part<'s, 'a> = (&'a Tracked, &'s [&'a Statement]);

impl<'a> FlushPlan<'a> {
    /// `limits`: of one command.
    pub fn of(flush: &'a [CollectionWrites], limits: FlushLimits, forms: WriteForms) -> Self {
        let mut plan = FlushPlan::default();
        let mut changes: Vec<(&Tracked, Vec<&Statement>)> = Vec::new();
        for writes in flush {
            let collection: &Tracked = &writes.collection;
            if collection.in_order() {
                plan.in_order.push(writes);
                continue;
            }
            let (mut inserted, mut changed, mut ops) = (Vec::new(), Vec::new(), Vec::new());
            for statement in &writes.statements {
                if delicate::is(collection, forms, statement) {
                    plan.delicate.push((collection, statement));
                } else if statement.base == Base::Unclear {
                    plan.unclear.push((collection, statement));
                } else if statement.is_insert() {
                    inserted.push(statement);
                } else if statement.form(forms) == Form::Ops {
                    ops.push(statement);
                } else {
                    changed.push(statement);
                }
            }
            for part in by_command(&inserted, limits) {
                plan.inserts.push(Bulk {
                    collection,
                    form: Form::Update,
                    statements: part.to_vec(),
                });
            }
            push_ops(&mut plan.ops, collection, &ops, limits);
            changes.push((collection, changed));
        }
        plan.changes = groups(&changes, limits);
        plan
    }
}

/// Small commands of several collections go together.
fn groups<'a>(
    changes: &[(&'a Tracked, Vec<&'a Statement>)],
    limits: FlushLimits,
) -> Vec<Group<'a>> {
    let mut parts: Vec<Part<'_, 'a>> = Vec::new();
    for (collection, changed) in changes {
        for part in by_command(changed, limits) {
            parts.push((collection, part));
        }
    }
    let size = |(_, part): &Part<'_, '_>| (part.len(), bytes(part));
    let mut groups = Vec::new();
    for together in limits.split(&parts, size) {
        groups.push(Group::of(together));
    }
    groups
}

impl<'a> Group<'a> {
    fn of(parts: &[Part<'_, 'a>]) -> Self {
        let (mut statements, mut weight) = (0, 0);
        let mut bulks = Vec::new();
        for (collection, part) in parts {
            statements += part.len();
            weight += bytes(part);
            push_by_kind(&mut bulks, collection, part);
        }
        Group {
            bulks,
            pays_at_once: pays_at_once(statements, weight),
        }
    }
}

/// Fewer statements are not worth a commit of their own.
const STATEMENTS_MIN: usize = 16;
/// Mean statement weight, in bytes, above which a transaction does not pay. The commit is
/// then cheap compared with the write, and the target has to keep much for the open
/// transaction: with 50 KB it took twice as long (benches/log.md).
const MEAN_BYTES_MAX: usize = 8 * 1024;

/// Whether that many statements of that weight in all are worth a transaction.
fn pays_at_once(statements: usize, bytes: usize) -> bool {
    STATEMENTS_MIN <= statements && bytes <= statements * MEAN_BYTES_MAX
}

/// Those that were refused, in the order of their ops, command after command. No other
/// statement of the flush is on their documents.
pub fn once_more<'a>(
    mut refused: Vec<One<'a>>,
    limits: FlushLimits,
    forms: WriteForms,
) -> Vec<Bulk<'a>> {
    refused.sort_by_key(|(collection, statement)| (collection.uuid.bytes(), statement.position));
    let mut bulks = Vec::new();
    for same in refused.chunk_by(|(a, _), (b, _)| a.uuid == b.uuid) {
        let (collection, _) = same[0];
        let statements: Vec<&Statement> = same.iter().map(|(_, statement)| *statement).collect();
        push_by_form(&mut bulks, collection, &statements, limits, forms);
    }
    bulks
}

#[cfg(test)]
pub(in crate::pair::write) mod tests {
    use std::sync::Arc;

    use bson::{RawBsonRef, Uuid, rawdoc};
    use bytes::Bytes;

    use super::*;
    use crate::bson::identity::IdKey;
    use crate::cluster::catalog::Namespace;
    use crate::cluster::dialect::Dialect;
    use crate::pair::budget::Permits;
    use crate::pair::collection::Traits;
    use crate::pair::write::overlay::delta_of;
    use crate::position::Position;

    pub(in crate::pair::write) const LIMITS: FlushLimits = FlushLimits {
        statements_max: 4,
        bytes_max: 1 << 20,
    };

    pub(in crate::pair::write) fn forms() -> WriteForms {
        Dialect::newest().writes
    }

    pub(in crate::pair::write) fn id(id: i32) -> IdKey {
        IdKey::of(RawBsonRef::Int32(id))
    }

    /// `i`nserts, `u`pdates, `d`eletes and uncl`?`ar ones of these `_id`s, which are their
    /// positions, too.
    pub(in crate::pair::write) fn writes(
        uuid: u8,
        capped: bool,
        statements: &str,
    ) -> CollectionWrites {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: format!("c{uuid}"),
        };
        let traits = Traits {
            capped,
            ..Traits::default()
        };
        let statement = |text: &str| {
            let number: i32 = text[1..].parse().unwrap();
            let mut statement = Statement::unknown(id(number), Position::from_raw(number as u64));
            match &text[..1] {
                "i" => statement.base = Base::Full(Bytes::from_static(b"x")),
                "d" => statement.base = Base::Gone,
                "?" => statement.base = Base::Unclear,
                _ => statement.deltas.push(delta_of(rawdoc! {"a": 1}.as_bytes())),
            }
            statement
        };
        CollectionWrites {
            collection: Arc::new(Tracked::new(Uuid::from_bytes([uuid; 16]), ns, traits)),
            statements: statements.split_whitespace().map(statement).collect(),
            ops: 0,
            permits: Permits::default(),
        }
    }

    pub(in crate::pair::write) fn ids<'a>(
        statements: impl IntoIterator<Item = &'a &'a Statement>,
    ) -> Vec<u64> {
        statements.into_iter().map(|s| s.position.raw()).collect()
    }

    fn bulks(bulks: &[Bulk<'_>]) -> Vec<(String, Vec<u64>)> {
        let shown = |bulk: &Bulk<'_>| (bulk.collection.ns().coll.clone(), ids(&bulk.statements));
        bulks.iter().map(shown).collect()
    }

    fn of(collection: u8, ids: &[u64]) -> (String, Vec<u64>) {
        (format!("c{collection}"), ids.to_vec())
    }

    #[test]
    fn every_statement_is_in_one_place_by_its_kind() {
        let flush = [
            writes(1, false, "i1 u2 d3 ?4 u5 i6"),
            writes(2, true, "i1 u2"),
        ];
        flush[0].collection.duplicate_names.remember(id(5));
        let plan = FlushPlan::of(&flush, LIMITS, forms());
        assert_eq!(bulks(&plan.inserts), [of(1, &[1, 6])]);
        assert_eq!(plan.changes.len(), 1);
        assert_eq!(bulks(&plan.changes[0].bulks), [of(1, &[2]), of(1, &[3])]);
        assert_eq!(ids(plan.unclear.iter().map(|(_, s)| s)), [4]);
        assert_eq!(ids(plan.delicate.iter().map(|(_, s)| s)), [5]);
        let in_order: Vec<String> = plan
            .in_order
            .iter()
            .map(|writes| writes.collection.ns().coll)
            .collect();
        assert_eq!(in_order, ["c2"]);
    }

    #[test]
    fn small_commands_of_several_collections_are_one_group() {
        let flush = [
            writes(1, false, "u1 d2 u3 u4 u5"),
            writes(2, false, "u1 u2"),
            writes(3, false, "d1 u2"),
        ];
        let plan = FlushPlan::of(&flush, LIMITS, forms());
        let groups: Vec<_> = plan.changes.iter().map(|g| bulks(&g.bulks)).collect();
        let expect = [
            vec![of(1, &[1, 3, 4]), of(1, &[2])],
            vec![of(1, &[5]), of(2, &[1, 2])],
            vec![of(3, &[2]), of(3, &[1])],
        ];
        assert_eq!(groups, expect);
    }

    #[test]
    fn few_or_large_statements_go_one_by_one() {
        assert!(pays_at_once(16, 1_600) && pays_at_once(2_000, 2_000 * MEAN_BYTES_MAX));
        assert!(!pays_at_once(15, 1_500) && !pays_at_once(0, 0));
        assert!(!pays_at_once(2_000, 2_000 * MEAN_BYTES_MAX + 1));
    }

    #[test]
    fn what_was_refused_is_sent_once_more_in_the_order_of_its_ops() {
        let [one, other] = [writes(1, false, "u9 d3 u7 i4 u8"), writes(2, false, "u2")];
        let refused = [&other, &one]
            .into_iter()
            .flat_map(|w| w.statements.iter().map(|s| (&*w.collection, s)));
        let again = once_more(refused.collect(), LIMITS, forms());
        let expect = [of(1, &[4, 7, 8]), of(1, &[3]), of(1, &[9]), of(2, &[2])];
        assert_eq!(bulks(&again), expect);
    }
}
