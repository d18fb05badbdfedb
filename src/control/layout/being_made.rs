//! Collections that a command is making: until it is done they look unsharded.
//!
//! From before its `create` entry until the metadata of the new collection is committed the
//! command holds a critical section, which the shard lists. (The list of DDL itself is a
//! system collection, which no built-in role may read.) A drop holds none, a rename one of both
//! names. Up to 4.4 every DDL of a router locks the name, and most lock its database, on the
//! config servers, drops too. A rename makes nothing: what it is on is listed as it is.

use std::collections::HashSet;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::Client;

use crate::cluster::catalog::{CollectionKind, Namespace, versions};
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::retry::answered;
use crate::control::layout::listing::Listing;
use crate::error::Result;

/// State of a lock on the config servers that somebody holds.
const LOCKED: i32 = 2;

/// Whether a command that makes this name is under way on the source shard.
pub async fn is_made(source: &Deployment, shard: usize, ns: &Namespace) -> Result<bool> {
    let ns = ns.own(&source.scope);
    let names = [ns.db.clone(), ns.to_string()];
    let named = doc! { "_id": { "$in": &names[..] } };
    Ok(match source.topology {
        Topology::ReplicaSet => false,
        Topology::Sharded if source.dialect.catalog.ddl_by_locks => {
            !locked(source, named).await?.is_empty()
        }
        Topology::Sharded => {
            let named = doc! { "_id": ns.to_string() };
            !sections(&source.shards[shard].client, named)
                .await?
                .is_empty()
        }
    })
}

/// Collections that this listing has as unsharded and that were being sharded when they were
/// listed: they still are, or are sharded by now.
pub async fn looks_unsharded(source: &Deployment, listing: &Listing) -> Result<Vec<String>> {
    if source.topology == Topology::ReplicaSet {
        return Ok(Vec::new());
    }
    let made = all(source).await?;
    // IMPORTANT: last. What is no longer being made is committed by now.
    let sharded = versions::read(source).await?.collections;
    let unsharded = listing
        .catalog
        .collections
        .iter()
        .chain(&listing.left_out)
        .filter(|c| c.kind == CollectionKind::Plain && c.sharded.is_none());
    let found = unsharded.filter_map(|c| {
        let name = listing.name_of(c).own(&source.scope).to_string();
        let committed = c.uuid.is_some_and(|uuid| sharded.contains_key(&uuid));
        (committed || made.contains(&name)).then_some(name)
    });
    Ok(found.collect())
}

/// The names of all that is being made.
async fn all(source: &Deployment) -> Result<HashSet<String>> {
    if source.dialect.catalog.ddl_by_locks {
        return locked(source, doc! {}).await;
    }
    let shards = source.shards.iter();
    let found = try_join_all(shards.map(|shard| sections(&shard.client, doc! {}))).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Collections of the run that the source is renaming. Those of one that is sharded are listed
/// from before the first of its shards renames it until the last one has.
pub async fn renaming(source: &Deployment) -> Result<HashSet<String>> {
    let is_told = source.topology == Topology::Sharded && !source.dialect.catalog.ddl_by_locks;
    let shards = source.shards.iter().filter(|_| is_told);
    let which = doc! { "reason.command": "rename" };
    let found =
        shards.map(|shard| ids(&shard.client, "collection_critical_sections", which.clone()));
    let found = try_join_all(found).await?.into_iter().flatten();
    let counts = |ns: &String| {
        let named = ns.split_once('.');
        named.is_none_or(|(db, coll)| source.scope.has(db, coll))
    };
    Ok(found.filter(counts).collect())
}

async fn locked(source: &Deployment, mut which: Document) -> Result<HashSet<String>> {
    which.insert("state", LOCKED);
    which.insert("why", doc! { "$ne": "renameCollection" });
    ids(&source.entry, "locks", which).await
}

async fn sections(shard: &Client, mut which: Document) -> Result<HashSet<String>> {
    which.insert("reason.command", doc! { "$ne": "rename" });
    ids(shard, "collection_critical_sections", which).await
}

async fn ids(client: &Client, signs: &str, which: Document) -> Result<HashSet<String>> {
    let signs = client.database("config").collection::<Document>(signs);
    let found = async {
        let found = signs.find(which).projection(doc! { "_id": 1 }).await?;
        Ok(found.try_collect::<Vec<_>>().await?)
    };
    let found = answered("the server", found).await?;
    let id = |row: &Document| row.get_str("_id").ok().map(str::to_owned);
    Ok(found.iter().filter_map(id).collect())
}
