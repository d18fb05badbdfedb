//! Statements → write commands → the target, and what its answers mean.
//!
//! Every command is sent once. A connection that is lost while one is under way
//! stops the pair: whether it took effect is not known, and sending it again on
//! another connection could let it run twice, late (R7).

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use futures_util::future::try_join_all;
use mongodb::Client;

use crate::bson::locate;
use crate::error::{Error, Kind, Result};
use crate::limits::COMMAND_BYTES_MAX;
use crate::pair::collection::Tracked;
use crate::pair::command::{RawWriter, STATEMENT_OVERHEAD_BYTES, WriteCommand};
use crate::pair::compile::{Base, CollectionWrites, FlushLimits, Statement};

/// Writes to one target shard.
#[derive(Debug, Clone)]
pub struct Writer {
    pub client: Client,
    pub limits: FlushLimits,
}

/// Unique values can pass from one document to another in another lane: the
/// write that takes the value is tried again until the one that frees it is in.
const REFUSED_RETRIES_MAX: u32 = 200;
const REFUSED_DELAY: Duration = Duration::from_millis(25);

/// The server's codes this file decides on.
const CODE_DUPLICATE_KEY: i32 = 11000;
const CODE_NAMESPACE_NOT_FOUND: i32 = 26;
const CODE_COLLECTION_UUID_MISMATCH: i32 = 361;

/// A statement the target refused: its index in the command, and why.
#[derive(Debug)]
struct Refusal {
    index: usize,
    code: i32,
    message: String,
    /// The unique index is `_id_`.
    on_id: bool,
}

impl Writer {
    /// Sends one flush, its commands side by side as the client's connections
    /// allow; returns how many statements it took when all are acknowledged.
    pub async fn flush(&self, writes: &[CollectionWrites]) -> Result<u64> {
        let sent: Vec<_> = writes.iter().map(|w| self.write_collection(w)).collect();
        Ok(try_join_all(sent).await?.into_iter().sum())
    }

    async fn write_collection(&self, writes: &CollectionWrites) -> Result<u64> {
        let in_order = writes.collection.in_order();
        let mut pending: Vec<&Statement> = writes.statements.iter().collect();
        for attempt in 0..REFUSED_RETRIES_MAX {
            let refused = match in_order {
                true => self.send_in_order(&writes.collection, &pending).await?,
                false => self.send_unordered(&writes.collection, &pending).await?,
            };
            let Some((_, first)) = refused.first() else { return Ok(writes.statements.len() as u64) };
            if writes.collection.is_dead() {
                return Ok(0);
            }
            if first.code != CODE_DUPLICATE_KEY || attempt + 1 == REFUSED_RETRIES_MAX {
                return Err(refused_error(&writes.collection, first));
            }
            pending = refused.into_iter().map(|(statement, _)| statement).collect();
            tokio::time::sleep(REFUSED_DELAY).await;
        }
        Ok(writes.statements.len() as u64)
    }

    /// One statement per document: deletes and updates side by side.
    async fn send_unordered<'a>(
        &self,
        collection: &Tracked,
        statements: &[&'a Statement],
    ) -> Result<Vec<(&'a Statement, Refusal)>> {
        let (deletes, updates): (Vec<_>, Vec<_>) = statements.iter().partition(|s| s.base == Base::Gone);
        let batches = self.batches(&updates).into_iter().chain(self.batches(&deletes)).collect::<Vec<_>>();
        let sent: Vec<_> = batches.iter().map(|batch| self.send(collection, batch, false)).collect();
        Ok(try_join_all(sent).await?.into_iter().flatten().collect())
    }

    /// Runs of updates and of deletes, one after the other.
    async fn send_in_order<'a>(
        &self,
        collection: &Tracked,
        statements: &[&'a Statement],
    ) -> Result<Vec<(&'a Statement, Refusal)>> {
        for run in statements.chunk_by(|a, b| (a.base == Base::Gone) == (b.base == Base::Gone)) {
            for batch in self.batches(run) {
                let refused = self.send(collection, &batch, true).await?;
                if let Some((first, refusal)) = refused.into_iter().next() {
                    // Ordered: nothing after the refused one was tried.
                    let from = statements.iter().position(|s| std::ptr::eq(*s, first)).unwrap_or(0);
                    let code = refusal.code;
                    let rest = statements[from + 1..].iter();
                    let rest = rest.map(|s| (*s, Refusal { index: 0, code, message: String::new(), on_id: false }));
                    return Ok(std::iter::once((first, refusal)).chain(rest).collect());
                }
            }
        }
        Ok(Vec::new())
    }

    /// Splits statements into what fits one command each.
    fn batches<'a>(&self, statements: &[&'a Statement]) -> Vec<Vec<&'a Statement>> {
        let mut batches: Vec<Vec<&Statement>> = Vec::new();
        let mut bytes = usize::MAX;
        for statement in statements {
            let weight = statement.weight();
            let full = batches.last().is_none_or(|b| b.len() >= self.limits.ops_max);
            if full || bytes.saturating_add(weight) > COMMAND_BYTES_MAX {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += weight;
            batches.last_mut().expect("pushed above").push(statement);
        }
        batches
    }

    async fn send<'a>(
        &self,
        collection: &Tracked,
        batch: &[&'a Statement],
        ordered: bool,
    ) -> Result<Vec<(&'a Statement, Refusal)>> {
        let command = build(collection, batch, ordered);
        let refused = self.run(collection, command, batch.len()).await?;
        Ok(refused.into_iter().map(|refusal| (batch[refusal.index], refusal)).collect())
    }

    /// Sends one write command. A collection that is gone refuses everything.
    async fn run(&self, collection: &Tracked, command: RawDocumentBuf, count: usize) -> Result<Vec<Refusal>> {
        let database = self.client.database(&collection.ns.db);
        match database.run_raw_command(command).await {
            Ok(reply) => refusals(&reply),
            Err(e) => {
                let e = Error::from(e);
                let gone = matches!(e.code, Some(CODE_NAMESPACE_NOT_FOUND | CODE_COLLECTION_UUID_MISMATCH));
                if gone && collection.is_dead() {
                    let refusal =
                        |index| Refusal { index, code: e.code.unwrap_or(0), message: e.message.clone(), on_id: false };
                    return Ok((0..count).map(refusal).collect());
                }
                Err(e.context(format_args!("writing to {} on the target", collection.ns)))
            }
        }
    }

    /// Writes copied documents. Those already there are left alone: every op
    /// since the fence is replayed over them (R3).
    pub async fn copy(&self, collection: &Arc<Tracked>, documents: &[&[u8]]) -> Result<()> {
        let in_order = collection.in_order();
        let (literal, plain): (Vec<&[u8]>, Vec<&[u8]>) = documents.iter().partition(|d| locate::needs_literal(raw(d)));
        if in_order && !literal.is_empty() {
            return self.copy_one_by_one(collection, documents).await;
        }
        self.copy_plain(collection, &plain, in_order).await?;
        self.copy_one_by_one(collection, &literal).await
    }

    async fn copy_plain(&self, collection: &Tracked, documents: &[&[u8]], ordered: bool) -> Result<()> {
        for batch in split_by_bytes(documents, self.limits) {
            let bytes = batch.iter().map(|d| d.len() + 16).sum();
            let uuid = collection.target_uuid();
            let mut command = WriteCommand::new("insert", &collection.ns.coll, "documents", uuid, ordered, bytes);
            batch.iter().for_each(|document| command.insert(document));
            let refused = self.run(collection, command.finish(), batch.len()).await?;
            self.check_copied(collection, &refused)?;
        }
        Ok(())
    }

    async fn copy_one_by_one(&self, collection: &Tracked, documents: &[&[u8]]) -> Result<()> {
        for document in documents {
            let Some(id) = locate::id_of(raw(document)) else { continue };
            let id = crate::bson::identity::IdKey::new(id);
            let statement = Statement { id, base: Base::Full((*document).into()), deltas: Vec::new() };
            let refused = self.run(collection, build(collection, &[&statement], true), 1).await?;
            self.check_copied(collection, &refused)?;
        }
        Ok(())
    }

    fn check_copied(&self, collection: &Tracked, refused: &[Refusal]) -> Result<()> {
        let there_already = |r: &&Refusal| r.code == CODE_DUPLICATE_KEY && r.on_id;
        match refused.iter().find(|r| !there_already(r)) {
            Some(refusal) if !collection.is_dead() => Err(refused_error(collection, refusal)),
            _ => Ok(()),
        }
    }
}

fn raw(document: &[u8]) -> &bson::RawDocument {
    bson::RawDocument::from_bytes(document).expect("a document that came in a server's batch")
}

/// Splits documents into what fits one insert each.
fn split_by_bytes<'a, 'd>(documents: &'a [&'d [u8]], limits: FlushLimits) -> Vec<&'a [&'d [u8]]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, document) in documents.iter().enumerate() {
        let weight = document.len() + 16;
        let full = i - start >= limits.ops_max || bytes + weight > limits.bytes_max.min(COMMAND_BYTES_MAX);
        if full && start < i {
            batches.push(&documents[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += weight;
    }
    if start < documents.len() {
        batches.push(&documents[start..]);
    }
    batches
}

impl Statement {
    fn weight(&self) -> usize {
        let base = match &self.base {
            Base::Full(document) | Base::Replaced(document) => document.len(),
            Base::Unknown | Base::Gone => 0,
        };
        let deltas: usize = self.deltas.iter().map(|d| d.len() + STATEMENT_OVERHEAD_BYTES).sum();
        base + deltas + STATEMENT_OVERHEAD_BYTES
    }
}

/// One command of deletes only, or of anything but deletes.
fn build(collection: &Tracked, batch: &[&Statement], ordered: bool) -> RawDocumentBuf {
    let bytes = batch.iter().map(|s| s.weight()).sum();
    let (uuid, coll) = (collection.target_uuid(), &collection.ns.coll);
    let deletes = batch.first().is_some_and(|s| s.base == Base::Gone);
    let (verb, array) = if deletes { ("delete", "deletes") } else { ("update", "updates") };
    let mut command = WriteCommand::new(verb, coll, array, uuid, ordered, bytes);
    for statement in batch {
        match deletes {
            true => command.delete(&statement.id.value),
            false => write_update(&mut command, statement),
        }
    }
    command.finish()
}

fn write_update(command: &mut WriteCommand, statement: &Statement) {
    let upsert = matches!(statement.base, Base::Full(_));
    let writer = command.begin_update(&statement.id.value, upsert);
    match &statement.base {
        Base::Full(document) | Base::Replaced(document) => {
            let plain = statement.deltas.is_empty() && !locate::needs_literal(raw(document));
            if plain {
                writer.document("u", document)
            } else {
                write_pipeline(writer, Some(document), &statement.deltas)
            }
        }
        Base::Unknown | Base::Gone => write_pipeline(writer, None, &statement.deltas),
    }
    writer.end();
}

/// The base as a literal, then each delta with the oplog's own semantics (R3).
fn write_pipeline(writer: &mut RawWriter, base: Option<&[u8]>, deltas: &[Box<[u8]>]) {
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

fn refusals(reply: &Document) -> Result<Vec<Refusal>> {
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let message = concern.get_str("errmsg").unwrap_or("no text");
        return Err(Error::new(Kind::Server, format!("the target could not acknowledge a write: {message}")));
    }
    let Ok(errors) = reply.get_array("writeErrors") else { return Ok(Vec::new()) };
    let refusal = |error: &bson::Bson| {
        let error = error.as_document()?;
        Some(Refusal {
            index: error.get_i32("index").ok()? as usize,
            code: error.get_i32("code").ok()?,
            message: error.get_str("errmsg").unwrap_or_default().to_owned(),
            on_id: error.get_document("keyPattern").is_ok_and(|k| k.keys().eq(["_id"])),
        })
    };
    let all: Option<Vec<_>> = errors.iter().map(refusal).collect();
    all.ok_or_else(|| Error::new(Kind::Server, "the target's reply holds a write error of unknown form"))
}

fn refused_error(collection: &Tracked, refusal: &Refusal) -> Error {
    let message =
        format!("the target refused a write to {}: {} (code {})", collection.ns, refusal.message, refusal.code);
    let error = Error { code: Some(refusal.code), ..Error::new(Kind::Server, message) };
    error.remedy("read the server's text; this release stops here, nothing is lost on the source: begin anew with an empty target")
}
