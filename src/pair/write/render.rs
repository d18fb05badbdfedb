//! Statements → raw write commands.
//!
//! Pure. An insert becomes an upsert over whatever is there, a delta the
//! server's own oplog stage (R3), or a `$set` where that does the same. What goes by
//! `applyOps` is `ops`'s.

use bytes::Bytes;

use crate::cluster::dialect::WriteForms;
use crate::pair::collection::Tracked;
use crate::pair::write::command::{RawWriter, Verb, WriteCommand};
use crate::pair::write::overlay::set_alike;
use crate::pair::write::statement::{Base, Statement};
use crate::wire::message::Request;

/// One command of deletes only, or of anything but deletes.
pub fn render(
    collection: &Tracked,
    forms: WriteForms,
    batch: &[&Statement],
    ordered: bool,
) -> Request {
    fill(batch, |verb, bytes| {
        WriteCommand::new(verb, collection, forms, ordered, bytes)
    })
}

/// The command that `render` makes, as one statement of a transaction.
pub fn render_in_transaction(
    collection: &Tracked,
    forms: WriteForms,
    batch: &[&Statement],
) -> Request {
    fill(batch, |verb, bytes| {
        WriteCommand::in_transaction(verb, collection, forms, bytes)
    })
}

fn fill(batch: &[&Statement], begin: impl FnOnce(Verb, usize) -> WriteCommand) -> Request {
    let bytes = batch.iter().map(|s| s.weight()).sum();
    let deletes = batch.first().is_some_and(|s| s.base == Base::Gone);
    let mut command = begin(if deletes { Verb::Delete } else { Verb::Update }, bytes);
    for statement in batch {
        if deletes {
            command.delete(statement.id.value());
        } else {
            write_update(&mut command, statement);
        }
    }
    command.finish()
}

/// Renders one unordered insert of the whole documents, and skips other statements.
pub fn render_inserts(collection: &Tracked, forms: WriteForms, batch: &[&Statement]) -> Request {
    let bytes = batch.iter().map(|s| s.weight()).sum();
    let mut command = WriteCommand::new(Verb::Insert, collection, forms, false, bytes);
    for statement in batch {
        if let Base::Full(document) = &statement.base {
            command.insert(document);
        }
    }
    command.finish()
}

fn write_update(command: &mut WriteCommand, statement: &Statement) {
    let upsert = matches!(statement.base, Base::Full(_));
    let writer = command.begin_update(statement.id.value(), upsert);
    match &statement.base {
        Base::Full(document) | Base::Replaced(document) => {
            if statement.deltas.is_empty() && !statement.needs_literal {
                writer.document("u", document)
            } else {
                write_pipeline(writer, Some(document), &statement.deltas)
            }
        }
        // The last two are not rendered as updates.
        Base::Unknown | Base::Gone | Base::Unclear => write_changes(writer, &statement.deltas),
    }
    writer.end();
}

/// Deltas on whatever is there.
fn write_changes(writer: &mut RawWriter, deltas: &[Bytes]) {
    let alone = if let [delta] = deltas {
        set_alike(delta)
    } else {
        None
    };
    match alone {
        Some(fields) => {
            writer.begin_document("u");
            writer.document("$set", fields);
            writer.end();
        }
        None => write_pipeline(writer, None, deltas),
    }
}

/// The base as a literal, then each delta with the oplog's own semantics (R3).
pub(in crate::pair) fn write_pipeline(
    writer: &mut RawWriter,
    base: Option<&[u8]>,
    deltas: &[Bytes],
) {
    writer.begin_array("u");
    if let Some(document) = base {
        writer.begin_item(0);
        writer.begin_document("$replaceWith");
        writer.document("$literal", document);
        writer.end();
        writer.end();
    }
    for (i, delta) in deltas.iter().enumerate() {
        writer.begin_item(i + usize::from(base.is_some()));
        writer.begin_document("$_internalApplyOplogUpdate");
        writer.document("oplogUpdate", delta);
        writer.end();
        writer.end();
    }
    writer.end();
}
