//! The contents of a deployment: databases, collections, their options, indexes and
//! sharding metadata, as far as they are in the deployment's scope (`crate::scope`).
//!
//! Names and options come from the shard that owns the database (`listing`),
//! sharding from the config server (`sharding`); `assembled` puts them together.
//! Reads only.

mod assembled;
pub mod capped;
pub mod collection;
pub mod contents;
mod homes;
pub mod index;
pub mod left_behind;
pub(crate) mod listing;
mod named;
mod rewritten;
pub mod sharding;
pub mod versions;

pub use collection::{
    Catalog, Chunk, Collection, CollectionKind, Database, MapVersion, Named, Namespace, Sharded,
    Zone,
};
pub use listing::{indexes, indexes_and_builds_of, indexes_of, name_of, options_of};
pub use named::{called_now, local_names, local_uuids};
pub use sharding::{all_zones, zones_of};

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bson::{Uuid, doc, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::Client;

use crate::cluster::admin;
use crate::cluster::catalog::assembled::collections_of;
use crate::cluster::catalog::listing::Listed;
use crate::cluster::catalog::sharding::ShardedRow;
use crate::cluster::deployment::{Deployment, Shard, Topology};
use crate::cluster::retry::{a_few_times, answered};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// Expiry of an index or a clustered collection, in seconds; not part of a layout (R10).
pub(crate) const EXPIRY: &str = "expireAfterSeconds";
/// The older kind of pre-images. On 6.0.5 every `collMod` that does not name it switches it
/// off.
pub(crate) const PRE_IMAGES: &str = "recordPreImages";

/// How often a catalog is read again because it changed meanwhile, and the wait between.
const READ_ATTEMPTS_MAX: u32 = 10;
const READ_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Databases, or collections, looked at side by side.
const READ_CONCURRENCY: usize = 16;

/// Reads the whole catalog of a deployment.
///
/// # Errors
/// `Transient` if databases or collections keep changing while it is read.
pub async fn read(deployment: &Deployment) -> Result<Catalog> {
    while_it_changes(|| read_once(deployment, None)).await
}

/// Like `read`, but what has a name that is not UTF-8 is left out, and told.
pub async fn read_named(deployment: &Deployment) -> Result<Named> {
    let read = || async {
        let unnamed = listing::Unnamed::default();
        let catalog = read_once(deployment, Some(&unnamed)).await?;
        let unnamed = unnamed.into_inner().into_iter().collect();
        Ok(Named { catalog, unnamed })
    };
    while_it_changes(read).await
}

/// Reads one collection by name, as a pair needs it for DDL on the fly. None if
/// it is not there (any more).
pub async fn read_one(deployment: &Deployment, ns: &Namespace) -> Result<Option<Collection>> {
    while_it_changes(|| read_one_once(deployment, ns)).await
}

/// The views of a database.
pub async fn views(deployment: &Deployment, db: &str) -> Result<Vec<Collection>> {
    let Some(primary) = primary_of(deployment, db).await? else {
        return Ok(Vec::new());
    };
    let listed = named::collections(&deployment.shards[primary], db, None).await?;
    let views = listed
        .into_iter()
        .filter(|l| l.kind == CollectionKind::View);
    let view = |listed: Listed| Collection {
        ns: Namespace {
            db: db.to_owned(),
            coll: listed.name,
        },
        kind: listed.kind,
        uuid: None,
        options: listed.options,
        primary,
        sharded: None,
        key_index: None,
    };
    Ok(views.map(view).collect())
}

/// UUID of a collection as one shard knows it (`listCollections` there).
pub async fn local_uuid(shard: &Shard, ns: &Namespace) -> Result<Option<Uuid>> {
    let listed = named::collections(shard, &ns.db, Some(&ns.coll)).await?;
    Ok(listed.into_iter().find_map(|l| l.uuid))
}

/// A shard knows no collection with this UUID, under any name, by what a majority has. `db`:
/// the server's own.
pub async fn is_gone(shard: &Client, db: &str, uuid: Uuid) -> Result<bool> {
    let find = rawdoc! {
    "find": bson::Binary::from(uuid), "limit": 1, "readConcern": { "level": "majority" }};
    let database = shard.database(db);
    // The reply stays raw: the driver may be unable to read its document.
    let found = async { Ok(database.run_raw_cursor_command(find).batch().await?) };
    match answered("the shard", found).await {
        Ok(_) => Ok(false),
        Err(e) if e.code == Some(codes::NAMESPACE_NOT_FOUND) => Ok(true),
        Err(e) => Err(e),
    }
}

/// As `is_gone`, or it has a name by now that is out of the shard's scope.
pub async fn is_out(shard: &Shard, db: &str, uuid: Uuid) -> Result<bool> {
    if is_gone(&shard.client, db, uuid).await? {
        return Ok(true);
    }
    if shard.scope.filters().are_none() {
        return Ok(false);
    }
    let name = name_of(&shard.client, db, uuid).await?;
    Ok(name.is_some_and(|name| !shard.scope.has(db, &name)))
}

/// Index of a database's primary shard; None if there is no such database. In a
/// replica set every database is on shard 0.
pub async fn primary_of(deployment: &Deployment, db: &str) -> Result<Option<usize>> {
    match deployment.topology {
        Topology::ReplicaSet => Ok(Some(0)),
        Topology::Sharded => Ok(homes::databases(deployment, Some(db))
            .await?
            .first()
            .map(|d| d.primary)),
    }
}

/// Whether there is a database of exactly this name. In a replica set one without
/// collections does not exist.
pub async fn has_database(deployment: &Deployment, db: &str) -> Result<bool> {
    match deployment.topology {
        Topology::ReplicaSet => {
            let client = &deployment.shards[0].client;
            let names = async {
                Ok(client
                    .list_database_names()
                    .filter(doc! {"name": {"$in": deployment.scope.own_databases(db)}})
                    .await?)
            };
            Ok(!answered("listing databases", names).await?.is_empty())
        }
        Topology::Sharded => Ok(primary_of(deployment, db).await?.is_some()),
    }
}

/// Something of the scope is in the database, views too. A cluster keeps the names of emptied
/// databases.
pub async fn holds_any(deployment: &Deployment, db: &str) -> Result<bool> {
    match primary_of(deployment, db).await? {
        Some(primary) => named::holds_any(&deployment.shards[primary], db).await,
        None => Ok(false),
    }
}

/// Shard `primary` of a target holds collections of the database that are not sharded:
/// they move with its primary. Views do no harm.
pub async fn holds_unsharded(deployment: &Deployment, db: &str, primary: usize) -> Result<bool> {
    let shard = &deployment.shards[primary];
    // Whatever the run is about.
    let listed =
        listing::collections_in(&Scope::default(), &shard.client, (db, None), None).await?;
    let held = listed
        .iter()
        .filter(|listed| listed.kind != CollectionKind::View);
    let mut held: Vec<String> = held.map(|listed| format!("{db}.{}", listed.name)).collect();
    let sharded = sharding::among(deployment, &held).await?;
    held.retain(|name| !sharded.contains(name));
    Ok(!held.is_empty())
}

/// Zones each shard is in, as `Deployment::shards`.
pub async fn shard_zones(deployment: &Deployment) -> Result<Vec<Vec<String>>> {
    match deployment.topology {
        Topology::Sharded => sharding::shard_zones(deployment).await,
        Topology::ReplicaSet => Ok(vec![Vec::new()]),
    }
}

/// Metadata of a deployment's config servers; empty for a replica set.
#[derive(Debug, Clone, Default)]
pub struct Sharding {
    pub databases: Vec<Database>,
    pub collections: HashMap<Namespace, Sharded>,
    /// Zones each shard is in, as `Deployment::shards`.
    pub shard_zones: Vec<Vec<String>>,
}

/// Reads it without asking the shards.
///
/// # Errors
/// `Transient` if collections keep changing while it is read.
pub async fn sharding(deployment: &Deployment) -> Result<Sharding> {
    match deployment.topology {
        Topology::ReplicaSet => Ok(Sharding::default()),
        Topology::Sharded => while_it_changes(|| sharding_once(deployment)).await,
    }
}

async fn sharding_once(deployment: &Deployment) -> Result<Sharding> {
    let (databases, rows, shard_zones) = tokio::try_join!(
        homes::databases(deployment, None),
        sharding::collections(deployment, None),
        sharding::shard_zones(deployment),
    )?;
    let collections = rows.into_iter().map(|row| (row.ns, row.sharded)).collect();
    Ok(Sharding {
        databases,
        collections,
        shard_zones,
    })
}

/// How much a collection holds on one shard, orphans included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    pub document_count: u64,
    /// Uncompressed.
    pub bytes: u64,
    pub document_bytes_average: u64,
}

/// Counts kept by the storage engine (`dataSize` by its estimate): cheap, near enough for
/// planning, all zero if the collection is not there.
pub async fn estimate(shard: &Shard, ns: &Namespace) -> Result<Estimate> {
    let ns = &ns.own(&shard.scope);
    // Not `collStats`: its reply has indexes by name, which may be no UTF-8.
    let command = doc! {"dataSize": ns.to_string(), "estimate": true};
    let stats = match admin::ask(&shard.client, &ns.db, command).await {
        // A view has taken its name.
        Err(e) if e.code == Some(codes::NOT_SUPPORTED_ON_VIEW) => return Ok(Estimate::default()),
        stats => stats?,
    };
    let number = |field| stats.get(field).and_then(listing::count).unwrap_or(0);
    let (documents, bytes) = (number("numObjects"), number("size"));
    Ok(Estimate {
        document_count: documents,
        bytes,
        document_bytes_average: bytes / documents.max(1),
    })
}

/// The error of a catalog that changed while it was read.
fn torn(what: impl fmt::Display) -> Error {
    Error::new(Kind::Transient, format!("{what} while the catalog was read")).remedy(
        "try again when no collection is being created, dropped or sharded; if this persists, the cluster's metadata is inconsistent",
    )
}

async fn while_it_changes<T, F: Future<Output = Result<T>>>(read: impl Fn() -> F) -> Result<T> {
    let again =
        |attempt, e: &Error| tracing::debug!(attempt, error = %e, "reading the catalog again");
    a_few_times(READ_ATTEMPTS_MAX, READ_RETRY_DELAY, again, read).await
}

async fn read_once(deployment: &Deployment, unnamed: Option<&listing::Unnamed>) -> Result<Catalog> {
    let databases = match deployment.topology {
        Topology::Sharded => homes::databases(deployment, None).await?,
        // By the same client as all else: it may know of a later primary.
        Topology::ReplicaSet => listing::databases(&deployment.shards[0], unnamed).await?,
    };
    let mut rows: HashMap<String, Vec<ShardedRow>> = HashMap::new();
    for row in versions::sharded_rows(deployment, None).await? {
        rows.entry(row.ns.db.clone()).or_default().push(row);
    }
    let work: Vec<_> = databases
        .iter()
        .map(|d| (d, rows.remove(&d.name).unwrap_or_default()))
        .collect();
    let per_database: Vec<Vec<Collection>> = stream::iter(work)
        .map(|(database, rows)| async move {
            let primary = &deployment.shards[database.primary];
            let listed = named::readable(primary, &database.name, unnamed).await?;
            collections_of(deployment, database, rows, listed).await
        })
        .buffered(READ_CONCURRENCY)
        .try_collect()
        .await?;
    let shard_zones = shard_zones(deployment).await?;
    let mut collections = per_database.concat();
    collections.sort_by(|a, b| a.ns.cmp(&b.ns));
    let holds = |db: &str| collections.iter().any(|c| c.ns.db == db);
    let databases = databases
        .into_iter()
        .filter(|d| deployment.scope.has_empty(&d.name) || holds(&d.name))
        .collect();
    Ok(Catalog {
        databases,
        collections,
        shard_zones,
    })
}

async fn read_one_once(deployment: &Deployment, ns: &Namespace) -> Result<Option<Collection>> {
    let database = match deployment.topology {
        Topology::ReplicaSet => Some(Database {
            name: ns.db.clone(),
            primary: 0,
        }),
        Topology::Sharded => homes::databases(deployment, Some(&ns.db)).await?.pop(),
    };
    let Some(database) = database else {
        return Ok(None);
    };
    let rows = versions::sharded_rows(deployment, Some(ns)).await?;
    let primary = &deployment.shards[database.primary];
    let listed = named::collections(primary, &ns.db, Some(&ns.coll)).await?;
    let found = collections_of(deployment, &database, rows, listed).await;
    Ok(found?.pop())
}
