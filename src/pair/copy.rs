//! Copied documents → the target: what is there already is left alone, for every op
//! since the fence is replayed over it (R3).
//!
//! Knows nothing about scans, or where documents come from.

use std::sync::Arc;

use bytes::Bytes;

use crate::bson::identity::IdKey;
use crate::bson::locate;
use crate::error::{Error, Kind, Result};
use crate::pair::bulk::{Writer, without_id};
use crate::pair::collection::Tracked;
use crate::pair::command::{Verb, WriteCommand};
use crate::pair::position::Position;
use crate::pair::reply::CODE_DUPLICATE_KEY;
use crate::pair::statement::{FlushLimits, Statement};

impl Writer {
    /// Writes copied documents, read at or after `fence`.
    pub async fn copy(
        &self,
        collection: &Arc<Tracked>,
        documents: &[&[u8]],
        fence: Position,
    ) -> Result<()> {
        let (mut plain, mut literal) = (Vec::with_capacity(documents.len()), Vec::new());
        for document in documents {
            let look = collection
                .duplicate_names
                .note(locate::raw(document), &collection.ns)?;
            if look.needs_literal {
                literal.push(*document)
            } else {
                plain.push(*document)
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
        let delete_all = || {
            let mut command = WriteCommand::new(Verb::Delete, collection, true, 64);
            command.delete_all();
            command.finish()
        };
        match self
            .run(collection, delete_all)
            .await?
            .refused
            .first()
            .filter(|_| !collection.is_dead())
        {
            Some(refusal) => Err(Error::new(
                Kind::Server,
                format!(
                    "{} could not be emptied on the target: {}",
                    collection.ns, refusal.message
                ),
            )),
            None => Ok(()),
        }
    }

    async fn copy_plain(
        &self,
        collection: &Arc<Tracked>,
        documents: &[&[u8]],
        fence: Position,
    ) -> Result<()> {
        // Only natural order is worth one document after the other.
        let ordered = collection.traits.capped;
        for mut batch in split_by_bytes(documents, self.limits) {
            while !batch.is_empty() && !collection.is_dead() {
                let insert = || {
                    let bytes = batch.iter().map(|d| d.len() + 16).sum();
                    let mut command = WriteCommand::new(Verb::Insert, collection, ordered, bytes);
                    batch.iter().for_each(|document| command.insert(document));
                    command.finish()
                };
                let refused = self.run(collection, insert).await?.refused;
                for refusal in refused
                    .iter()
                    .filter(|r| r.code != CODE_DUPLICATE_KEY || !r.on_id)
                {
                    self.doubt(
                        collection,
                        &id_key(collection, batch[refusal.index])?,
                        fence,
                        refusal,
                    )?;
                }
                // Ordered: nothing after the refused one was tried.
                let tried = refused
                    .last()
                    .filter(|_| ordered)
                    .map_or(batch.len(), |refusal| refusal.index + 1);
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
        for document in documents {
            self.write_one(
                collection,
                Statement::full(
                    id_key(collection, document)?,
                    Bytes::copy_from_slice(document),
                    fence,
                ),
            )
            .await?;
        }
        Ok(())
    }
}

/// Splits documents into what fits one insert each.
pub(super) fn split_by_bytes<'a, 'd>(
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
