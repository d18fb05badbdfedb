//! Versions of chunk maps and databases. By these a change is noticed without reading the
//! chunks, even if the map looks the same again.
//!
//! On 6.0.5 moving a chunk raises the major part of the newest chunk version, and so does
//! clearing a chunk's jumbo flag. Splitting, merging and `collMod` raise the minor part.
//! A new map begins with major part 1, however many chunks it has and wherever they are.
//! Refining the shard key and renaming give another epoch; sharding again, and
//! resharding, give another UUID. Moving a primary raises the database's `lastMod`.

use std::collections::HashMap;

use bson::oid::ObjectId;
use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, Uuid, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;

use super::sharding::{
    self, Owner, ShardedRow, find, find_fields, namespace_in, shard_index, uuid_of,
};
use super::while_it_changes;
use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::retry::answered;
use crate::error::{Error, Result};

/// Metadata of the config server, without chunks.
#[derive(Debug, Default)]
pub struct Versions {
    /// By the side's own names: the run may know several databases by one.
    pub databases: HashMap<String, Home>,
    /// Sharded collections.
    pub collections: HashMap<Uuid, Row>,
}

/// The primary of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Index into `Deployment::shards`.
    pub primary: usize,
    /// Changes when the database is dropped and made again.
    pub incarnation: Option<Uuid>,
    /// Number of times that its primary was set.
    pub moves: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The run's name.
    pub ns: Namespace,
    pub epoch: ObjectId,
    pub major: u32,
}

/// Reads the versions of everything in the scope. A collection that is only partly
/// there, being made or dropped, is left out.
pub async fn read(deployment: &Deployment) -> Result<Versions> {
    let mut versions = Versions::default();
    for row in find(deployment, "databases", doc! {}, doc! {"_id": 1}).await? {
        let name = row.get_str("_id")?;
        if deployment.scope.may_have_in(name) {
            let home = home(deployment, &row)?;
            versions.databases.insert(name.to_owned(), home);
        }
    }
    let fields = doc! {"uuid": 1, "lastmodEpoch": 1};
    let alive = doc! {"dropped": {"$ne": true}};
    let rows = find_fields(deployment, "collections", fields, alive, doc! {"_id": 1}).await?;
    let majors = majors(deployment, doc! {}).await?;
    for row in rows {
        let (name, uuid) = (row.get_str("_id")?, uuid_of(&row, "uuid")?);
        if let (Some(ns), Some(major)) = (
            namespace_in(deployment, name)?,
            major_of(&majors, uuid, name),
        ) {
            versions.collections.insert(
                uuid,
                Row {
                    ns,
                    epoch: row.get_object_id("lastmodEpoch")?,
                    major,
                },
            );
        }
    }
    Ok(versions)
}

/// Whether a sharded collection has this UUID, whatever its name.
pub async fn has(deployment: &Deployment, uuid: Uuid) -> Result<bool> {
    let (fields, is_it) = (
        doc! {"_id": 1},
        doc! {"uuid": uuid, "dropped": {"$ne": true}},
    );
    let rows = find_fields(deployment, "collections", fields, is_it, doc! {"_id": 1});
    Ok(!rows.await?.is_empty())
}

fn home(deployment: &Deployment, row: &RawDocument) -> Result<Home> {
    let primary = shard_index(deployment, row.get_str("primary")?)?;
    // Absent up to 4.0.
    let version = row.get_document("version").ok();
    let incarnation = version.and_then(|version| uuid_of(version, "uuid").ok());
    let moves = version.and_then(|v| {
        v.get_i32("lastMod")
            .map(i64::from)
            .or_else(|_| v.get_i64("lastMod"))
            .ok()
    });
    Ok(Home {
        primary,
        incarnation,
        moves: moves.unwrap_or(0),
    })
}

/// Major part of the newest chunk version of each collection, of the chunks that match
/// `filter`: one look into an index per collection.
pub(super) async fn majors(
    deployment: &Deployment,
    filter: Document,
) -> Result<HashMap<Owner, u32>> {
    let by = sharding::owner_field(deployment);
    let pipeline = [
        doc! {"$match": filter},
        doc! {"$sort": {by: -1, "lastmod": -1}},
        doc! {"$group": {"_id": format!("${by}"), "lastmod": {"$first": "$lastmod"}}},
    ];
    let chunks = deployment
        .entry
        .database("config")
        .collection::<Document>("chunks");
    let newest = async {
        let cursor = chunks
            .aggregate(pipeline)
            .read_concern(ReadConcern::majority())
            .await?;
        Ok(cursor
            .with_type::<RawDocumentBuf>()
            .try_collect::<Vec<_>>()
            .await?)
    };
    let newest = answered("the router", newest).await.map_err(|e: Error| {
        e.context(format_args!(
            "reading versions in config.chunks of the {}",
            deployment.side
        ))
    })?;
    newest
        .iter()
        .map(|row| {
            Ok((
                Owner::of(row, "_id", "_id")?,
                row.get_timestamp("lastmod")?.time,
            ))
        })
        .collect()
}

pub(super) fn major_of(majors: &HashMap<Owner, u32>, uuid: Uuid, name: &str) -> Option<u32> {
    majors
        .get(&Owner::Uuid(uuid))
        .or_else(|| majors.get(&Owner::Name(name.to_owned())))
        .copied()
}

/// Sharded collections (or the one named `only`), without asking the shards.
///
/// # Errors
/// `Transient` if chunks keep changing while they are read.
pub async fn sharded(deployment: &Deployment, only: Option<&Namespace>) -> Result<Vec<ShardedRow>> {
    while_it_changes(|| sharded_rows(deployment, only)).await
}

pub(super) async fn sharded_rows(
    deployment: &Deployment,
    only: Option<&Namespace>,
) -> Result<Vec<ShardedRow>> {
    match deployment.topology {
        Topology::Sharded => sharding::collections(deployment, only).await,
        Topology::ReplicaSet => Ok(Vec::new()),
    }
}

/// Facts from the chunks of one collection.
#[derive(Debug, Default)]
pub(super) struct Newest {
    pub(super) major: u32,
    moved_at: Option<Timestamp>,
    /// A chunk did not say when it arrived at its shard.
    is_untold: bool,
}

impl Newest {
    pub(super) fn saw(&mut self, chunk: &RawDocument) -> Result<()> {
        self.major = self.major.max(chunk.get_timestamp("lastmod")?.time);
        // The newest first; splits and merges keep the newest of their pieces.
        let history = chunk
            .get_array("history")
            .ok()
            .and_then(|history| history.into_iter().next()?.ok());
        let newest =
            history.and_then(|newest| newest.as_document()?.get_timestamp("validAfter").ok());
        self.is_untold |= newest.is_none();
        self.moved_at = self.moved_at.max(newest);
        Ok(())
    }

    pub(super) fn moved_at(&self) -> Option<Timestamp> {
        self.moved_at.filter(|_| !self.is_untold)
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawArrayBuf, rawdoc};

    use super::*;

    #[test]
    fn the_newest_version_and_move_of_all_chunks_count() {
        let ts = |time, increment| Timestamp { time, increment };
        let chunk = |lastmod, moves: &[Timestamp]| {
            let history = moves
                .iter()
                .map(|at| rawdoc! {"validAfter": *at, "shard": "a"});
            rawdoc! {"lastmod": lastmod, "history": RawArrayBuf::from_iter(history)}
        };
        let newest = |chunks: &[RawDocumentBuf]| {
            let mut newest = Newest::default();
            chunks.iter().for_each(|chunk| newest.saw(chunk).unwrap());
            (newest.major, newest.moved_at())
        };
        let (stayed, came) = (
            chunk(ts(2, 1), &[ts(100, 7)]),
            chunk(ts(3, 0), &[ts(105, 1), ts(103, 9), ts(100, 7)]),
        );
        assert_eq!(
            newest(&[stayed.clone(), came.clone()]),
            (3, Some(ts(105, 1)))
        );
        assert_eq!(newest(&[came, stayed]), (3, Some(ts(105, 1))));
        assert_eq!(
            newest(&[chunk(ts(3, 0), &[ts(105, 1)]), chunk(ts(1, 0), &[])]),
            (3, None)
        );
    }
}
