//! Collections as their shards list them, put together with their sharding.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::catalog::listing::Listed;
use crate::cluster::catalog::sharding::ShardedRow;
use crate::cluster::catalog::{
    Collection, Database, Namespace, READ_CONCURRENCY, index, indexes_of, named, torn,
};
use crate::cluster::deployment::Deployment;
use crate::error::Result;

/// The collections of one database, or some of them, as its primary shard lists them, put
/// together with their sharding.
pub(super) async fn collections_of(
    deployment: &Deployment,
    database: &Database,
    rows: Vec<ShardedRow>,
    listed: Vec<Listed>,
) -> Result<Vec<Collection>> {
    let mut by_name: HashMap<String, ShardedRow> =
        rows.into_iter().map(|r| (r.ns.coll.clone(), r)).collect();
    let mut found = Vec::new();
    for listed in listed {
        let row = by_name.get(&listed.name);
        if row.is_none_or(|row| row.sharded.is_on(database.primary)) {
            let row = by_name.remove(&listed.name);
            found.push((listed, row));
        }
    }
    let elsewhere: Vec<_> = stream::iter(by_name.into_values())
        .map(|row| listed_elsewhere(deployment, row))
        .buffered(READ_CONCURRENCY)
        .try_collect()
        .await?;
    found.extend(elsewhere);
    stream::iter(found)
        .map(|(listed, row)| assemble(deployment, database, listed, row))
        .buffered(READ_CONCURRENCY)
        .try_collect()
        .await
}

/// A sharded collection of which its database's primary shard has no chunk is described by a
/// shard that has: the primary may not know it, or not what `collMod` changed since.
async fn listed_elsewhere(
    deployment: &Deployment,
    row: ShardedRow,
) -> Result<(Listed, Option<ShardedRow>)> {
    let owner = &deployment.shards[row.sharded.chunks[0].shard];
    let listed = named::collections(owner, &row.ns.db, Some(&row.ns.coll)).await?;
    match listed.into_iter().next() {
        Some(listed) => Ok((listed, Some(row))),
        None => Err(torn(format_args!("{} vanished", row.ns))),
    }
}

async fn assemble(
    deployment: &Deployment,
    database: &Database,
    listed: Listed,
    row: Option<ShardedRow>,
) -> Result<Collection> {
    let ns = Namespace {
        db: database.name.clone(),
        coll: listed.name,
    };
    let mut key_index = None;
    if let Some(row) = &row {
        if listed.uuid != Some(row.uuid) {
            return Err(torn(format_args!("{ns} changed its UUID")));
        }
        let owner = &deployment.shards[row.sharded.chunks[0].shard];
        let listed = indexes_of(owner, &ns.own(&owner.scope).db, row.uuid).await?;
        let specs = listed.ok_or_else(|| torn(format_args!("{ns} vanished from {}", owner.id)))?;
        key_index = index::of_shard_key(&specs, &row.sharded.key);
    }
    Ok(Collection {
        ns,
        kind: listed.kind,
        uuid: listed.uuid,
        options: listed.options,
        primary: database.primary,
        sharded: row.map(|r| r.sharded),
        key_index,
    })
}
