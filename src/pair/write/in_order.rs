//! Which command comes next of a collection whose ops are written in their order, and what
//! becomes of an insert into a capped one that comes again (R3).
//!
//! Where what the source let go comes as deletes, and the target takes them, the document is
//! taken out first, so that it is the last, as it was then. Else it stays in its place, and
//! the target lets go by itself. That is exact as long as no `_id` comes twice: what is there
//! of the log is an unbroken piece of it, and what was let go before does not fit beside what
//! followed it. So inserts that come again find all of their documents, or none; once one
//! made a document each later one must, too. Where one does not, or a document is of another
//! length, an `_id` came twice, or the source let go what its log does not tell: then the
//! collection is given up, and copied anew (`mend::anew`).
//!
//! Pure.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use crate::bson::identity::IdKey;
use crate::cluster::dialect::WriteForms;
use crate::pair::collection::Tracked;
use crate::pair::write::delicate;
use crate::pair::write::form::Form;
use crate::pair::write::parts::{Bulk, by_command, of_ops};
use crate::pair::write::statement::{Base, FlushLimits, Statement};

/// What comes next of a collection in order.
#[derive(Debug)]
pub enum Next<'a> {
    /// Nothing: its document became doubtful by one before, or it is a delete that the
    /// target makes by itself.
    Nothing,
    /// Its document becomes doubtful.
    Unclear(&'a Statement),
    Delicate(&'a Statement),
    /// One ordered command: where one is refused, what follows it is not tried.
    Run(Bulk<'a>),
}

/// An insert into a capped collection that may come again: what is there of its document goes
/// first.
pub fn comes_last(collection: &Tracked, forms: WriteForms, statement: &Statement) -> bool {
    collection.traits.capped
        && forms.trims_come
        && is_insert(statement)
        && statement.position <= collection.horizon()
}

/// What comes again of a capped collection stays in its place.
pub fn stays(collection: &Tracked, forms: WriteForms) -> bool {
    collection.traits.capped && !forms.trims_come
}

/// Whether the target has what `stays` as the source's log has it, after these were written.
/// `made`: places of those that made a document, ascending.
pub fn is_as_logged(collection: &Tracked, statements: &[&Statement], made: &[usize]) -> bool {
    let mut makes = collection.capped.inserts_make.load(Relaxed);
    for (place, _) in statements.iter().enumerate().filter(|(_, s)| is_insert(s)) {
        let is_made = made.binary_search(&place).is_ok();
        if makes && !is_made {
            return false;
        }
        makes = is_made;
    }
    collection.capped.inserts_make.store(makes, Relaxed);
    true
}

pub fn is_insert(statement: &Statement) -> bool {
    matches!(statement.base, Base::Full(_))
}

/// IMPORTANT: no `i` of `applyOps` into a capped collection: servers up to 4.4 let the oldest
/// document of a full one go for it, and only then look whether its own is there.
fn form(collection: &Tracked, forms: WriteForms, statement: &Statement) -> Form {
    match statement.form(forms) {
        Form::Ops if collection.traits.capped && is_insert(statement) => Form::Update,
        form => form,
    }
}

/// One statement in a command of its own.
pub fn alone<'a>(collection: &'a Tracked, forms: WriteForms, statement: &'a Statement) -> Bulk<'a> {
    Bulk {
        collection,
        form: form(collection, forms, statement),
        statements: vec![statement],
    }
}

/// The first of what is `left` of a collection in order; None if nothing is.
pub fn next_in_order<'a>(
    collection: &'a Tracked,
    left: &'a [Statement],
    limits: FlushLimits,
    forms: WriteForms,
) -> Option<Next<'a>> {
    let first = left.first()?;
    let form_of = |statement: &Statement| form(collection, forms, statement);
    let form = form_of(first);
    let by_itself = form == Form::Delete && collection.traits.capped && !forms.capped_deletes;
    if by_itself || collection.doubts.contains(&first.id) {
        return Some(Next::Nothing);
    }
    if first.base == Base::Unclear {
        return Some(Next::Unclear(first));
    }
    if delicate::is(collection, forms, first) {
        return Some(Next::Delicate(first));
    }
    let comes_last = |statement: &Statement| comes_last(collection, forms, statement);
    let mut run = vec![first];
    let mut ids: HashSet<&IdKey> = HashSet::new();
    ids.extend(comes_last(first).then_some(&first.id));
    for next in left.iter().take(limits.statements_max).skip(1) {
        let is_alike = next.base != Base::Unclear
            && form_of(next) == form
            && !delicate::is(collection, forms, next)
            && !collection.doubts.contains(&next.id);
        if !is_alike || comes_last(next) && !ids.insert(&next.id) {
            break;
        }
        run.push(next);
    }
    let limits = match form {
        Form::Ops => of_ops(limits),
        Form::Update | Form::Delete => limits,
    };
    let fitting = by_command(&run, limits)[0].len();
    run.truncate(fitting);
    Some(Next::Run(Bulk {
        collection,
        form,
        statements: run,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::deployment::Version;
    use crate::cluster::dialect::Dialect;
    use crate::pair::write::flush::tests::{LIMITS, forms, id, ids, writes};
    use crate::position::Position;

    #[test]
    fn a_run_ends_before_what_is_of_another_kind() {
        let writes = writes(1, true, "i1 u2 d3 d4 d6 d4 d4 ?5 u7 u8 u9");
        let collection = &*writes.collection;
        collection.duplicate_names.remember(id(7));
        collection.doubts.add(&id(6), Position::from_raw(6));
        collection.doubts.add(&id(9), Position::from_raw(9));
        let mut left = &writes.statements[..];
        let mut shown = Vec::new();
        while let Some(next) = next_in_order(collection, left, LIMITS, forms()) {
            let (what, done) = match next {
                Next::Nothing => ("nothing".to_owned(), 1),
                Next::Unclear(s) => (format!("unclear {}", s.position.raw()), 1),
                Next::Delicate(s) => (format!("delicate {}", s.position.raw()), 1),
                Next::Run(bulk) => (
                    format!("{:?}", ids(&bulk.statements)),
                    bulk.statements.len(),
                ),
            };
            shown.push(what);
            left = &left[done..];
        }
        let expect = [
            "[1, 2]",
            "[3, 4]",
            "nothing",
            "[4, 4]",
            "unclear 5",
            "delicate 7",
            "[8]",
            "nothing",
        ];
        assert_eq!(shown, expect);
    }

    #[test]
    fn an_insert_into_a_capped_collection_goes_by_no_applied_op() {
        let version = Version {
            major: 4,
            minor: 4,
            patch: 2,
        };
        let forms = Dialect::of(version, "4.4").writes;
        for (capped, expect) in [(true, Form::Update), (false, Form::Ops)] {
            let writes = writes(1, capped, "i1 i2");
            let next = next_in_order(&writes.collection, &writes.statements, LIMITS, forms);
            let Some(Next::Run(bulk)) = next else {
                panic!("{next:?}");
            };
            assert_eq!((bulk.form, bulk.statements.len()), (expect, 2));
        }
    }

    /// Flushes of inserts; of each which made a document, and whether all is well.
    #[test]
    fn once_an_insert_made_a_document_each_later_one_must() {
        type Flush<'a> = (&'a str, &'a [usize], bool);
        let rows: [&[Flush<'_>]; 6] = [
            &[("i1 u2 i3", &[], true), ("i4", &[], true)],
            &[("i1 i2", &[0, 1], true), ("u1 i3", &[1], true)],
            &[
                ("i1 i2 i3", &[2], true),
                ("u1", &[], true),
                ("i4", &[0], true),
            ],
            &[("i1 i2", &[0], false)],
            &[("i1", &[0], true), ("i2", &[], false)],
            &[("i1 i2 i3", &[1], false)],
        ];
        for row in rows {
            let collection = writes(1, true, "").collection;
            for (flush, made, expect) in row {
                let writes = writes(1, true, flush);
                let statements: Vec<&Statement> = writes.statements.iter().collect();
                let is_well = is_as_logged(&collection, &statements, made);
                assert_eq!(is_well, *expect, "{row:?}");
            }
        }
    }
}
