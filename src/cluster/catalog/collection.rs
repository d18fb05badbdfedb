//! What a deployment holds, as the catalog gives it.
//!
//! Asks no server.

use std::fmt;

use bson::oid::ObjectId;
use bson::{RawDocumentBuf, Timestamp, Uuid};

use crate::error::{Error, Kind, Result};
use crate::scope::{BUCKETS, Scope};

/// A full name, `db.collection`. The collection part may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    pub db: String,
    pub coll: String,
}

impl Namespace {
    /// The run's name of what is `db.coll` on the side of this scope.
    ///
    /// # Errors
    /// `Refused` if that is the name of another.
    pub fn named(scope: &Scope, db: &str, coll: &str) -> Result<Namespace> {
        let named = scope.named(db, coll);
        named
            .map(|(db, coll)| Namespace { db, coll })
            .ok_or_else(|| taken(scope, db, coll))
    }

    /// The own name, on the side of this scope, of what the run calls so.
    pub fn own(&self, scope: &Scope) -> Namespace {
        let (db, coll) = scope.own(&self.db, &self.coll);
        Namespace { db, coll }
    }

    /// The time series whose buckets this is; None for any other collection.
    pub fn time_series(&self) -> Option<Namespace> {
        let coll = self.coll.strip_prefix(BUCKETS)?.to_owned();
        let db = self.db.clone();
        Some(Namespace { db, coll })
    }

    /// Where the buckets of a time series of this name are.
    pub fn buckets(&self) -> Namespace {
        let coll = format!("{BUCKETS}{}", self.coll);
        let db = self.db.clone();
        Namespace { db, coll }
    }

    /// The name that people use: of buckets that of their time series. No two collections
    /// share one.
    pub fn public(&self) -> Namespace {
        self.time_series().unwrap_or_else(|| self.clone())
    }
}

fn taken(scope: &Scope, db: &str, coll: &str) -> Error {
    let found = format!(
        "{db}.{coll} of the source has a name that another is to have on the target ({})",
        scope.renames()
    );
    Error::new(Kind::Refused, found).remedy(
        "leave it out by --exclude, give it another name by --rename, or rename it on the source; then start over with `shardlift migrate --restart` if the run was begun",
    )
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
    /// Zones each shard is in, as `Deployment::shards`.
    pub shard_zones: Vec<Vec<String>>,
}

/// A catalog, and what could not be named in it.
#[derive(Debug)]
pub struct Named {
    pub catalog: Catalog,
    /// Databases, collections and views whose names are not UTF-8, in words.
    pub unnamed: Vec<String>,
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
    /// The options that `listCollections` gives, without `uuid`; with `idIndex` if that
    /// is of an old version.
    pub options: RawDocumentBuf,
    /// Index of the database's primary shard.
    pub primary: usize,
    pub sharded: Option<Sharded>,
    /// The index that carries the shard key, as `listIndexes` gives it; None if
    /// unsharded, or if `_id` does.
    pub key_index: Option<RawDocumentBuf>,
}

/// Sharding metadata of one collection.
#[derive(Debug, Clone)]
pub struct Sharded {
    pub key: RawDocumentBuf,
    pub unique: bool,
    /// Sorted by `min`; they cover the whole key space.
    pub chunks: Vec<Chunk>,
    pub zones: Vec<Zone>,
    /// Version of the chunk map; None if an older release recorded it.
    pub version: Option<MapVersion>,
}

impl Sharded {
    /// Shard `shard` has chunks of it.
    pub fn is_on(&self, shard: usize) -> bool {
        self.chunks.iter().any(|chunk| chunk.shard == shard)
    }
}

/// The state of a chunk map in which its chunks were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapVersion {
    pub epoch: ObjectId,
    /// Major part of the newest chunk version.
    pub major: u32,
    /// Time at which the chunk that moved last arrived at its shard; None if a chunk does
    /// not say.
    pub moved_at: Option<Timestamp>,
}

/// Major part of all chunk versions of a map that was just made.
const MAJOR_AT_FIRST: u32 = 1;

impl MapVersion {
    /// Whether a chunk moved, or lost its jumbo flag, since the map was made.
    pub fn is_later_than_made(&self) -> bool {
        MAJOR_AT_FIRST < self.major
    }
}

#[derive(Debug, Clone)]
pub struct Chunk {
    pub min: RawDocumentBuf,
    pub max: RawDocumentBuf,
    /// Index into `Deployment::shards`.
    pub shard: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    pub min: RawDocumentBuf,
    pub max: RawDocumentBuf,
    pub name: String,
}

impl Catalog {
    /// Names of the catalog's databases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|database| database.name.as_str())
    }
}

impl Collection {
    /// Capped collections keep their natural order: one unit, one lane.
    pub fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }

    /// Stored in the order of `_id`, without an index on it.
    pub fn is_clustered(&self) -> bool {
        self.options
            .get("clusteredIndex")
            .is_ok_and(|index| index.is_some())
    }

    /// True if the collection has a collation of its own that is not `simple`.
    pub fn has_collation(&self) -> bool {
        self.options
            .get_document("collation")
            .is_ok_and(|c| c.get_str("locale").is_ok_and(|l| l != "simple"))
    }

    /// True if shard `shard` holds documents of this collection that count (R8).
    pub fn lives_on(&self, shard: usize) -> bool {
        match &self.sharded {
            Some(sharded) => sharded.is_on(shard),
            None => self.primary == shard,
        }
    }
}
