//! Writes copied documents to the target. A document that is already there is left alone,
//! since every op since the fence is replayed over it (R3).
//!
//! Knows nothing about scans, or where documents come from.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bson::raw::cstr;
use bson::rawdoc;
use bytes::Bytes;

use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::cluster::dialect::WriteForms;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::until_answered;
use crate::pair::write::bulk::Writer;
use crate::pair::write::command::{Verb, WriteCommand};
use crate::pair::write::in_order::stays;
use crate::pair::write::remake;
use crate::pair::write::reply::Refusal;
use crate::pair::write::statement::{FlushLimits, Statement};
use crate::pair::write::target::writing_to;
use crate::position::Position;
use crate::wire::message::Request;

impl Writer {
    /// Writes copied documents, read at or after `fence`.
    pub async fn copy(
        &self,
        collection: &Arc<Tracked>,
        documents: &[&[u8]],
        fence: Position,
    ) -> Result<()> {
        let (mut plain, mut literal) = (Vec::with_capacity(documents.len()), Vec::new());
        let ns = collection.ns();
        for document in documents {
            let names = &collection.duplicate_names;
            let look = names.note(locate::raw(document), &ns)?;
            if look.needs_literal {
                literal.push(*document);
            } else {
                plain.push(*document);
            }
        }
        if collection.in_order() && !literal.is_empty() {
            return self.copy_one_by_one(collection, documents, fence).await;
        }
        self.copy_plain(collection, &plain, fence).await?;
        self.copy_one_by_one(collection, &literal, fence).await
    }

    /// Removes every document of a collection that is to be copied again.
    pub async fn empty(&self, collection: &Tracked) -> Result<()> {
        let forms = self.target.forms;
        if collection.traits.capped && !forms.capped_deletes {
            let Some(under_way) = collection.begin_write().await else {
                return Ok(());
            };
            let remade = until_answered(under_way, self.remake(collection)).await;
            return remade.map_err(|e| e.context(writing_to(collection)));
        }
        let delete_all = || {
            let mut command = WriteCommand::new(Verb::Delete, collection, forms, true, 64);
            command.delete_all();
            command.finish()
        };
        let refused = self.target.write(collection, delete_all).await?.refused;
        match refused.first() {
            Some(refusal) if !collection.is_dead() => {
                let (ns, why) = (collection.ns(), &refusal.message);
                let found = format!("{ns} could not be emptied on the target: {why}");
                let error = Error {
                    code: Some(refusal.code),
                    ..Error::new(Kind::Server, found)
                };
                Err(error.or_renamed())
            }
            _ => Ok(()),
        }
    }

    async fn remake(&self, collection: &Tracked) -> Result<()> {
        let (ns, uuid) = (&collection.ns(), collection.target_uuid());
        let listing = Request::new(&ns.db, remake::listing(ns, uuid));
        let listed = self.target.command(listing).await?;
        for mut step in remake::remaking(ns, uuid, listed.body())? {
            step.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
            self.target.command(Request::new("admin", step)).await?;
            failpoint::hit("capped-remade");
        }
        Ok(())
    }

    /// Of which none needs a literal, or has a name twice.
    pub(in crate::pair) async fn copy_plain(
        &self,
        collection: &Arc<Tracked>,
        documents: &[&[u8]],
        fence: Position,
    ) -> Result<()> {
        // Only natural order is worth one document after the other.
        let ordered = collection.traits.capped;
        for mut batch in split_by_bytes(documents, self.limits) {
            while !batch.is_empty() && !collection.is_dead() && !collection.capped.is_given_up() {
                let command = || insert(collection, self.target.forms, batch, ordered);
                let refused = self.target.write(collection, command).await?.refused;
                for refusal in &refused {
                    let id = || id_key(collection, batch[refusal.index]);
                    if is_there(refusal) && stays(collection, self.target.forms) {
                        // Its `_id` came twice in one scan.
                        self.give_up(collection, &Statement::unknown(id()?, fence));
                    } else if !is_there(refusal) {
                        self.doubt(collection, &id()?, fence, refusal)?;
                    }
                }
                let tried = match refused.last() {
                    // Ordered: nothing after the refused one was tried.
                    Some(refusal) if ordered => refusal.index + 1,
                    _ => batch.len(),
                };
                batch = &batch[tried..];
            }
        }
        Ok(())
    }

    async fn copy_one_by_one(
        &self,
        collection: &Arc<Tracked>,
        documents: &[&[u8]],
        fence: Position,
    ) -> Result<()> {
        // None is there; and ops that come then are others.
        collection.capped.inserts_make.store(true, Relaxed);
        for document in documents {
            let id = id_key(collection, document)?;
            let document = Bytes::copy_from_slice(document);
            self.write_one(collection, Statement::full(id, document, fence))
                .await?;
        }
        collection.capped.inserts_make.store(false, Relaxed);
        Ok(())
    }
}

fn insert(collection: &Tracked, forms: WriteForms, batch: &[&[u8]], ordered: bool) -> Request {
    let bytes = batch.iter().map(|document| document.len() + 16).sum();
    let mut command = WriteCommand::new(Verb::Insert, collection, forms, ordered, bytes);
    for document in batch {
        command.insert(document);
    }
    command.finish()
}

/// A document with its `_id`, which is left alone.
fn is_there(refusal: &Refusal) -> bool {
    refusal.code == codes::DUPLICATE_KEY && refusal.on_id
}

/// Splits documents into what fits one insert each.
pub(in crate::pair) fn split_by_bytes<'a, 'd>(
    documents: &'a [&'d [u8]],
    limits: FlushLimits,
) -> Vec<&'a [&'d [u8]]> {
    limits.split(documents, |document| (1, document.len() + 16))
}

fn id_key(collection: &Tracked, document: &[u8]) -> Result<IdKey> {
    locate::id_of(locate::raw(document))
        .map(IdKey::new)
        .ok_or_else(|| without_id(collection))
}

pub(in crate::pair) fn without_id(collection: &Tracked) -> Error {
    Error::new(
        Kind::Server,
        format!("a document of {} came without `_id`", collection.ns()),
    )
}
