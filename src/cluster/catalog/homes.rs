//! The primary shards of databases, as the config server keeps them: what is not sharded is
//! there.

use std::collections::BTreeMap;

use bson::doc;

use crate::cluster::catalog::sharding::{find, shard_index};
use crate::cluster::catalog::{Database, listing};
use crate::cluster::deployment::Deployment;
use crate::error::{Error, Kind, Result};

/// A database by its own name, with the index of its primary shard.
struct Home {
    own: String,
    primary: usize,
}

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
    let mut homes: BTreeMap<String, Home> = BTreeMap::new();
    for row in find(deployment, "databases", filter, doc! {"_id": 1}).await? {
        let own = listing::text("a database", &row, "_id")?;
        if !scope.may_have_in(&own) {
            continue;
        }
        let primary = shard_index(deployment, row.get_str("primary")?)?;
        let named = scope.databases_named(&own).into_iter();
        for name in named.filter(|name| only.is_none_or(|only| only == name)) {
            let own = own.clone();
            let home = Home { own, primary };
            let home = match homes.remove(&name) {
                Some(other) => one_of(deployment, &name, other, home).await?,
                None => home,
            };
            homes.insert(name, home);
        }
    }
    let database = |(name, Home { primary, .. })| Database { name, primary };
    Ok(homes.into_iter().map(database).collect())
}

/// Collections move from shard to shard, and what is not sharded is on the primary of its
/// database. A database from which nothing comes does not count: the cluster keeps the name of
/// each that ever was.
async fn one_of(deployment: &Deployment, name: &str, one: Home, other: Home) -> Result<Home> {
    if one.primary == other.primary || !has_any_for(deployment, name, &other).await? {
        return Ok(one);
    }
    if !has_any_for(deployment, name, &one).await? {
        return Ok(other);
    }
    let [one, other] = [one, other].map(|home| {
        let shard = &deployment.shards[home.primary].id;
        format!("{} on {shard}", home.own)
    });
    let found = format!(
        "database {name} of the target would have collections from databases of different primary shards: {one} and {other} ({})",
        deployment.scope.renames()
    );
    Err(Error::new(Kind::Refused, found).remedy(
        "rename into databases of their own what comes from different primary shards; if the run was begun, move no primary, and start over so with `shardlift migrate --restart`",
    ))
}

/// Something in a database has the run's name in `name`, or may have none there.
async fn has_any_for(deployment: &Deployment, name: &str, home: &Home) -> Result<bool> {
    let (scope, own) = (&deployment.scope, &home.own);
    let client = &deployment.shards[home.primary].client;
    let listed = listing::collections_in(scope, client, (own, None), None).await?;
    let mut named = listed.iter().map(|listed| scope.named(own, &listed.name));
    Ok(named.any(|named| named.is_none_or(|(db, _)| db == name)))
}
