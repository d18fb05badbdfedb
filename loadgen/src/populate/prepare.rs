//! Everything but documents: databases, collections with their options, chunks
//! on all shards, indexes and views, by the documented public commands.
//!
//! Chunks are placed while collections are empty: moving is cheap then, and no
//! document is ever written as part of a migration.

use bson::{Bson, Document, doc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    entry::{Entry, command_on},
    error::Result,
    layout::{CollectionSpec, Layout, collections, keys::Sharding},
};

/// Chunks per shard and range-sharded collection.
const CHUNKS_PER_SHARD: u64 = 2;
/// CommandNotFound (server source, `error_codes.yml`).
const COMMAND_NOT_FOUND: i32 = 59;
/// Collections created or indexed side by side.
const PARALLEL: usize = 4;

/// Makes every collection of the layout, empty.
pub(super) async fn prepare(entry: &Entry, layout: &Layout) -> Result<()> {
    if entry.router {
        quiet_balancer(entry).await?;
        place_databases(entry, layout).await?;
    }
    let specs = stream::iter(&layout.collections);
    let made = specs.map(|spec| create(entry, spec)).buffered(PARALLEL);
    made.try_collect::<()>().await?;
    if entry.router {
        for spec in &layout.collections {
            shard(entry, spec).await?;
        }
    }
    let indexed = stream::iter(&layout.collections)
        .map(|spec| index(entry, spec))
        .buffered(PARALLEL);
    indexed.try_collect().await
}

/// Populated content is placed by hand; a balancer would move it meanwhile.
async fn quiet_balancer(entry: &Entry) -> Result<()> {
    entry
        .admin(doc! {"balancerStop": 1, "maxTimeMS": 60_000})
        .await
        .map(drop)
}

/// Spreads the databases' primaries over the shards.
async fn place_databases(entry: &Entry, layout: &Layout) -> Result<()> {
    let mut databases: Vec<&str> = layout
        .collections
        .iter()
        .map(|spec| spec.database)
        .collect();
    databases.dedup();
    for (i, database) in databases.iter().enumerate() {
        let primary = &entry.shards[i % entry.shards.len()].id;
        entry
            .admin(doc! {"enableSharding": *database, "primaryShard": primary})
            .await?;
    }
    Ok(())
}

async fn create(entry: &Entry, spec: &CollectionSpec) -> Result<()> {
    let mut command = doc! {"create": spec.name};
    command.extend(spec.options.clone());
    command_on(&entry.client, spec.database, command)
        .await
        .map(drop)
}

async fn shard(entry: &Entry, spec: &CollectionSpec) -> Result<()> {
    let ns = spec.ns();
    let command = doc! {"shardCollection": &ns, "key": spec.sharding.pattern()};
    match spec.sharding {
        Sharding::Unsharded => Ok(()),
        // The server itself spreads the chunks of an empty hashed collection.
        Sharding::Hashed(_) => entry.admin(command).await.map(drop),
        Sharding::Range(_) => {
            entry.admin(command).await?;
            let points = spec
                .sharding
                .split_points(CHUNKS_PER_SHARD * entry.shards.len() as u64);
            place_chunks(entry, spec, points).await
        }
        Sharding::Zoned(_) => {
            let zoned = make_zones(entry, spec).await?;
            entry.admin(command).await?;
            let points = spec.sharding.split_points(entry.shards.len() as u64);
            if zoned {
                place_missing(entry, spec, points).await
            } else {
                place_chunks(entry, spec, points).await
            }
        }
    }
}

/// Splits at `points` and deals the chunks out to the shards in turn.
async fn place_chunks(entry: &Entry, spec: &CollectionSpec, points: Vec<Document>) -> Result<()> {
    for point in &points {
        entry
            .admin(doc! {"split": spec.ns(), "middle": point})
            .await?;
    }
    deal(entry, spec, &points).await
}

/// Zones made before sharding have split the collection already; where a chunk
/// is not on its zone's shard, moves it.
async fn place_missing(entry: &Entry, spec: &CollectionSpec, points: Vec<Document>) -> Result<()> {
    let ns = spec.ns();
    let rows = entry.config_rows("collections", doc! {"_id": &ns}).await?;
    let filter = crate::owner::chunk_filter(&ns, &rows.first().cloned().unwrap_or_default());
    let chunks = entry.config_rows("chunks", filter).await?;
    for point in &points {
        if !chunks
            .iter()
            .any(|chunk| chunk.get_document("min").ok() == Some(point))
        {
            entry.admin(doc! {"split": &ns, "middle": point}).await?;
        }
    }
    deal(entry, spec, &points).await
}

/// Chunk i goes to shard i modulo the number of shards. Moving a chunk to where
/// it is already is no error.
async fn deal(entry: &Entry, spec: &CollectionSpec, points: &[Document]) -> Result<()> {
    let end = |value: Bson| {
        spec.sharding
            .pattern()
            .keys()
            .map(|field| (field.clone(), value.clone()))
            .collect()
    };
    let bounds: Vec<Document> = [
        vec![end(Bson::MinKey)],
        points.to_vec(),
        vec![end(Bson::MaxKey)],
    ]
    .concat();
    let owners = crate::owner::OwnerMap::read(entry, spec.database, spec.name).await?;
    for (i, pair) in bounds.windows(2).enumerate() {
        let shard = i % entry.shards.len();
        let lower: Vec<Bson> = pair[0].values().cloned().collect();
        if owners.owner(&lower)? != shard {
            let to = &entry.shards[shard].id;
            entry
                .admin(doc! {"moveChunk": spec.ns(), "bounds": [&pair[0], &pair[1]], "to": to})
                .await?;
        }
    }
    Ok(())
}

/// One zone per shard, and its part of the key space. False where the router
/// has no such command.
async fn make_zones(entry: &Entry, spec: &CollectionSpec) -> Result<bool> {
    let Sharding::Zoned(fields) = spec.sharding else {
        return Ok(false);
    };
    let count = entry.shards.len();
    let points = spec.sharding.split_points(count as u64);
    for (i, shard) in entry.shards.iter().enumerate() {
        let zone = format!("zone{i}");
        let added = entry
            .admin(doc! {"addShardToZone": &shard.id, "zone": &zone})
            .await;
        if added
            .as_ref()
            .is_err_and(|error| error.code == Some(COMMAND_NOT_FOUND))
        {
            return Ok(false);
        }
        added?;
        let end = |value: Bson| {
            fields
                .iter()
                .map(|field| (field.to_string(), value.clone()))
                .collect::<Document>()
        };
        let min = if i == 0 {
            end(Bson::MinKey)
        } else {
            points[i - 1].clone()
        };
        let max = points.get(i).cloned().unwrap_or_else(|| end(Bson::MaxKey));
        entry
            .admin(doc! {"updateZoneKeyRange": spec.ns(), "min": min, "max": max, "zone": zone})
            .await?;
    }
    Ok(true)
}

async fn index(entry: &Entry, spec: &CollectionSpec) -> Result<()> {
    if spec.indexes.is_empty() {
        return Ok(());
    }
    let mut indexes = spec.indexes.clone();
    if !entry.abilities.hidden_indexes {
        indexes
            .iter_mut()
            .for_each(|index| _ = index.remove("hidden"));
    }
    let command = doc! {"createIndexes": spec.name, "indexes": indexes};
    command_on(&entry.client, spec.database, command)
        .await
        .map(drop)
}

/// Makes the views; after the documents, so that nothing can be written to them.
pub(super) async fn views(entry: &Entry) -> Result<()> {
    for (database, name, collection, stage) in collections::views() {
        let command = doc! {"create": name, "viewOn": collection, "pipeline": [stage]};
        command_on(&entry.client, database, command).await?;
    }
    Ok(())
}
