//! Statements of one collection, cut into what fits one command.
//!
//! Pure.

use crate::cluster::dialect::WriteForms;
use crate::limits::COMMAND_BYTES_MAX;
use crate::pair::collection::Tracked;
use crate::pair::write::form::Form;
use crate::pair::write::statement::{Base, FlushLimits, Statement};

/// What fits one command: inserts only, or statements of one form.
#[derive(Debug)]
pub struct Bulk<'a> {
    pub collection: &'a Tracked,
    /// Of inserts, that of an update.
    pub form: Form,
    pub statements: Vec<&'a Statement>,
}

/// Statements of one collection, in their order, each in a command of its form.
pub fn push_by_form<'a>(
    bulks: &mut Vec<Bulk<'a>>,
    collection: &'a Tracked,
    statements: &[&'a Statement],
    limits: FlushLimits,
    forms: WriteForms,
) {
    for same in statements.chunk_by(|a, b| is_ops(a, forms) == is_ops(b, forms)) {
        if is_ops(same[0], forms) {
            push_ops(bulks, collection, same, limits);
            continue;
        }
        for part in by_command(same, limits) {
            push_by_kind(bulks, collection, part);
        }
    }
}

fn is_ops(statement: &Statement, forms: WriteForms) -> bool {
    statement.form(forms) == Form::Ops
}

/// Unlike the documents of a write command, all ops lie in the command itself.
pub fn of_ops(limits: FlushLimits) -> FlushLimits {
    FlushLimits {
        bytes_max: limits.bytes_max.min(COMMAND_BYTES_MAX),
        ..limits
    }
}

pub fn push_ops<'a>(
    bulks: &mut Vec<Bulk<'a>>,
    collection: &'a Tracked,
    statements: &[&'a Statement],
    limits: FlushLimits,
) {
    for part in by_command(statements, of_ops(limits)) {
        bulks.push(Bulk {
            collection,
            form: Form::Ops,
            statements: part.to_vec(),
        });
    }
}

pub fn by_command<'s, 'a>(
    statements: &'s [&'a Statement],
    limits: FlushLimits,
) -> Vec<&'s [&'a Statement]> {
    limits.split(statements, |statement| (1, statement.weight()))
}

/// Updates, and deletes: a command each.
pub fn push_by_kind<'a>(
    bulks: &mut Vec<Bulk<'a>>,
    collection: &'a Tracked,
    part: &[&'a Statement],
) {
    let (deletes, updates): (Vec<_>, Vec<_>) = part.iter().partition(|s| s.base == Base::Gone);
    for (form, statements) in [(Form::Update, updates), (Form::Delete, deletes)] {
        if !statements.is_empty() {
            bulks.push(Bulk {
                collection,
                form,
                statements,
            });
        }
    }
}

pub fn bytes(statements: &[&Statement]) -> usize {
    statements.iter().map(|statement| statement.weight()).sum()
}
