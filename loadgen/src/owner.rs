//! Which shard owns a document: a collection's chunk map, read once.
//!
//! Knows nothing about collations: shard keys have none.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bson::{Bson, Document, doc};

use crate::{
    entry::Entry,
    error::{Error, Result},
    value::{hash, order},
};

/// Owners of a collection's documents, as positions in `Entry::shards`.
#[derive(Debug, Clone)]
pub struct OwnerMap {
    /// Lower bounds in ascending order, each with its owner.
    bounds: Vec<(Vec<Bson>, usize)>,
    /// Those of the shard key, in order; none of an unsharded collection.
    fields: Vec<String>,
    /// Of each field of the shard key.
    hashed: Vec<bool>,
}

impl OwnerMap {
    /// Reads who owns what of `database.name` now: the chunks of a sharded
    /// collection, else the database's primary shard.
    pub async fn read(entry: &Entry, database: &str, name: &str) -> Result<Self> {
        if !entry.router {
            return Ok(OwnerMap::whole(0));
        }
        let ns = format!("{database}.{name}");
        let collections = entry
            .config_rows("collections", doc! {"_id": &ns, "dropped": {"$ne": true}})
            .await?;
        match collections.first() {
            Some(row) => OwnerMap::sharded(entry, &ns, row).await,
            None => OwnerMap::unsharded(entry, database).await,
        }
    }

    fn whole(shard: usize) -> Self {
        OwnerMap {
            bounds: vec![(vec![Bson::MinKey], shard)],
            fields: Vec::new(),
            hashed: Vec::new(),
        }
    }

    async fn unsharded(entry: &Entry, database: &str) -> Result<Self> {
        let rows = entry
            .config_rows("databases", doc! {"_id": database})
            .await?;
        let primary = rows.first().and_then(|row| row.get_str("primary").ok());
        let primary = primary
            .ok_or_else(|| Error::new(format!("database {database} has no primary shard")))?;
        Ok(OwnerMap::whole(entry.shard_index(primary)?))
    }

    async fn sharded(entry: &Entry, ns: &str, row: &Document) -> Result<Self> {
        let pattern = row.get_document("key").cloned().unwrap_or_default();
        let fields = pattern.keys().cloned().collect();
        let hashed = pattern
            .values()
            .map(|kind| kind.as_str() == Some("hashed"))
            .collect();
        let mut bounds = Vec::new();
        for chunk in entry.config_rows("chunks", chunk_filter(ns, row)).await? {
            let min = chunk.get_document("min").cloned().unwrap_or_default();
            bounds.push((
                min.values().cloned().collect::<Vec<_>>(),
                entry.shard_index(chunk.get_str("shard").unwrap_or_default())?,
            ));
        }
        bounds.sort_by(|(a, _), (b, _)| order::compare_all(a, b));
        if bounds.is_empty() {
            return Err(Error::new(format!(
                "{ns} is sharded, but config.chunks has no chunk of it"
            )));
        }
        Ok(OwnerMap {
            bounds,
            fields,
            hashed,
        })
    }

    /// All that own something.
    pub fn shards(&self) -> BTreeSet<usize> {
        self.bounds.iter().map(|(_, shard)| *shard).collect()
    }

    /// Values of a document's shard key, whose fields are at its top; one that is not there
    /// is null.
    pub fn key_of(&self, document: &Document) -> Vec<Bson> {
        let value = |field| document.get(field).cloned().unwrap_or(Bson::Null);
        self.fields.iter().map(value).collect()
    }

    /// The shard that owns the shard key `values` (empty for an unsharded collection).
    ///
    /// # Errors
    /// `Usage` for a value that cannot be hashed.
    pub fn owner(&self, values: &[Bson]) -> Result<usize> {
        if let [(_, only)] = self.bounds[..] {
            return Ok(only);
        }
        let mut keys = values.to_vec();
        for (key, _) in keys
            .iter_mut()
            .zip(&self.hashed)
            .filter(|(_, hashed)| **hashed)
        {
            let hash = hash::hashed(key).ok_or_else(|| {
                Error::new(format!("a shard key value that cannot be hashed: {key}"))
            })?;
            *key = Bson::Int64(hash);
        }
        let is_at_or_below = |min: &Vec<Bson>| order::compare_all(min, &keys) != Ordering::Greater;
        let after = self.bounds.partition_point(|(min, _)| is_at_or_below(min));
        Ok(self.bounds[after.saturating_sub(1)].1)
    }
}

/// Finds a collection's chunks: by UUID since 5.0, before by namespace.
pub fn chunk_filter(ns: &str, row: &Document) -> Document {
    match row.get("uuid") {
        Some(uuid) => doc! {"$or": [{"uuid": uuid}, {"ns": ns}]},
        None => doc! {"ns": ns},
    }
}
