//! Chunk maps that are too large for the documents of their collections. The parts are
//! stored before the collection that names them, under a name that is never used again.
//! So a named map is complete, and an unnamed one counts for nothing (`forget`).

use std::collections::HashMap;

use bson::oid::ObjectId;
use bson::{RawBson, RawDocumentBuf, Uuid, rawdoc};

use super::{CHUNKS, PairStore};
use crate::cluster::catalog::{Chunk, Namespace};
use crate::error::Result;
use crate::state::CollectionState;
use crate::state::database::statement;
use crate::state::documents::{self, MapParts};

/// Where the maps are that are apart, by the collection's UUID.
pub(super) type Maps = HashMap<Uuid, MapParts>;

impl PairStore {
    /// Stores the maps of these collections that are to be apart.
    pub(super) async fn save_maps(&self, collections: &[CollectionState]) -> Result<Maps> {
        let mut maps = Maps::new();
        for collection in collections {
            let chunks = collection
                .sharded
                .as_ref()
                .map(|sharded| &sharded.chunks[..]);
            let Some(parts) = chunks.and_then(documents::in_parts) else {
                continue;
            };
            let apart = MapParts {
                set: ObjectId::new(),
                count: parts.len(),
            };
            let statements = parts.into_iter().enumerate().map(|(part, chunks)| {
                let key = rawdoc! {"_id": documents::part_id(apart.set, part)};
                Ok(statement(
                    key,
                    rawdoc! {"$set": documents::part_fields(&self.run, chunks)},
                    true,
                ))
            });
            self.database.update_all(CHUNKS, statements).await?;
            maps.insert(collection.uuid, apart);
        }
        Ok(maps)
    }

    /// Collections as they are stored, with their maps.
    ///
    /// # Errors
    /// `Unsupported` if a part of one is not there.
    pub(super) async fn with_maps(
        &self,
        stored: &[RawDocumentBuf],
    ) -> Result<Vec<CollectionState>> {
        let mut collections = Vec::new();
        for raw in stored {
            let mut collection = documents::collection(raw)?;
            if let (Some(sharded), Some(apart)) = (&mut collection.sharded, documents::apart(raw)?)
            {
                sharded.chunks = self.map(&collection.ns, apart).await?;
            }
            collections.push(collection);
        }
        Ok(collections)
    }

    async fn map(&self, ns: &Namespace, apart: MapParts) -> Result<Vec<Chunk>> {
        let found = self.database.find(CHUNKS, parts_of(apart.set)).await?;
        if found.len() != apart.count {
            return Err(documents::lacking(ns, found.len(), apart));
        }
        let mut chunks = Vec::new();
        for raw in &found {
            chunks.extend(documents::part(ns, raw)?);
        }
        Ok(chunks)
    }
}

/// All parts of a set, by the index on `_id`.
pub(super) fn parts_of(set: ObjectId) -> RawDocumentBuf {
    let bound = |part: RawBson| rawdoc! {"set": set, "part": part};
    rawdoc! {"_id": {"$gte": bound(RawBson::MinKey), "$lte": bound(RawBson::MaxKey)}}
}
