//! What the config server knows of databases, collections and chunks, as the
//! commands of the stand-in need it. Nothing is remembered here.

use bson::{Bson, Document, Timestamp, doc, oid::ObjectId};

use crate::mongos::reply::Failure;
use crate::mongos::session::{Session, majority};
use crate::mongos::shared::Place;

/// How often a command is sent again when its metadata was outdated.
const STALE_TRIES_MAX: u32 = 10;
pub(super) const STALE_DB_VERSION: i32 = 249;
pub(super) const STALE_CONFIG: i32 = 13388;
/// Of a write, and of a collection that was made anew meanwhile.
const STALE_SHARD_VERSION: i32 = 63;
const STALE_EPOCH: i32 = 150;

pub(super) struct Database {
    pub(super) primary: Place,
    pub(super) version: Document,
}

/// A sharded collection.
pub(super) struct Sharded {
    pub(super) ns: String,
    pub(super) uuid: Bson,
    pub(super) key: Document,
    pub(super) epoch: ObjectId,
    /// Since 5.0.
    pub(super) timestamp: Option<Timestamp>,
    /// Of its own, and not the simple one.
    pub(super) has_collation: bool,
}

pub(super) struct Chunk {
    pub(super) min: Document,
    pub(super) max: Document,
    pub(super) shard: String,
    pub(super) row: Document,
}

impl Session {
    pub(super) async fn database(&mut self, name: &str) -> Result<Option<Database>, Failure> {
        if matches!(name, "admin" | "config") {
            return Ok(Some(Database {
                primary: Place::Config,
                version: Document::new(),
            }));
        }
        let rows = self
            .config_find("databases", doc! { "_id": name }, doc! {})
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Database {
            primary: Place::Shard(
                row.get_str("primary")
                    .map_err(Failure::internal)?
                    .to_owned(),
            ),
            version: row
                .get_document("version")
                .map_err(Failure::internal)?
                .clone(),
        }))
    }

    pub(super) async fn database_or_create(&mut self, name: &str) -> Result<Database, Failure> {
        if let Some(database) = self.database(name).await? {
            return Ok(database);
        }
        self.run_on_config(doc! { "_configsvrCreateDatabase": name })
            .await?;
        self.database(name)
            .await?
            .ok_or_else(|| Failure::internal(format!("database {name} was dropped at once")))
    }

    /// A sharded collection by its name; a time series by its view's name too.
    pub(super) async fn sharded(
        &mut self,
        db: &str,
        coll: &str,
    ) -> Result<Option<Sharded>, Failure> {
        let names = [
            format!("{db}.{coll}"),
            format!("{db}.system.buckets.{coll}"),
        ];
        let filter = doc! { "_id": { "$in": names.to_vec() }, "dropped": { "$ne": true } };
        let rows = self.config_find("collections", filter, doc! {}).await?;
        rows.first().map(Sharded::from_row).transpose()
    }

    /// # Errors
    /// NamespaceNotSharded.
    pub(super) async fn must_be_sharded(&mut self, ns: &str) -> Result<Sharded, Failure> {
        let (db, coll) = split_ns(ns)?;
        self.sharded(db, coll)
            .await?
            .ok_or_else(|| Failure::namespace_not_sharded(ns))
    }

    /// Chunks that match `filter`, by lower bound.
    pub(super) async fn chunks(
        &mut self,
        sharded: &Sharded,
        mut filter: Document,
    ) -> Result<Vec<Chunk>, Failure> {
        filter.extend(sharded.chunk_filter());
        let rows = self
            .config_find("chunks", filter, doc! { "min": 1 })
            .await?;
        rows.iter().map(Chunk::from_row).collect()
    }

    /// The shards that own chunks, or the database's primary shard where the
    /// collection is not sharded.
    pub(super) async fn owners(&mut self, db: &str, coll: &str) -> Result<Vec<Place>, Failure> {
        let Some(sharded) = self.sharded(db, coll).await? else {
            return Ok(self
                .database(db)
                .await?
                .map(|database| database.primary)
                .into_iter()
                .collect());
        };
        let pipeline = vec![
            doc! { "$match": sharded.chunk_filter() },
            doc! { "$group": { "_id": "$shard" } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let concern = doc! { "level": "majority" };
        let command = doc! { "aggregate": "chunks", "pipeline": pipeline, "cursor": {}, "readConcern": concern };
        let rows = self.read_all(&Place::Config, "config", command).await?;
        Ok(rows
            .iter()
            .filter_map(|row| Some(Place::Shard(row.get_str("_id").ok()?.to_owned())))
            .collect())
    }

    /// Runs an internal DDL command on the database's primary shard, with the
    /// database version it wants; anew if that was outdated.
    pub(super) async fn run_on_primary(
        &mut self,
        db: &str,
        on: &str,
        fields: Document,
    ) -> Result<Document, Failure> {
        let mut tries = 0;
        loop {
            let database = self.database(db).await?;
            let database = database.ok_or_else(|| Failure::namespace_not_found(db))?;
            let mut fields = fields.clone();
            fields.insert("databaseVersion", database.version);
            fields.insert("writeConcern", majority());
            tries += 1;
            match self.run(&database.primary, on, fields).await {
                Err(e) if is_stale(e.code()) && tries < STALE_TRIES_MAX => {}
                other => return other,
            }
        }
    }
}

pub(super) fn is_stale(code: i32) -> bool {
    matches!(
        code,
        STALE_DB_VERSION | STALE_CONFIG | STALE_SHARD_VERSION | STALE_EPOCH
    )
}

/// Database and collection of a full name.
pub(super) fn split_ns(ns: &str) -> Result<(&str, &str), Failure> {
    match ns.split_once('.') {
        Some((db, coll)) if !db.is_empty() && !coll.is_empty() => Ok((db, coll)),
        _ => Err(Failure::new(
            73,
            "InvalidNamespace",
            format!("{ns:?} is not a full collection name"),
        )),
    }
}

impl Sharded {
    fn from_row(row: &Document) -> Result<Self, Failure> {
        Ok(Sharded {
            ns: row.get_str("_id").map_err(Failure::internal)?.to_owned(),
            uuid: row
                .get("uuid")
                .cloned()
                .ok_or_else(|| Failure::internal("config.collections without uuid"))?,
            key: row.get_document("key").map_err(Failure::internal)?.clone(),
            epoch: row
                .get_object_id("lastmodEpoch")
                .map_err(Failure::internal)?,
            timestamp: row.get_timestamp("timestamp").ok(),
            has_collation: row
                .get_document("defaultCollation")
                .is_ok_and(|collation| !collation.is_empty()),
        })
    }

    /// Its chunks: by UUID since 5.0, which also brought the timestamp.
    pub(super) fn chunk_filter(&self) -> Document {
        match self.timestamp {
            Some(_) => doc! { "uuid": self.uuid.clone() },
            None => doc! { "ns": &self.ns },
        }
    }
}

impl Chunk {
    fn from_row(row: &Document) -> Result<Self, Failure> {
        Ok(Chunk {
            min: row.get_document("min").map_err(Failure::internal)?.clone(),
            max: row.get_document("max").map_err(Failure::internal)?.clone(),
            shard: row.get_str("shard").map_err(Failure::internal)?.to_owned(),
            row: row.clone(),
        })
    }
}
