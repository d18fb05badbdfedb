//! Databases of the target as such: one that its collections have left goes too, for
//! on a cluster its name stays, and keeps away every other spelling of it.
//!
//! The caller has the turn (`control::ddl`), or is alone on the target.

use bson::{Document, doc, rawdoc};
use futures_util::TryStreamExt;

use crate::cluster::admin;
use crate::cluster::catalog;
use crate::cluster::connect::{Deployment, Topology};
use crate::error::{Error, Kind, Result};

/// DatabaseDifferCase.
const CODE_OTHER_SPELLING: i32 = 13297;
const CODE_UNAUTHORIZED: i32 = 13;
/// Kept by the server for itself in a database that holds nothing else.
const SERVERS_OWN: [&str; 2] = ["system.views", "system.profile"];

/// Drops a database that holds nothing. Returns false, and does nothing, if it holds
/// anything.
///
/// IMPORTANT: sent once. What comes late could meet a namesake that holds data (R7): after
/// a lost answer the attempt ends, and the next one waits for what still runs
/// (`none_is_being_dropped`).
pub async fn drop_if_empty(target: &Deployment, db: &str) -> Result<bool> {
    for shard in &target.shards {
        let names = shard.client.database(db).list_collection_names().await?;
        if names.iter().any(|name| !SERVERS_OWN.contains(&name.as_str())) {
            return Ok(false);
        }
    }
    let command = rawdoc! {"dropDatabase": 1, "writeConcern": {"w": "majority"}};
    match admin::run_once(&target.entry, db, &command).await {
        Ok(_) => {
            tracing::info!("database {db} held nothing any more and is dropped on the target");
            Ok(true)
        }
        Err(e) => Err(with_remedy(e.context(format_args!("dropping the empty database {db} on the target")), db)),
    }
}

fn with_remedy(e: Error, db: &str) -> Error {
    let by_hand = by_hand(db);
    match e.code {
        Some(CODE_UNAUTHORIZED) => e.remedy(format!("drop it: {by_hand}; or grant the role dbAdminAnyDatabase")),
        _ => e,
    }
}

fn by_hand(db: &str) -> String {
    format!("`db.getSiblingDB({db:?}).dropDatabase()` on the target")
}

/// What keeps the target from having `db` on the shard `primary`, as a database that
/// holds something: one of another spelling, or itself where it is. Empty ones are made
/// way with.
pub async fn in_the_way(target: &Deployment, db: &str, primary: usize) -> Result<Option<String>> {
    for other in spellings(target, db).await? {
        if other != db && !drop_if_empty(target, &other).await? {
            return Ok(Some(other));
        }
    }
    let found = match target.topology {
        Topology::ReplicaSet => None,
        Topology::Sharded => catalog::primary_of(target, db).await?.filter(|found| *found != primary),
    };
    match found {
        Some(found) if catalog::holds_unsharded(target, db, found).await? => Ok(Some(db.to_owned())),
        _ => Ok(None),
    }
}

/// The empty database of another spelling that a server refused `db` for: a replica set
/// lists it nowhere. True if it is dropped.
pub async fn made_way(target: &Deployment, db: &str, refusal: &Error) -> Result<bool> {
    let Some(other) = refusal.code.filter(|code| *code == CODE_OTHER_SPELLING).and_then(|_| other_in(refusal, db))
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
    Ok(match target.topology {
        Topology::ReplicaSet => target.entry.list_database_names().filter(doc! {"name": pattern}).await?,
        Topology::Sharded => {
            let rows = target.entry.database("config").collection::<Document>("databases");
            let rows: Vec<Document> = rows.find(doc! {"_id": pattern}).await?.try_collect().await?;
            rows.iter().filter_map(|row| row.get_str("_id").ok().map(str::to_owned)).collect()
        }
    })
}

/// As a pattern that matches just this text.
fn quoted(text: &str) -> String {
    let quote = |c: char| if c.is_alphanumeric() || !c.is_ascii() { vec![c] } else { vec!['\\', c] };
    text.chars().flat_map(quote).collect()
}

/// # Errors
/// `Refused`: nothing of the run's own will make way.
pub fn refused(db: &str, other: &str) -> Error {
    let (found, remedy) = match db == other {
        true => (
            format!("database {db} is on another shard of the target and holds collections"),
            format!("drop what it holds: {}", by_hand(db)),
        ),
        false => (
            format!("the target has a database {other}, and takes none that differs from it by case only: {db}"),
            format!("drop it, if nobody needs it: {}", by_hand(other)),
        ),
    };
    Error::new(Kind::Refused, found).remedy(remedy)
}

/// No drop of a database that an older attempt sent still runs.
///
/// # Errors
/// `Transient` while one does.
pub async fn none_is_being_dropped(target: &Deployment) -> Result<()> {
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true}},
        doc! {"$match": {"$or": [
            {"command.dropDatabase": {"$exists": true}}, {"command._shardsvrDropDatabase": {"$exists": true}},
            {"desc": "DropDatabaseCoordinator"},
        ]}},
        doc! {"$limit": 1},
    ];
    for shard in &target.shards {
        let found = shard.client.database("admin").aggregate(pipeline.clone()).await.map_err(Error::from)?;
        if found.try_collect::<Vec<_>>().await.map_err(Error::from)?.is_empty() {
            continue;
        }
        let found = format!("a database is still being dropped on target shard {}", shard.id);
        return Err(Error::new(Kind::Transient, found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_spelling_is_read_from_the_refusal() {
        let refusal = |text: &str| Error { code: Some(CODE_OTHER_SPELLING), ..Error::new(Kind::Server, text) };
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
