//! Statements → `applyOps`, in which a server applies what it would log itself: deltas
//! where there is no stage for them, and those of an older form. And the meaning of its
//! answer.
//!
//! | the op | the answer (4.2.6, 4.4.2, 5.0.4 and 6.0.5 alike, `tests/releases.rs`) |
//! |---|---|
//! | is applied | `true` in `results` |
//! | finds no document | `false`; goes on; at the end code 8 |
//! | is refused | `false`; nothing after it is tried; the refusal's own code |
//! | is of a collection that is gone | as refused, code 26; it is never made |
//!
//! The ops lie in the command itself, and each is a write of its own: it takes part in no
//! transaction. An `i` over a document replaces it. The answer has no term: the next
//! checkpoint's has (R7).

use bson::raw::cstr;
use bson::{Binary, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use crate::bson::element::{Element, document, elements_of, kind};
use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::cluster::dialect::WriteForms;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::until_answered;
use crate::pair::write::overlay::is_old;
use crate::pair::write::reply::{Refusal, Said};
use crate::pair::write::statement::{Base, Statement};
use crate::pair::write::target::{Target, writing_to};
use crate::wire::message::{Reply, Request};

/// The ops of a command, and of which statement each is.
struct Ops {
    array: RawArrayBuf,
    statements: Vec<usize>,
    /// Number of statements that they are all of.
    taken: usize,
}

/// Where a command ends, bytes: as ops a statement may be far more than its weight.
const OPS_BYTES: usize = 4 << 20;

/// What became of the ops of one command.
struct Outcome {
    /// Of each that was tried.
    applied: Vec<bool>,
    /// Of the last of these.
    refused: Option<Error>,
}

impl Target {
    /// Sends statements one after the other. Where one is refused the next ones follow,
    /// unless they are `ordered`.
    pub(in crate::pair) async fn apply(
        &self,
        collection: &Tracked,
        statements: &[&Statement],
        ordered: bool,
    ) -> Result<Said> {
        let Some(under_way) = collection.begin_write().await else {
            return Ok(Said::default());
        };
        let sent = self.apply_from(collection, statements, ordered);
        let applied = until_answered(under_way, sent).await;
        applied.map_err(|e| e.context(writing_to(collection)))
    }

    async fn apply_from(
        &self,
        collection: &Tracked,
        statements: &[&Statement],
        ordered: bool,
    ) -> Result<Said> {
        let (mut said, mut found, mut begin) = (Said::default(), 0, 0);
        while begin < statements.len() {
            let ops = Ops::of(collection, self.forms, &statements[begin..]);
            let sent = ops.statements.len();
            let outcome = self.outcome(ops.array, sent).await?;
            found += found_by(&ops.statements, &outcome.applied);
            let Some(error) = outcome.refused else {
                begin += ops.taken;
                continue;
            };
            let last = outcome.applied.len().saturating_sub(1);
            let index = begin + ops.statements[last];
            said.refused.push(Refusal {
                index,
                code: error.code.unwrap_or(0),
                message: error.message,
                on_id: false,
            });
            if ordered {
                break;
            }
            begin = index + 1;
        }
        said.found = Some(found);
        Ok(said)
    }

    async fn outcome(&self, ops: RawArrayBuf, sent: usize) -> Result<Outcome> {
        let reply = self.reply(request(ops)).await?;
        let fault = reply.fault();
        let passing = fault.as_ref().is_some_and(|e| e.kind == Kind::Transient);
        let results = applied(reply.body());
        match fault {
            // Nothing was tried, or the target is away.
            Some(fault) if passing || results.is_empty() => {
                self.direct.learn(&fault);
                Err(fault)
            }
            Some(fault) if fault.code != Some(codes::UNKNOWN_ERROR) || results.len() < sent => {
                Ok(Outcome {
                    applied: results,
                    refused: Some(fault),
                })
            }
            _ => Ok(Outcome {
                applied: results,
                refused: None,
            }),
        }
    }

    async fn reply(&self, request: Request) -> Result<Reply> {
        let answer = async {
            let mut lease = self.direct.primary().await?;
            lease.answer(request).await
        };
        let reply = self.answer(answer).await?;
        self.check_term(reply.body())?;
        Ok(reply)
    }
}

impl Ops {
    fn of(collection: &Tracked, forms: WriteForms, all: &[&Statement]) -> Self {
        let mut ops = Ops {
            array: RawArrayBuf::new(),
            statements: Vec::new(),
            taken: 0,
        };
        for (at, statement) in all.iter().enumerate() {
            if OPS_BYTES < ops.array.as_bytes().len() {
                break;
            }
            ops.taken = at + 1;
            let mut push = |kind: &str, o: &RawDocument| {
                ops.array.push(op(collection, &statement.id, kind, o));
                ops.statements.push(at);
            };
            match &statement.base {
                Base::Full(document) => push("i", locate::raw(document)),
                Base::Replaced(document) => push("u", locate::raw(document)),
                // The last two are not sent by `applyOps`.
                Base::Unknown | Base::Gone | Base::Unclear => {}
            }
            for delta in &statement.deltas {
                match one_by_one(delta).filter(|_| forms.numbers_in_order) {
                    Some(parts) => parts.iter().for_each(|part| push("u", part)),
                    None => push("u", locate::raw(delta)),
                }
            }
        }
        ops
    }
}

/// One delta by itself.
pub(in crate::pair) fn one(collection: &Tracked, id: &IdKey, delta: &RawDocument) -> Request {
    request(RawArrayBuf::from_iter([op(collection, id, "u", delta)]))
}

/// A delta of the old form, field by field, in the order in which 4.x would append them: of
/// what is in one update 5.0 would pick the order. None if that cannot differ.
fn one_by_one(delta: &[u8]) -> Option<Vec<RawDocumentBuf>> {
    const VERSION: Element<'_> = Element {
        kind: kind::INT32,
        name: b"$v",
        value: &[1, 0, 0, 0],
    };
    if !is_old(delta) {
        return None;
    }
    let set = elements_of(delta).find(|part| part.name == b"$set")?;
    let fields = elements_of(set.value);
    if fields.clone().count() < 2 || !fields.clone().any(|field| has_number(field.name)) {
        return None;
    }
    let mut parts = Vec::new();
    for part in elements_of(delta) {
        if part.name == b"$unset" {
            parts.push(document([VERSION, part]));
        }
    }
    for field in fields {
        let field = document([field]);
        let value = field.as_bytes();
        parts.push(document([VERSION, Element { value, ..set }]));
    }
    Some(parts)
}

fn has_number(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'.')
        .any(|name| name.first().is_some_and(u8::is_ascii_digit))
}

fn op(collection: &Tracked, id: &IdKey, kind: &str, o: &RawDocument) -> RawDocumentBuf {
    let mut op = rawdoc! {
        "op": kind, "ns": collection.ns().to_string(), "ui": Binary::from(collection.target_uuid()),
    };
    op.append(cstr!("o"), o.to_owned());
    if kind == "u" {
        op.append(cstr!("o2"), id.value().document());
    }
    op
}

fn request(ops: RawArrayBuf) -> Request {
    let command = rawdoc! {
        "applyOps": ops, "allowAtomic": false, "alwaysUpsert": false,
        "bypassDocumentValidation": true, "writeConcern": { "w": 1 },
    };
    Request::new("admin", command)
}

fn applied(reply: &RawDocument) -> Vec<bool> {
    let Ok(results) = reply.get_array("results") else {
        return Vec::new();
    };
    let is_true = |result: RawBsonRef<'_>| result.as_bool() == Some(true);
    results.into_iter().flatten().map(is_true).collect()
}

/// Statements of which an op found or made its document.
fn found_by(statements: &[usize], applied: &[bool]) -> u64 {
    let mut found: Vec<usize> = statements
        .iter()
        .zip(applied)
        .filter(|(_, applied)| **applied)
        .map(|(statement, _)| *statement)
        .collect();
    found.dedup();
    found.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_two_releases_may_order_otherwise_is_taken_apart() {
        let parts = |delta: RawDocumentBuf| one_by_one(delta.as_bytes());
        assert_eq!(parts(rawdoc! {"$v": 1, "$set": {"a.b": 1, "c": 2}}), None);
        assert_eq!(parts(rawdoc! {"$v": 1, "$set": {"a.1": 1}}), None);
        assert_eq!(
            parts(rawdoc! {"$v": 2, "diff": {"u": {"1": 1, "2": 2}}}),
            None
        );
        let delta = rawdoc! {"$v": 1, "$set": {"10": 1, "a.9": 2}, "$unset": {"b": true}};
        let expect = vec![
            rawdoc! {"$v": 1, "$unset": {"b": true}},
            rawdoc! {"$v": 1, "$set": {"10": 1}},
            rawdoc! {"$v": 1, "$set": {"a.9": 2}},
        ];
        assert_eq!(parts(delta), Some(expect));
    }

    #[test]
    fn a_statement_is_found_if_one_of_its_ops_was_applied() {
        let statements = [0, 0, 1, 2, 2, 3];
        let applied = [true, true, false, false, true];
        assert_eq!(found_by(&statements, &applied), 2);
    }
}
