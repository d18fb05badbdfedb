//! Where the documents of a collection are, as a router remembers it: its chunks, or the
//! database's primary shard; and the versions by which a shard tells that this is outdated.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::{Bson, Document, Timestamp, doc, oid::ObjectId};

use crate::mongos::metadata::{Database, Sharded};
use crate::mongos::older;
use crate::mongos::reply::Failure;
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::value::{hash, order};

#[derive(Debug)]
pub(in crate::mongos) struct Map {
    /// The database's primary shard.
    pub(super) primary: Place,
    database_version: Document,
    /// Versions that only 5.0 has are three-part.
    with_timestamp: bool,
    pub(super) chunks: Option<Chunks>,
}

/// Of a sharded collection.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Fields of the shard key, and whether each is hashed.
    pub(super) pattern: Vec<(String, bool)>,
    /// A collation of its own: text in a query may then match other text.
    pub(super) has_collation: bool,
    /// Lower bounds in ascending order, each with its owner.
    bounds: Vec<(Vec<Bson>, usize)>,
    /// Each with the version of its newest chunk, as commands carry it.
    owners: Vec<(Place, Bson)>,
}

impl Map {
    /// Whoever has documents of the collection.
    pub(super) fn owners(&self) -> Vec<Place> {
        match &self.chunks {
            Some(chunks) => chunks
                .owners
                .iter()
                .map(|(place, _)| place.clone())
                .collect(),
            None => vec![self.primary.clone()],
        }
    }

    /// The owner of a shard key as documents have it, not hashed yet.
    ///
    /// # Errors
    /// For a value that cannot be hashed.
    pub(super) fn owner(&self, key: &[Bson]) -> Result<Place, Failure> {
        match &self.chunks {
            Some(chunks) => chunks.owner(key),
            None => Ok(self.primary.clone()),
        }
    }

    /// What a command to `place` carries, so that it is refused where this map is wrong.
    pub(super) fn versions(&self, place: &Place) -> Document {
        let Some(chunks) = &self.chunks else {
            let unsharded = version(
                Timestamp {
                    time: 0,
                    increment: 0,
                },
                ObjectId::from_bytes([0; 12]),
                self.with_timestamp.then_some(Timestamp {
                    time: 0,
                    increment: 0,
                }),
            );
            return doc! { "shardVersion": unsharded, "databaseVersion": self.database_version.clone() };
        };
        let known = chunks.owners.iter().find(|(owner, _)| owner == place);
        match known {
            Some((_, version)) => doc! { "shardVersion": version.clone() },
            None => Document::new(),
        }
    }
}

impl Chunks {
    fn owner(&self, key: &[Bson]) -> Result<Place, Failure> {
        let mut key = key.to_vec();
        for (value, (name, _)) in key
            .iter_mut()
            .zip(&self.pattern)
            .filter(|(_, (_, hashed))| *hashed)
        {
            let hash = hash::hashed(value);
            let hash =
                hash.ok_or_else(|| Failure::bad_value(format!("cannot hash {name}: {value}")))?;
            *value = Bson::Int64(hash);
        }
        let is_at_or_below = |min: &Vec<Bson>| order::compare_all(min, &key) != Ordering::Greater;
        let after = self.bounds.partition_point(|(min, _)| is_at_or_below(min));
        let (_, owner) = self.bounds[after.saturating_sub(1)];
        Ok(self.owners[owner].0.clone())
    }
}

fn version(newest: Timestamp, epoch: ObjectId, timestamp: Option<Timestamp>) -> Bson {
    let mut parts = vec![Bson::Timestamp(newest), Bson::ObjectId(epoch)];
    parts.extend(timestamp.map(Bson::Timestamp));
    Bson::Array(parts)
}

impl Session {
    /// As remembered, else as the config server says it; None if there is no such
    /// database.
    pub(super) async fn map(&mut self, db: &str, coll: &str) -> Result<Option<Arc<Map>>, Failure> {
        let ns = format!("{db}.{coll}");
        if let Some(map) = self.shared.map(&ns) {
            return Ok(Some(map));
        }
        let Some(database) = self.database(db).await? else {
            return Ok(None);
        };
        let map = Arc::new(self.read_map(database, db, coll).await?);
        self.shared.keep_map(ns, map.clone());
        Ok(Some(map))
    }

    async fn read_map(&mut self, database: Database, db: &str, coll: &str) -> Result<Map, Failure> {
        let chunks = match self.sharded(db, coll).await? {
            Some(sharded) => Some(self.read_chunks(&sharded).await?),
            None => None,
        };
        Ok(Map {
            primary: database.primary,
            database_version: database.version,
            with_timestamp: !self.shared.is_before(older::WIRE_5_0),
            chunks,
        })
    }

    async fn read_chunks(&mut self, sharded: &Sharded) -> Result<Chunks, Failure> {
        let mut owners: Vec<(Place, Timestamp)> = Vec::new();
        let mut bounds = Vec::new();
        for chunk in self.chunks(sharded, doc! {}).await? {
            let newest = chunk
                .row
                .get_timestamp("lastmod")
                .map_err(Failure::internal)?;
            let place = Place::Shard(chunk.shard);
            let owner = match owners.iter().position(|(known, _)| *known == place) {
                Some(owner) => owner,
                None => {
                    owners.push((place, newest));
                    owners.len() - 1
                }
            };
            owners[owner].1 = owners[owner].1.max(newest);
            bounds.push((
                chunk.min.into_iter().map(|(_, value)| value).collect(),
                owner,
            ));
        }
        if bounds.is_empty() {
            return Err(Failure::internal(format!("{} has no chunk", sharded.ns)));
        }
        let pattern = sharded.key.iter();
        Ok(Chunks {
            pattern: pattern
                .map(|(name, kind)| (name.clone(), kind.as_str() == Some("hashed")))
                .collect(),
            has_collation: sharded.has_collation,
            bounds,
            owners: owners
                .into_iter()
                .map(|(place, newest)| (place, version(newest, sharded.epoch, sharded.timestamp)))
                .collect(),
        })
    }
}
