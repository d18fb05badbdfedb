//! What a deployment holds: databases, collections, their options, indexes and
//! sharding metadata. System databases (`admin`, `config`, `local`) and
//! shardlift's own `__shardlift` are left out.

use std::fmt;

use bson::{RawDocumentBuf, Uuid};

use crate::cluster::connect::{Deployment, Shard};
use crate::error::Result;

/// A full name, `db.collection`. The collection part may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    pub db: String,
    pub coll: String,
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}

#[derive(Debug, Clone)]
pub struct Catalog {
    pub databases: Vec<Database>,
    pub collections: Vec<Collection>,
}

#[derive(Debug, Clone)]
pub struct Database {
    pub name: String,
    /// Index into `Deployment::shards` of its primary shard.
    pub primary: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionKind {
    Plain,
    View,
    TimeSeries,
}

#[derive(Debug, Clone)]
pub struct Collection {
    pub ns: Namespace,
    pub kind: CollectionKind,
    /// None for views.
    pub uuid: Option<Uuid>,
    /// As `listCollections` gives them, without `uuid`.
    pub options: RawDocumentBuf,
    /// Index of the database's primary shard.
    pub primary: usize,
    pub sharded: Option<Sharded>,
}

/// Sharding metadata of one collection.
#[derive(Debug, Clone)]
pub struct Sharded {
    pub key: RawDocumentBuf,
    pub unique: bool,
    /// Sorted by `min`; they cover the whole key space.
    pub chunks: Vec<Chunk>,
    pub zones: Vec<Zone>,
}

#[derive(Debug, Clone)]
pub struct Chunk {
    pub min: RawDocumentBuf,
    pub max: RawDocumentBuf,
    /// Index into `Deployment::shards`.
    pub shard: usize,
}

#[derive(Debug, Clone)]
pub struct Zone {
    pub min: RawDocumentBuf,
    pub max: RawDocumentBuf,
    pub name: String,
}

impl Collection {
    /// Capped collections keep their natural order: one unit, one lane.
    pub fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }

    /// True if the collection has a collation of its own that is not `simple`.
    pub fn has_collation(&self) -> bool {
        self.options.get_document("collation").is_ok_and(|c| c.get_str("locale").is_ok_and(|l| l != "simple"))
    }

    /// True if shard `shard` holds documents of this collection that count (R8).
    pub fn lives_on(&self, shard: usize) -> bool {
        match &self.sharded {
            Some(s) => s.chunks.iter().any(|c| c.shard == shard),
            None => self.primary == shard,
        }
    }
}

/// Reads the whole catalog of a deployment.
pub async fn read(_deployment: &Deployment) -> Result<Catalog> {
    Err(crate::error::Error::internal("not yet"))
}

/// Reads one collection by name, as a pair needs it for DDL on the fly. None if
/// it is not there (any more).
pub async fn read_one(_deployment: &Deployment, _ns: &Namespace) -> Result<Option<Collection>> {
    Err(crate::error::Error::internal("not yet"))
}

/// Index specifications (`listIndexes`, without `ns`) of a collection on one
/// shard, addressed by name; empty if the collection is not there.
pub async fn indexes(_shard: &Shard, _ns: &Namespace) -> Result<Vec<RawDocumentBuf>> {
    Err(crate::error::Error::internal("not yet"))
}

/// UUID of a collection as one shard knows it (`listCollections` there).
pub async fn local_uuid(_shard: &Shard, _ns: &Namespace) -> Result<Option<Uuid>> {
    Err(crate::error::Error::internal("not yet"))
}
