//! Databases of the target as such: one that its collections have left goes too, for
//! on a cluster its name stays, and keeps away every other spelling of it.
//!
//! The caller has the turn (`control::across::ddl`), or is alone on the target.

use std::io::ErrorKind;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::options::ServerAddress;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::admin;
use crate::cluster::catalog::{self, Namespace};
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::retry::{answered, within};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::failpoint;

/// How long the drop of a database may take.
const DROP_PATIENCE: Duration = Duration::from_secs(60);
/// How long a router may take to list what it does.
const ROUTER_PATIENCE: Duration = Duration::from_secs(10);
/// Kept by the server for itself in a database that holds nothing else.
const SERVERS_OWN: [&str; 2] = ["system.views", "system.profile"];

/// Drops a database that holds nothing. Returns false, and does nothing, if it holds
/// anything.
pub async fn drop_if_empty(target: &Deployment, db: &str) -> Result<bool> {
    let empty = holds_nothing(target, db).await?;
    if empty {
        drop_empty(target, db).await?;
    }
    Ok(empty)
}

/// No shard has anything in it but what servers keep there for themselves.
pub async fn holds_nothing(target: &Deployment, db: &str) -> Result<bool> {
    for shard in &target.shards {
        let names = async { Ok(shard.client.database(db).list_collection_names().await?) };
        let names = answered("listing collections", names).await?;
        if names
            .iter()
            .any(|name| !SERVERS_OWN.contains(&name.as_str()))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Drops an empty database.
///
/// IMPORTANT: sent once. A late drop could hit a namesake that holds data (R7). After a
/// lost answer the attempt ends, and the next one waits for any drop still running
/// (`none_is_being_dropped`).
pub async fn drop_empty(target: &Deployment, db: &str) -> Result<()> {
    let command = rawdoc! {"dropDatabase": 1, "writeConcern": {"w": "majority"}};
    let reply = target
        .entry
        .send(db, &command, failpoint::wait("answer", DROP_PATIENCE))
        .await;
    match reply.and_then(|reply| admin::acknowledged(&reply)) {
        Ok(()) => {
            tracing::info!("database {db} was empty and is dropped on the target");
            Ok(())
        }
        Err(e) => Err(with_remedy(
            e.context(format_args!(
                "dropping the empty database {db} on the target"
            )),
            db,
        )),
    }
}

fn with_remedy(e: Error, db: &str) -> Error {
    let by_hand = by_hand(db);
    match e.code {
        Some(codes::UNAUTHORIZED) => e.remedy(format!(
            "drop it: {by_hand}; or grant the role dbAdminAnyDatabase"
        )),
        _ => e,
    }
}

fn by_hand(db: &str) -> String {
    format!("`db.getSiblingDB({db:?}).dropDatabase()` on the target")
}

/// What keeps the target from having `db` on the shard `primary`: a non-empty database of
/// another spelling, or `db` itself on another shard. Empty ones of another spelling are
/// dropped.
pub async fn in_the_way(target: &Deployment, db: &str, primary: usize) -> Result<Option<String>> {
    for other in spellings(target, db).await? {
        if other != db && !drop_if_empty(target, &other).await? {
            return Ok(Some(other));
        }
    }
    let found = match target.topology {
        Topology::ReplicaSet => None,
        Topology::Sharded => catalog::primary_of(target, db)
            .await?
            .filter(|found| *found != primary),
    };
    match found {
        Some(found) if catalog::holds_unsharded(target, db, found).await? => {
            Ok(Some(db.to_owned()))
        }
        _ => Ok(None),
    }
}

/// Drops the empty database of another spelling because of which a server refused `db`; a
/// replica set lists it nowhere. Returns true if it is dropped.
pub async fn made_way(target: &Deployment, db: &str, refusal: &Error) -> Result<bool> {
    let Some(other) = refusal
        .code
        .filter(|code| *code == codes::DATABASE_DIFFERS_IN_CASE)
        .and_then(|_| other_in(refusal, db))
    else {
        return Ok(false);
    };
    drop_if_empty(target, &other).await
}

/// `… already have: [Shop] trying to create [shop]`.
fn other_in(refusal: &Error, db: &str) -> Option<String> {
    let (_, after) = refusal.message.split_once("already have: [")?;
    let (other, _) = after.split_once(']')?;
    (other != db && other.eq_ignore_ascii_case(db)).then(|| other.to_owned())
}

/// Databases of the target that are spelled as `db`, or so but for upper and lower case.
pub async fn spellings(target: &Deployment, db: &str) -> Result<Vec<String>> {
    let pattern = doc! {"$regex": format!("^{}$", quoted(db)), "$options": "i"};
    let found = async {
        Ok(match target.topology {
            Topology::ReplicaSet => {
                target
                    .entry
                    .list_database_names()
                    .filter(doc! {"name": pattern})
                    .await?
            }
            Topology::Sharded => {
                let rows = target
                    .entry
                    .database("config")
                    .collection::<Document>("databases");
                let rows: Vec<Document> = rows
                    .find(doc! {"_id": pattern})
                    .await?
                    .try_collect()
                    .await?;
                rows.iter()
                    .filter_map(|row| row.get_str("_id").ok().map(str::to_owned))
                    .collect()
            }
        })
    };
    answered("listing databases", found).await
}

/// As a pattern that matches just this text.
fn quoted(text: &str) -> String {
    let quote = |c: char| {
        if c.is_alphanumeric() || !c.is_ascii() {
            vec![c]
        } else {
            vec!['\\', c]
        }
    };
    text.chars().flat_map(quote).collect()
}

/// # Errors
/// `Refused`: nothing of the run's own will make way.
pub fn refused(db: &str, other: &str) -> Error {
    let (found, remedy) = if db == other {
        (
            format!("database {db} is on another shard of the target and holds collections"),
            format!("drop what it holds: {}", by_hand(db)),
        )
    } else {
        (
            format!(
                "the target has a database {other} and refuses {db}, which differs in case only"
            ),
            format!("drop it, if nobody needs it: {}", by_hand(other)),
        )
    };
    Error::new(Kind::Refused, found).remedy(remedy)
}

/// # Errors
/// `Unsupported`: by its renames the run is to have two spellings of one database. `own`: on
/// the source what is to be in `db`.
pub fn both_spelled(own: &Namespace, db: &str, other: &str) -> Error {
    let found = format!(
        "{own} of the source is to be in database {db} of the target, which has {other}: no server has two databases that differ only by case"
    );
    Error::new(Kind::Unsupported, found).remedy(format!(
        "drop {own} on the source, and run the same command; or start over with other names by `shardlift migrate --restart`"
    ))
}

/// No drop of a database that an older attempt sent still runs, nor of a collection where
/// that goes by name: in a cluster it does on every release, once a shard has begun it, and of
/// sharded time series from the beginning. Nor a router's rename of a sharded collection.
///
/// # Errors
/// `Transient` while one does, or may: a router does not answer.
pub async fn none_is_being_dropped(target: &Deployment) -> Result<()> {
    let by_name = drops_by_name(target);
    // IMPORTANT: first. What a router has passed on is with the shards by then.
    if target.topology == Topology::Sharded {
        no_router_drops(target).await?;
    }
    for shard in &target.shards {
        let found = async {
            let found = shard
                .client
                .database("admin")
                .aggregate(pipeline(doc! {"allUsers": true}, by_name))
                .await?;
            Ok(found.try_collect::<Vec<_>>().await?)
        };
        if !answered("the server", found).await?.is_empty() {
            return Err(still_dropped(&format!("target shard {}", shard.id)));
        }
    }
    Ok(())
}

fn drops_by_name(target: &Deployment) -> bool {
    !target.dialect.writes.binds_uuid || target.topology == Topology::Sharded
}

/// A router that is frozen, or waits for a shard, may pass a drop on later.
async fn no_router_drops(target: &Deployment) -> Result<()> {
    let by_name = drops_by_name(target);
    let ask = doc! {"aggregate": 1, "pipeline": pipeline(doc! {"allUsers": true, "localOps": true}, by_name), "cursor": {}};
    let ask = RawDocumentBuf::try_from(&ask)?;
    for router in target.entry.named() {
        let name = format!("the target's router {router}");
        let asked = within(
            ROUTER_PATIENCE,
            &name,
            target.entry.send_to(router, "admin", &ask),
        )
        .await;
        if asked.is_err() && nobody_listens(router).await {
            continue;
        }
        let reply = asked.map_err(|e| {
            e.context(format!(
                "asking whether {name} still drops a database (if it is gone for good, leave it out of the target's URI)"
            ))
        })?;
        if !reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))?
            .is_empty()
        {
            return Err(still_dropped(&name));
        }
    }
    Ok(())
}

/// No router runs there any more; what it was to pass on went with it.
async fn nobody_listens(router: &ServerAddress) -> bool {
    let connected = timeout(ROUTER_PATIENCE, TcpStream::connect(router.to_string())).await;
    matches!(connected, Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused)
}

/// Drops and renames among what a server does.
fn pipeline(current: Document, by_name: bool) -> Vec<Document> {
    let mut drops = vec![
        doc! {"command.dropDatabase": {"$exists": true}},
        doc! {"command._shardsvrDropDatabase": {"$exists": true}},
        doc! {"desc": "DropDatabaseCoordinator"},
        doc! {"desc": "DropCollectionCoordinator"},
        doc! {"desc": "RenameCollectionCoordinator"},
        doc! {"desc": "RenameParticipantInstance"},
        doc! {"command._shardsvrRenameCollection": {"$exists": true}},
    ];
    if by_name {
        drops.push(doc! {"command.drop": {"$exists": true}});
        drops.push(doc! {"command._shardsvrDropCollection": {"$exists": true}});
        drops.push(doc! {"command.renameCollection": {"$exists": true}});
    }
    vec![
        doc! {"$currentOp": current},
        doc! {"$match": {"$or": drops}},
        doc! {"$limit": 1},
    ]
}

fn still_dropped(place: &str) -> Error {
    Error::new(
        Kind::Transient,
        format!("a database or a collection is still being dropped, or renamed, on {place}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_spelling_is_read_from_the_refusal() {
        let refusal = |text: &str| Error {
            code: Some(codes::DATABASE_DIFFERS_IN_CASE),
            ..Error::new(Kind::Server, text)
        };
        let text = "create: db already exists with different case already have: [Left] trying to create [left]";
        assert_eq!(other_in(&refusal(text), "left").as_deref(), Some("Left"));
        assert_eq!(other_in(&refusal(text), "right"), None);
        assert_eq!(other_in(&refusal("no"), "left"), None);
    }

    #[test]
    fn a_name_is_matched_as_it_is() {
        assert_eq!(quoted("a-b_c.d$ü"), "a\\-b\\_c\\.d\\$ü");
    }
}
