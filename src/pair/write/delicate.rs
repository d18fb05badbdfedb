//! Documents in which a field name occurs twice. 6.0.5 keeps them byte for byte. But an
//! update by pipeline over such a document may compute a difference that names a field
//! twice, and then the server aborts (`document_diff_serialization.cpp`). So a whole
//! document goes as a plain replacement, or is deleted before a literal upsert. A delta
//! goes through `applyOps`, which computes no difference.
//!
//! The same holds for 5.0.4, whose updates compute differences, too. 4.2.6 and 4.4.2 do not.
//!
//! So go, too, what neither one update nor `applyOps` can write exactly: a whole document
//! with `Timestamp(0, 0)` and deltas on it, where there is no stage for these.
//!
//! One document at a time, since there are hardly ever any.

use bytes::Bytes;

use crate::bson::locate;
use crate::cluster::dialect::WriteForms;
use crate::error::{Error, Kind, Result};
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::until_answered;
use crate::pair::write::ops;
use crate::pair::write::render::render;
use crate::pair::write::reply::{Refusal, refusals};
use crate::pair::write::statement::{Base, Statement};
use crate::pair::write::target::{Target, writing_to};
use crate::wire::message::Request;

/// One command of a delicate write.
struct Command {
    request: Request,
    /// The command may fail because there is no such document, which is fine (R3).
    may_miss: bool,
}

/// True if the statement must not go by pipeline.
pub fn is(collection: &Tracked, forms: WriteForms, statement: &Statement) -> bool {
    if statement.takes_two_commands(forms) {
        return true;
    }
    // Hardly ever: looked at first.
    collection.duplicate_names.may_be_in(&statement.id)
        && match &statement.base {
            Base::Gone | Base::Unclear => false,
            Base::Unknown => true,
            Base::Full(_) | Base::Replaced(_) => {
                !statement.deltas.is_empty() || statement.needs_literal
            }
        }
}

/// Writes it; why, if the target refuses that.
pub(in crate::pair) async fn write(
    target: &Target,
    collection: &Tracked,
    statement: &Statement,
) -> Result<Option<Refusal>> {
    let Some(under_way) = collection.begin_write().await else {
        return Ok(None);
    };
    until_answered(under_way, write_one(target, collection, statement)).await
}

async fn write_one(
    target: &Target,
    collection: &Tracked,
    statement: &Statement,
) -> Result<Option<Refusal>> {
    let Some(commands) = commands(collection, target.forms, statement) else {
        return Ok(Some(Refusal::ours()));
    };
    for Command { request, may_miss } in commands {
        let refused = match target.command(request).await {
            Ok(reply) => refusals(reply.body())?.into_iter().next(),
            Err(e) if may_miss && e.kind == Kind::Server => {
                refused_op(target, collection, statement, e).await?
            }
            Err(e) => return Err(e.context(writing_to(collection))),
        };
        if refused.is_some() {
            return Ok(refused);
        }
    }
    Ok(None)
}

/// `applyOps` tells of a refused op as of its own failure. None if there is no such
/// document.
async fn refused_op(
    target: &Target,
    collection: &Tracked,
    statement: &Statement,
    failed: Error,
) -> Result<Option<Refusal>> {
    if !target
        .has_any(collection, std::slice::from_ref(&statement.id))
        .await?
    {
        return Ok(None);
    }
    match failed.code {
        Some(code) => Ok(Some(Refusal {
            index: 0,
            code,
            message: failed.message,
            on_id: false,
        })),
        None => Err(failed.context(writing_to(collection))),
    }
}

/// The commands that write it, one after the other.
///
/// None for a replacement that needs a literal: 6.0 aborts on every way to write it
/// over a document that is there.
fn commands(
    collection: &Tracked,
    forms: WriteForms,
    statement: &Statement,
) -> Option<Vec<Command>> {
    let ordinary = |request| Command {
        request,
        may_miss: false,
    };
    let unknown = || Statement::unknown(statement.id.clone(), statement.position);
    let full = |document: &Bytes| {
        Statement::full(statement.id.clone(), document.clone(), statement.position)
    };
    let mut commands = match &statement.base {
        Base::Unknown | Base::Gone | Base::Unclear => Vec::new(),
        Base::Replaced(_) if statement.needs_literal => {
            return None;
        }
        Base::Full(document) if statement.needs_literal => {
            let gone = Statement {
                base: Base::Gone,
                ..unknown()
            };
            vec![
                ordinary(render(collection, forms, &[&gone], true)),
                ordinary(render(collection, forms, &[&full(document)], true)),
            ]
        }
        Base::Full(document) => vec![ordinary(render(
            collection,
            forms,
            &[&full(document)],
            true,
        ))],
        Base::Replaced(document) => {
            let replaced = Statement {
                base: Base::Replaced(document.clone()),
                ..unknown()
            };
            vec![ordinary(render(collection, forms, &[&replaced], true))]
        }
    };
    for delta in &statement.deltas {
        commands.push(Command {
            request: ops::one(collection, &statement.id, locate::raw(delta)),
            may_miss: true,
        });
    }
    Some(commands)
}
