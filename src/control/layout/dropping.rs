//! Drops one collection of the target: the one with this UUID, never a namesake.
//!
//! | target | the drop names |
//! |--------|----------------|
//! | 6.0 | its UUID |
//! | a replica set before that | its UUID, in `applyOps`, as a secondary is told of a drop |
//! | a cluster before that | its name: 5.0 refuses a UUID (40415), 4.x drop whatever has the name |
//! | a sharded time series | its name: 6.0 refuses a UUID (72) |
//!
//! By name it is sent once after each look: a late one would hit a namesake, so whoever
//! calls this makes nothing of that name until it is answered (`across::ddl::turn`).
//!
//! Decides nothing: whose it is, and when it is dropped, is up to the caller.

use std::time::{Duration, Instant};

use bson::{Binary, RawArrayBuf, Uuid, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, Namespace};
use crate::cluster::deployment::{Deployment, Topology};
use crate::codes;
use crate::error::{Error, Result};

/// How long the drop of a collection may take.
const DROP_PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Drops the collection. No error if it is already gone, or if another has its name.
///
/// # Errors
/// Those of the router; also if it says that there is no such collection although there
/// is.
///
/// IMPORTANT: the router's connections carry no incarnation. A late drop must not hit a
/// namesake (R7).
pub async fn drop_collection(target: &Deployment, collection: &Collection) -> Result<()> {
    let ns = &collection.ns;
    let dropped = match collection.uuid {
        // For buckets `drop` takes no UUID (72), and takes their time series with them.
        Some(uuid) if ns.time_series().is_some() && collection.sharded.is_some() => {
            drop_by_name(target, ns, uuid).await
        }
        Some(uuid) if ns.coll == "system.js" || ns.time_series().is_some() || is_alone(target) => {
            drop_by_uuid(target, collection, uuid).await
        }
        Some(uuid) if !target.drops_by_uuid() => drop_by_name(target, ns, uuid).await,
        uuid => {
            let mut command = rawdoc! {"drop": ns.coll.as_str()};
            if let Some(uuid) = uuid {
                command.append(bson::cstr!("collectionUUID"), Binary::from(uuid));
            }
            admin::run_majority(&target.entry, &ns.db, &command)
                .await
                .map(drop)
        }
    };
    let failed = |e: Error| e.context(format_args!("dropping {ns} on the target"));
    match dropped {
        Ok(()) => Ok(()),
        // The router asks the database's primary shard alone.
        Err(e)
            if matches!(
                e.code,
                Some(codes::NAMESPACE_NOT_FOUND | codes::COLLECTION_UUID_MISMATCH)
            ) =>
        {
            let there = catalog::read_one(target, ns).await?;
            if there.is_none_or(|there| there.uuid != collection.uuid) {
                return Ok(());
            }
            Err(failed(e).remedy(format!(
                "shards other than the database's primary shard have it: see `config.collections` of the target, and drop {ns} there by hand"
            )))
        }
        Err(e) => Err(failed(e)),
    }
}

/// A replica set that takes no UUID in a command.
fn is_alone(target: &Deployment) -> bool {
    target.topology == Topology::ReplicaSet && !target.dialect.writes.binds_uuid
}

/// Through the router, whose connections carry no incarnation. Sent again only if the
/// collection is still there.
async fn drop_by_name(target: &Deployment, ns: &Namespace, uuid: Uuid) -> Result<()> {
    let command = rawdoc! {"drop": ns.public().coll, "writeConcern": {"w": "majority"}};
    let end = Instant::now() + admin::RETRY_TIME_MAX;
    loop {
        let there = catalog::read_one(target, ns).await?;
        if there.is_none_or(|there| there.uuid != Some(uuid)) {
            return Ok(());
        }
        let sent = target.entry.send(&ns.db, &command, DROP_PATIENCE).await;
        match sent.and_then(|reply| admin::acknowledged(&reply)) {
            // The router said that it did not do it.
            Err(e) if admin::is_busy(&e) && Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Drops it the way that a secondary drops it. Also `system.js`, which `drop` refuses, and
/// the buckets of a time series, where they are not sharded: the database's primary shard has it.
async fn drop_by_uuid(target: &Deployment, collection: &Collection, uuid: Uuid) -> Result<()> {
    let ns = &collection.ns;
    let drop = rawdoc! {
    "op": "c", "ns": format!("{}.$cmd", ns.db), "ui": Binary::from(uuid), "o": {"drop": ns.coll.as_str()}};
    let command = rawdoc! {"applyOps": RawArrayBuf::from_iter([drop])};
    let shard = &target.shards[collection.primary];
    admin::run_once_majority(&shard.client, "admin", &command)
        .await
        .map(std::mem::drop)
}
