//! Drops one collection of the target: the one with this UUID, never a namesake.
//!
//! Decides nothing: whose it is, and when it is dropped, is up to the caller.

use bson::{Binary, RawArrayBuf, Uuid, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection};
use crate::cluster::deployment::Deployment;
use crate::codes;
use crate::error::{Error, Result};

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
        Some(uuid) if ns.coll == "system.js" => {
            drop_stored_functions(target, collection, uuid).await
        }
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

/// Drops `system.js`, which `drop` refuses, the way that a secondary drops it. It is
/// never sharded: its database's primary shard has it.
async fn drop_stored_functions(
    target: &Deployment,
    collection: &Collection,
    uuid: Uuid,
) -> Result<()> {
    let ns = &collection.ns;
    let drop = rawdoc! {
    "op": "c", "ns": format!("{}.$cmd", ns.db), "ui": Binary::from(uuid), "o": {"drop": ns.coll.as_str()}};
    let command = rawdoc! {"applyOps": RawArrayBuf::from_iter([drop])};
    let shard = &target.shards[collection.primary];
    admin::run_once_majority(&shard.client, "admin", &command)
        .await
        .map(std::mem::drop)
}
