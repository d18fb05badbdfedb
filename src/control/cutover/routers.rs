//! What the target's routers need once the cutover is done, on releases whose routers do not
//! see to it by themselves.
//!
//! Nothing here is worth failing for: the data is there. What cannot be done is told.

use bson::rawdoc;

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection};
use crate::cluster::deployment::{Deployment, Topology};
use crate::control::run::Run;
use crate::error::Result;

pub async fn settle(target: &Deployment, run: &Run) {
    if target.topology == Topology::ReplicaSet {
        return;
    }
    let forms = &target.dialect.catalog;
    if forms.primary_lists_indexes
        && let Err(e) = give_primaries_their_indexes(target).await
    {
        run.warn(format!(
            "routers of the target list the indexes of a sharded collection as its database's primary shard has them, and some primary could not be given those of the others: {}; build them through a mongos",
            e.message
        ));
    }
    if forms.routers_go_stale {
        run.warn(
            "routers of the target's release do not notice that a collection was dropped and made again: run `db.adminCommand({flushRouterConfig: 1})` on every mongos of the target before its applications use them",
        );
    }
}

/// Builds, on primary shards that own no chunk, the indexes that the others have.
///
/// # Errors
/// As the servers'. What was built stays.
pub async fn give_primaries_their_indexes(target: &Deployment) -> Result<()> {
    let catalog = catalog::read(target).await?;
    let without_chunks = |c: &&Collection| c.sharded.is_some() && !c.lives_on(c.primary);
    for collection in catalog.collections.iter().filter(without_chunks) {
        give_primary_its_indexes(target, collection).await?;
    }
    Ok(())
}

async fn give_primary_its_indexes(target: &Deployment, collection: &Collection) -> Result<()> {
    let Collection { ns, uuid, .. } = collection;
    let primary = &target.shards[collection.primary];
    let Some(owner) = (0..target.shards.len()).find(|shard| collection.lives_on(*shard)) else {
        return Ok(());
    };
    // IMPORTANT: a build where there is none would make another collection of that name.
    if catalog::local_uuid(primary, ns).await? != *uuid {
        return Ok(());
    }
    let there = catalog::indexes(primary, ns).await?;
    for spec in catalog::indexes(&target.shards[owner], ns).await? {
        if there.iter().any(|there| catalog::index::same(there, &spec)) {
            continue;
        }
        let build = rawdoc! {"createIndexes": ns.coll.as_str(), "indexes": [spec]};
        admin::run_once_majority(&primary.client, &ns.db, &build).await?;
    }
    Ok(())
}
