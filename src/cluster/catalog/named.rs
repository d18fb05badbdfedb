//! Collections and views as one server lists them, by the run's names.
//!
//! Knows nothing about sharding.

use std::collections::{HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::listing::{self, Listed, Unnamed};
use crate::cluster::catalog::{Namespace, rewritten};
use crate::cluster::deployment::Shard;
use crate::error::Result;

/// UUIDs of collections of these databases, as one shard knows them. As `local_names`.
pub async fn local_uuids(
    shard: &Shard,
    databases: impl IntoIterator<Item = &str>,
) -> Result<HashSet<Uuid>> {
    Ok(local_names(shard, databases).await?.into_keys().collect())
}

/// Names of collections of these databases, as one shard knows them, by UUID: the run's.
pub async fn local_names(
    shard: &Shard,
    databases: impl IntoIterator<Item = &str>,
) -> Result<HashMap<Uuid, Namespace>> {
    let mut names = HashMap::new();
    for database in databases {
        // IMPORTANT: no more than names. A view that the target cannot have ends no attempt.
        for Named { ns, listed, .. } in named(shard, database, None, None).await? {
            names.extend(listed.uuid.map(|uuid| (uuid, ns)));
        }
    }
    Ok(names)
}

/// Collections and views of a database (or the one named `only`) on one shard, by the run's
/// names.
pub(super) async fn collections(
    shard: &Shard,
    db: &str,
    only: Option<&str>,
) -> Result<Vec<Listed>> {
    by_run(shard, named(shard, db, only, None).await?)
}

/// As `collections`, all of the database, without what has no name that is UTF-8: that is noted.
pub(super) async fn readable(
    shard: &Shard,
    db: &str,
    unnamed: Option<&Unnamed>,
) -> Result<Vec<Listed>> {
    by_run(shard, named(shard, db, None, unnamed).await?)
}

fn by_run(shard: &Shard, named: Vec<Named>) -> Result<Vec<Listed>> {
    let renamed = |Named { own, ns, listed }: Named| {
        let options = rewritten::options(&shard.scope, &own, &ns, &listed.options)?;
        let name = ns.coll;
        Ok(Listed {
            name,
            options,
            ..listed
        })
    };
    named.into_iter().map(renamed).collect()
}

/// What the server lists, and the run's name of it.
struct Named {
    /// Its own database.
    own: String,
    ns: Namespace,
    listed: Listed,
}

/// As `collections`, with all that is listed as the server has it.
async fn named(
    shard: &Shard,
    db: &str,
    only: Option<&str>,
    unnamed: Option<&Unnamed>,
) -> Result<Vec<Named>> {
    let scope = &shard.scope;
    let mut found = Vec::new();
    for own in scope.own_databases(db) {
        let one = only.map(|coll| scope.own(db, coll));
        if one.as_ref().is_some_and(|(of, _)| *of != own) {
            continue;
        }
        let one = one.as_ref().map(|(_, coll)| coll.as_str());
        for listed in listing::collections_in(scope, &shard.client, (&own, one), unnamed).await? {
            let ns = Namespace::named(scope, &own, &listed.name)?;
            // Nothing of the source may have the name `only`.
            if ns.db == db && only.is_none_or(|only| ns.coll == only) {
                let own = own.clone();
                found.push(Named { own, ns, listed });
            }
        }
    }
    Ok(found)
}

/// What the shard calls the collection now, as likely as not by `ns`; None if it is gone.
///
/// # Errors
/// `Refused` if it has a name by now that is another's.
pub async fn called_now(shard: &Shard, ns: &Namespace, uuid: Uuid) -> Result<Option<Namespace>> {
    // One that is listed by its name is found at once, whatever else its database holds.
    let listed = named(shard, &ns.db, Some(&ns.coll), None).await?;
    if listed.iter().any(|named| named.listed.uuid == Some(uuid)) {
        return Ok(Some(ns.clone()));
    }
    let own = ns.own(&shard.scope).db;
    let coll = listing::name_of(&shard.client, &own, uuid).await?;
    let now = |coll: String| Namespace::named(&shard.scope, &own, &coll);
    coll.map(now).transpose()
}

/// The shard lists something that the run knows in `db`.
pub(super) async fn holds_any(shard: &Shard, db: &str) -> Result<bool> {
    Ok(!named(shard, db, None, None).await?.is_empty())
}
