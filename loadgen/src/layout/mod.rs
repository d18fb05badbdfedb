//! What a populated deployment holds: its collections, their key spaces and
//! documents. `populate` writes it, `load` works on it without reading it.
//!
//! Knows nothing about servers, except for the one document that remembers the
//! layout's numbers (`loadgen.layout`).

pub mod collections;
pub mod dice;
pub mod documents;
pub mod keys;

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::{
    entry::Entry,
    error::{Doing, Error, Result},
};
use keys::{Ids, Sharding};

/// All that a populated deployment holds is a function of these.
#[derive(Debug, Clone)]
pub struct Layout {
    pub seed: u64,
    /// Documents of all collections together.
    pub docs: u64,
    /// Whether the capped collection is among them.
    pub capped: bool,
    pub collections: Vec<CollectionSpec>,
}

/// One collection: where it lives and what its documents look like.
#[derive(Debug, Clone)]
pub struct CollectionSpec {
    pub database: &'static str,
    pub name: &'static str,
    pub ids: Ids,
    pub sharding: Sharding,
    /// Documents `0..count` are written by `populate`.
    pub count: u64,
    /// Options of the `create` command.
    pub options: Document,
    /// Specs of the secondary indexes.
    pub indexes: Vec<Document>,
}

impl Layout {
    pub fn new(seed: u64, docs: u64, capped: bool) -> Self {
        Layout {
            seed,
            docs,
            capped,
            collections: collections::all(docs, capped),
        }
    }

    /// The layout that `populate` left in the deployment.
    ///
    /// # Errors
    /// `Usage` where nothing was populated.
    pub async fn read(entry: &Entry) -> Result<Self> {
        let rows = entry
            .client
            .database("loadgen")
            .collection::<Document>("layout");
        let row = rows
            .find_one(doc! {"_id": "layout"})
            .await
            .doing(|| "reading loadgen.layout".into())?;
        let row = row.ok_or_else(|| Error::new("loadgen.layout is empty: run `populate` first"))?;
        let number = |name: &str| row.get_i64(name).unwrap_or_default() as u64;
        Ok(Layout::new(
            number("seed"),
            number("docs"),
            row.get_bool("capped").unwrap_or_default(),
        ))
    }

    /// Writes the one document that `read` looks for.
    pub async fn write(&self, entry: &Entry) -> Result<()> {
        let rows = entry
            .client
            .database("loadgen")
            .collection::<Document>("layout");
        let row = doc! {"_id": "layout", "seed": self.seed as i64, "docs": self.docs as i64, "capped": self.capped};
        rows.insert_one(row)
            .await
            .doing(|| "writing loadgen.layout".into())?;
        Ok(())
    }

    /// The collection of that namespace, such as `shop.orders`.
    pub fn collection(&self, ns: &str) -> Option<&CollectionSpec> {
        self.collections.iter().find(|spec| spec.ns() == ns)
    }
}

impl CollectionSpec {
    pub fn ns(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Tells the documents of one collection from those of another.
    pub fn salt(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.name.as_bytes())
    }

    pub fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or_default()
    }

    /// Whether it has a unique index beside that of `_id`.
    pub fn has_unique_index(&self) -> bool {
        let is_unique = |index: &Document| index.get_bool("unique").unwrap_or_default();
        self.indexes.iter().any(is_unique)
    }

    /// Shard key fields of document `n` other than `_id`.
    pub fn key_fields(&self, n: u64) -> Document {
        let fields = self
            .sharding
            .fields()
            .iter()
            .filter(|field| **field != "_id");
        fields
            .map(|field| (field.to_string(), keys::key_field(field, n)))
            .collect()
    }

    /// The whole shard key of document `n`, in the order of the pattern.
    pub fn shard_key(&self, n: u64) -> Vec<Bson> {
        let value = |field: &&str| match *field {
            "_id" => self.ids.id(n),
            field => keys::key_field(field, n),
        };
        self.sharding.fields().iter().map(value).collect()
    }

    /// Addresses document `n` alone, on one shard: `_id` and the shard key.
    pub fn filter(&self, n: u64) -> Document {
        let mut filter = doc! {"_id": self.ids.id(n)};
        filter.extend(self.key_fields(n));
        filter
    }

    pub fn document(&self, seed: u64, n: u64, version: u64) -> RawDocumentBuf {
        documents::document(self, seed, n, version)
    }
}
