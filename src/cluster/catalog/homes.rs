//! The primary shards of databases, as the config server keeps them: what is not sharded is
//! there.

use std::collections::BTreeMap;

use bson::doc;

use crate::cluster::catalog::sharding::{find, shard_index};
use crate::cluster::catalog::{Database, listing};
use crate::cluster::deployment::Deployment;
use crate::error::{Error, Kind, Result};

/// Databases (or the one named `only`) with their primary shards, by the run's names.
///
/// # Errors
/// `Refused` if collections of several primary shards are to come into one database.
pub(super) async fn databases(
    deployment: &Deployment,
    only: Option<&str>,
) -> Result<Vec<Database>> {
    let scope = &deployment.scope;
    let own = |name| doc! {"_id": {"$in": scope.own_databases(name)}};
    let filter = only.map_or(doc! {}, own);
    let mut databases: BTreeMap<String, usize> = BTreeMap::new();
    for row in find(deployment, "databases", filter, doc! {"_id": 1}).await? {
        let own = listing::text("a database", &row, "_id")?;
        if !scope.may_have_in(&own) {
            continue;
        }
        let primary = shard_index(deployment, row.get_str("primary")?)?;
        let named = scope.databases_named(&own).into_iter();
        for name in named.filter(|name| only.is_none_or(|only| only == name)) {
            expect_at(deployment, &name, primary, databases.get(&name))?;
            databases.insert(name, primary);
        }
    }
    let database = |(name, primary)| Database { name, primary };
    Ok(databases.into_iter().map(database).collect())
}

/// Collections move from shard to shard, and what is not sharded is on the primary of its
/// database.
fn expect_at(
    deployment: &Deployment,
    name: &str,
    primary: usize,
    other: Option<&usize>,
) -> Result<()> {
    match other.filter(|other| **other != primary) {
        None => Ok(()),
        Some(other) => {
            let ids = [primary, *other].map(|shard| deployment.shards[shard].id.as_str());
            let found = format!(
                "database {name} of the target would have collections from databases whose primary shards are {} ({})",
                ids.join(" and "),
                deployment.scope.renames()
            );
            Err(Error::new(Kind::Refused, found).remedy(
                "rename into databases of their own what comes from different primary shards",
            ))
        }
    }
}
