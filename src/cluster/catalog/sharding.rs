//! Sharding metadata as the config server keeps it, read through the router
//! with majority read concern: shard keys, chunks, zones.
//!
//! Chunks are keyed by the collection's UUID since 5.0, by its name before.

use std::collections::{HashMap, HashSet};

use bson::{
    Binary, Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, Uuid, doc, spec::BinarySubtype,
};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;

use crate::bson::order;
use crate::cluster::catalog::versions::{self, Newest};
use crate::cluster::catalog::{Chunk, MapVersion, Namespace, Sharded, Zone, listing, torn};
use crate::cluster::deployment::Deployment;
use crate::cluster::retry::answered;
use crate::codes;
use crate::error::{Error, Kind, Result};

/// As many rows per reply as fit, since a cursor lives in one router.
const BATCH_ROWS: u32 = 1_000_000;

/// One row of `config.collections` with its chunks and zones.
#[derive(Debug)]
pub struct ShardedRow {
    /// The run's name.
    pub ns: Namespace,
    pub uuid: Uuid,
    pub sharded: Sharded,
}

/// Sharded collections (or the one named `only`). Each chunk map is of the one state that
/// its version tells.
pub(super) async fn collections(
    deployment: &Deployment,
    only: Option<&Namespace>,
) -> Result<Vec<ShardedRow>> {
    // Up to 4.4 a dropped collection leaves its row.
    let mut filter = doc! {"dropped": {"$ne": true}};
    let own = only.map(|ns| ns.own(&deployment.scope));
    let own = own.as_ref();
    if let Some(ns) = own {
        filter.insert("_id", ns.to_string());
    }
    let rows = find(deployment, "collections", filter, doc! {"_id": 1}).await?;
    let Some(of_rows) = chunks_of(deployment, own, &rows)? else {
        return Ok(Vec::new());
    };
    // IMPORTANT: before the chunks: one that moves while they are read has a newer version.
    let majors = versions::majors(deployment, of_rows.clone()).await?;
    let mut maps = maps(deployment, of_rows).await?;
    let mut zones = zones(deployment, own).await?;
    let mut found = Vec::new();
    for row in rows {
        let name = &listing::text("a sharded collection", &row, "_id")?;
        let Some(ns) = namespace_in(deployment, name)? else {
            continue;
        };
        // Nothing of the source may have the name `only`.
        if only.is_some_and(|only| *only != ns) {
            continue;
        }
        let uuid = uuid_of(&row, "uuid")?;
        let map = maps
            .remove(&Owner::Uuid(uuid))
            .or_else(|| maps.remove(&Owner::Name(name.to_owned())));
        let Map { chunks, newest } = map.unwrap_or_default();
        if versions::major_of(&majors, uuid, name) != Some(newest.major) {
            return Err(torn(format_args!("chunks of {ns} changed")));
        }
        let chunks = ordered(&ns, chunks)?;
        let epoch = row.get_object_id("lastmodEpoch")?;
        let version = Some(MapVersion {
            epoch,
            major: newest.major,
            moved_at: newest.moved_at(),
        });
        let zones = zones.remove(name).unwrap_or_default();
        let key = row.get_document("key")?.to_owned();
        let unique = row.get_bool("unique").unwrap_or(false);
        found.push(ShardedRow {
            ns,
            uuid,
            sharded: Sharded {
                key,
                unique,
                chunks,
                zones,
                version,
            },
        });
    }
    Ok(found)
}

/// Those of the full names `of` that are sharded collections.
pub(super) async fn among(deployment: &Deployment, of: &[String]) -> Result<HashSet<String>> {
    let filter = doc! {"_id": {"$in": of}, "dropped": {"$ne": true}};
    let rows = find(deployment, "collections", filter, doc! {"_id": 1}).await?;
    rows.iter()
        .map(|row| Ok(row.get_str("_id")?.to_owned()))
        .collect()
}

/// The run's name of what has this one in the config server's rows, if it is in the scope.
///
/// # Errors
/// `Refused` if that is the name of another.
pub fn namespace_in(deployment: &Deployment, name: &str) -> Result<Option<Namespace>> {
    let (db, coll) = name
        .split_once('.')
        .ok_or_else(|| torn(format_args!("{name} has no database")))?;
    let is_in = deployment.scope.has(db, coll);
    is_in
        .then(|| Namespace::named(&deployment.scope, db, coll))
        .transpose()
}

/// Zones each shard is in, as `Deployment::shards`.
pub(super) async fn shard_zones(deployment: &Deployment) -> Result<Vec<Vec<String>>> {
    let mut zones = vec![Vec::new(); deployment.shards.len()];
    for row in find(deployment, "shards", doc! {}, doc! {"_id": 1}).await? {
        let shard = shard_index(deployment, row.get_str("_id")?)?;
        if let Ok(tags) = row.get_array("tags") {
            zones[shard] = tags
                .into_iter()
                .flatten()
                .filter_map(|t| t.as_str().map(str::to_owned))
                .collect();
        }
    }
    Ok(zones)
}

/// The name or UUID by which a chunk refers to its collection.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Uuid(Uuid),
    Name(String),
}

impl Owner {
    /// From the fields of a row that may hold the name, or the UUID.
    pub(super) fn of(row: &RawDocument, name: &str, uuid: &str) -> Result<Self> {
        match row.get_str(name) {
            Ok(name) => Ok(Owner::Name(name.to_owned())),
            Err(_) => uuid_of(row, uuid).map(Owner::Uuid),
        }
    }
}

/// The chunks of one collection.
#[derive(Debug, Default)]
struct Map {
    chunks: Vec<Chunk>,
    newest: Newest,
}

/// The field by which a chunk refers to its collection. Chunks are indexed by it.
pub(super) fn owner_field(deployment: &Deployment) -> &'static str {
    if deployment.dialect.catalog.chunks_by_uuid {
        "uuid"
    } else {
        "ns"
    }
}

/// The filter for the chunks of `rows`; None if there are none. `only`: the own name.
fn chunks_of(
    deployment: &Deployment,
    only: Option<&Namespace>,
    rows: &[RawDocumentBuf],
) -> Result<Option<Document>> {
    let (Some(ns), Some(row)) = (only, rows.first()) else {
        return Ok(only.is_none().then(|| doc! {}));
    };
    let owner: Bson = if deployment.dialect.catalog.chunks_by_uuid {
        uuid_binary(uuid_of(row, "uuid")?).into()
    } else {
        ns.to_string().into()
    };
    let field = owner_field(deployment);
    Ok(Some(doc! {field: owner}))
}

async fn maps(deployment: &Deployment, filter: Document) -> Result<HashMap<Owner, Map>> {
    let mut maps: HashMap<Owner, Map> = HashMap::new();
    // By an index: there may be more than a server sorts in memory.
    let owner = owner_field(deployment);
    let sort = doc! {owner: 1, "min": 1};
    for row in find(deployment, "chunks", filter, sort).await? {
        let shard = shard_index(deployment, row.get_str("shard")?)?;
        let (min, max) = bounds(&row)?;
        let map = maps.entry(Owner::of(&row, "ns", "uuid")?).or_default();
        map.newest.saw(&row)?;
        map.chunks.push(Chunk { min, max, shard });
    }
    Ok(maps)
}

/// By their own names.
pub(super) async fn zones(
    deployment: &Deployment,
    only: Option<&Namespace>,
) -> Result<HashMap<String, Vec<Zone>>> {
    let filter = only.map_or(doc! {}, |ns| doc! {"ns": ns.to_string()});
    let mut zones: HashMap<String, Vec<Zone>> = HashMap::new();
    for row in find(deployment, "tags", filter, doc! {"ns": 1, "min": 1}).await? {
        let (min, max) = bounds(&row)?;
        let zone = Zone {
            min,
            max,
            name: row.get_str("tag")?.to_owned(),
        };
        zones
            .entry(row.get_str("ns")?.to_owned())
            .or_default()
            .push(zone);
    }
    Ok(zones)
}

/// Zone ranges of one name, the run's, whether there is such a collection or not.
pub async fn zones_of(deployment: &Deployment, ns: &Namespace) -> Result<Vec<Zone>> {
    let own = ns.own(&deployment.scope);
    let found = zones(deployment, Some(&own))
        .await?
        .remove(&own.to_string());
    Ok(found.unwrap_or_default())
}

/// All zone ranges there are, by the names that the deployment has.
pub async fn all_zones(deployment: &Deployment) -> Result<Vec<(Namespace, Zone)>> {
    let mut all = Vec::new();
    for (name, zones) in zones(deployment, None).await? {
        let (db, coll) = name
            .split_once('.')
            .ok_or_else(|| torn(format_args!("{name} has no database")))?;
        let ns = Namespace {
            db: db.to_owned(),
            coll: coll.to_owned(),
        };
        all.extend(zones.into_iter().map(|zone| (ns.clone(), zone)));
    }
    Ok(all)
}

pub(super) async fn find(
    deployment: &Deployment,
    name: &str,
    filter: Document,
    sort: Document,
) -> Result<Vec<RawDocumentBuf>> {
    find_fields(deployment, name, doc! {}, filter, sort).await
}

/// No `fields`: all.
pub(super) async fn find_fields(
    deployment: &Deployment,
    name: &str,
    fields: Document,
    filter: Document,
    sort: Document,
) -> Result<Vec<RawDocumentBuf>> {
    let rows = deployment
        .entry
        .database("config")
        .collection::<RawDocumentBuf>(name);
    let find = rows
        .find(filter)
        .projection(fields)
        .sort(sort)
        .batch_size(BATCH_ROWS)
        .read_concern(ReadConcern::majority());
    let read = async { Ok::<_, Error>(find.await?.try_collect().await?) };
    answered("the router", read).await.map_err(|e| {
        // Behind one address there may be several routers, and another one has no such
        // cursor: the catalog is read again.
        let kind = if e.code == Some(codes::CURSOR_NOT_FOUND) {
            Kind::Transient
        } else {
            e.kind
        };
        Error { kind, ..e }.context(format_args!(
            "reading config.{name} of the {}",
            deployment.side
        ))
    })
}

/// Chunks in key order; together they must cover the whole key space.
fn ordered(ns: &Namespace, mut chunks: Vec<Chunk>) -> Result<Vec<Chunk>> {
    chunks.sort_by(|a, b| order::compare_keys(&a.min, &b.min));
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
        return Err(torn(format_args!("{ns} had no chunks")));
    };
    let starts = values(&first.min).all(|v| matches!(v, RawBsonRef::MinKey));
    let ends = values(&last.max).all(|v| matches!(v, RawBsonRef::MaxKey));
    let touch = chunks.windows(2).all(|pair| pair[0].max == pair[1].min);
    if starts && ends && touch {
        Ok(chunks)
    } else {
        Err(torn(format_args!("chunks of {ns} changed")))
    }
}

fn values(key: &RawDocument) -> impl Iterator<Item = RawBsonRef<'_>> {
    key.iter().flatten().map(|(_, value)| value)
}

fn bounds(row: &RawDocument) -> Result<(RawDocumentBuf, RawDocumentBuf)> {
    Ok((
        row.get_document("min")?.to_owned(),
        row.get_document("max")?.to_owned(),
    ))
}

pub(super) fn uuid_of(row: &RawDocument, field: &str) -> Result<Uuid> {
    let bytes = row.get_binary(field)?.bytes;
    bytes
        .try_into()
        .map(Uuid::from_bytes)
        .map_err(|_| Error::new(Kind::Server, format!("{field} is not a UUID")))
}

fn uuid_binary(uuid: Uuid) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: uuid.bytes().to_vec(),
    }
}

pub(super) fn shard_index(deployment: &Deployment, id: &str) -> Result<usize> {
    deployment.shard_index(id).ok_or_else(|| {
        Error::new(
            Kind::Refused,
            format!(
                "shard {id} of the {} was added after shardlift connected",
                deployment.side
            ),
        )
        .remedy("shards are added after the cutover: if databases were made on it, drop them, remove it again (`removeShard`), and run the same command; if chunks moved to it, start over with all of them: `shardlift migrate --restart`")
    })
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn chunk(min: impl Into<Bson>, max: impl Into<Bson>) -> Chunk {
        let key = |v: Bson| RawDocumentBuf::try_from(&doc! {"a": v}).unwrap();
        Chunk {
            min: key(min.into()),
            max: key(max.into()),
            shard: 0,
        }
    }

    #[test]
    fn chunks_must_cover_the_key_space() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let (min, max) = (Bson::MinKey, Bson::MaxKey);
        let rows = [
            (vec![chunk(min.clone(), max.clone())], true),
            (vec![chunk(min.clone(), 5), chunk(5, max.clone())], true),
            (vec![chunk(min.clone(), 5), chunk(6, max.clone())], false),
            (vec![chunk(min, 5)], false),
            (vec![chunk(5, max)], false),
            (vec![], false),
        ];
        for (chunks, expect) in rows {
            let text = format!("{chunks:?}");
            assert_eq!(ordered(&ns, chunks).is_ok(), expect, "{text}");
        }
        assert_eq!(values(&rawdoc! {"a": 1, "b": 2}).count(), 2);
    }
}
