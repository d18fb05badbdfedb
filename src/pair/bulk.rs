//! Statements → write commands → the target, and what its answers mean.
//!
//! Every command is sent once. A connection that is lost while one is under way
//! ends the attempt: whether it took effect is not known, and sending it again on
//! another connection could let it run twice, late (R7).

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use futures_util::future::try_join_all;
use mongodb::Client;

use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::cluster::retry::within;
use crate::error::{Error, Kind, Result};
use crate::limits::COMMAND_BYTES_MAX;
use crate::pair::checkpoint::same_term;
use crate::pair::collection::Tracked;
use crate::pair::command::WriteCommand;
use crate::pair::compile::{Base, CollectionWrites, FlushLimits, Statement};
use crate::pair::delicate;
use crate::pair::render::render;

/// Writes to one target shard.
#[derive(Debug, Clone)]
pub struct Writer {
    pub client: Client,
    pub limits: FlushLimits,
    /// The target's term all writes must be acknowledged in (R7).
    pub term: i64,
    /// How long a command may stay unanswered.
    pub patience: Duration,
}

/// Unique values can pass from one document to another in another lane: the
/// write that takes the value is tried again until the one that frees it is in.
const REFUSED_RETRIES_MAX: u32 = 1200;
const REFUSED_DELAY: Duration = Duration::from_millis(25);

const CODE_DUPLICATE_KEY: i32 = 11000;

/// A statement the target refused: its index in the command, and why.
#[derive(Debug)]
pub(super) struct Refusal {
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
        let (delicate, statements): (Vec<_>, Vec<_>) = statements.iter().partition(|s| delicate::is(collection, s));
        for statement in delicate {
            self.write_delicate(collection, statement).await?;
        }
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
        let kind = |s: &Statement| (s.base == Base::Gone, delicate::is(collection, s));
        for run in statements.chunk_by(|a, b| kind(a) == kind(b)) {
            if run.first().is_some_and(|s| delicate::is(collection, s)) {
                for statement in run {
                    self.write_delicate(collection, statement).await?;
                }
                continue;
            }
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
        let command = render(collection, batch, ordered);
        let refused = self.run(collection, command).await?;
        Ok(refused.into_iter().map(|refusal| (batch[refusal.index], refusal)).collect())
    }

    /// Sends one write command. On a collection that is gone, every statement is
    /// refused by itself (code 361, seen on 6.0.5).
    pub(super) async fn run(&self, collection: &Tracked, command: RawDocumentBuf) -> Result<Vec<Refusal>> {
        let failed = |e: Error| e.context(format_args!("writing to {} on the target", collection.ns));
        refusals(&self.command(&collection.ns.db, command).await.map_err(failed)?)
    }

    /// One command, sent once. Its reply tells the term it was acknowledged in.
    ///
    /// # Errors
    /// `Transient` if the answer was lost, is late, or is of another term: the
    /// pair goes back to its last checkpoint.
    pub(super) async fn command(&self, database: &str, command: RawDocumentBuf) -> Result<Document> {
        let database = self.client.database(database);
        let sent = async { database.run_raw_command(command).await.map_err(Error::from) };
        let reply = within(self.patience, "the target", sent).await?;
        if let Ok(term) = reply.get_document("opTime").and_then(|time| time.get_i64("t")) {
            same_term(self.term, term)?;
        }
        Ok(reply)
    }

    /// Writes copied documents. Those already there are left alone: every op
    /// since the fence is replayed over them (R3).
    pub async fn copy(&self, collection: &Arc<Tracked>, documents: &[&[u8]]) -> Result<()> {
        for document in documents {
            collection.note_duplicate_names(locate::raw(document))?;
        }
        let (literal, plain): (Vec<&[u8]>, Vec<&[u8]>) =
            documents.iter().partition(|d| locate::needs_literal(locate::raw(d)));
        if collection.in_order() && !literal.is_empty() {
            return self.copy_one_by_one(collection, documents).await;
        }
        self.copy_plain(collection, &plain).await?;
        self.copy_one_by_one(collection, &literal).await
    }

    /// Removes every document of a collection that is to be copied again.
    pub async fn empty(&self, collection: &Tracked) -> Result<()> {
        let mut command = WriteCommand::new("delete", collection, "deletes", true, 64);
        command.delete_all();
        match self.run(collection, command.finish()).await?.first().filter(|_| !collection.is_dead()) {
            Some(refusal) => Err(refused_error(collection, refusal)),
            None => Ok(()),
        }
    }

    async fn copy_plain(&self, collection: &Arc<Tracked>, documents: &[&[u8]]) -> Result<()> {
        for batch in split_by_bytes(documents, self.limits) {
            let bytes = batch.iter().map(|d| d.len() + 16).sum();
            let mut command = WriteCommand::new("insert", collection, "documents", collection.in_order(), bytes);
            batch.iter().for_each(|document| command.insert(document));
            let refused = self.run(collection, command.finish()).await?;
            let there_already = |r: &Refusal| r.code == CODE_DUPLICATE_KEY && r.on_id;
            let again: Vec<&[u8]> = refused.iter().filter(|r| !there_already(r)).map(|r| batch[r.index]).collect();
            // A unique shard key exists from the start: its value may be on the
            // way from one document to another. One by one they are tried again.
            self.copy_one_by_one(collection, &again).await?;
        }
        Ok(())
    }

    async fn copy_one_by_one(&self, collection: &Arc<Tracked>, documents: &[&[u8]]) -> Result<()> {
        for document in documents {
            let id = locate::id_of(locate::raw(document)).ok_or_else(|| unreadable_id(collection))?;
            let statement = Statement::full(IdKey::new(id), (*document).into());
            let writes = CollectionWrites::one(collection.clone(), statement);
            self.write_collection(&writes).await?;
        }
        Ok(())
    }

    /// Writes one statement that a pipeline update could abort the server with.
    async fn write_delicate(&self, collection: &Tracked, statement: &Statement) -> Result<()> {
        for command in delicate::commands(collection, statement)? {
            let may_miss = command.may_miss;
            match self.command(command.database(collection), command.body.clone()).await {
                Ok(reply) => {
                    if let Some(refusal) = refusals(&reply)?.first().filter(|_| !collection.is_dead()) {
                        return Err(refused_error(collection, refusal));
                    }
                }
                Err(e) if may_miss && e.kind == Kind::Server && !self.is_there(collection, &statement.id).await? => {}
                Err(e) => return Err(e.context(format_args!("writing to {} on the target", collection.ns))),
            }
        }
        Ok(())
    }

    async fn is_there(&self, collection: &Tracked, id: &IdKey) -> Result<bool> {
        let mut filter = RawDocumentBuf::new();
        filter.append(bson::cstr!("_id"), id.value.clone());
        let documents = self.client.database(&collection.ns.db).collection::<RawDocumentBuf>(&collection.ns.coll);
        Ok(documents.find_one(Document::try_from(filter)?).await?.is_some())
    }
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

fn unreadable_id(collection: &Tracked) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("{} holds a document whose `_id` is a string that is not UTF-8", collection.ns),
    )
    .remedy("this release cannot name such a document: repair it on the source and begin anew")
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
