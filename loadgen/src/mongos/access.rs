//! Whether a client may do what it asks: the actions a router checks before it passes
//! a command on (server source, `cluster_*_cmd.cpp`), of those commands that it knows.
//!
//! Pure decisions over the privileges of a login.

use bson::{Bson, Document};

use crate::mongos::reply::Failure;
use crate::mongos::request::Request;
use crate::mongos::session::Session;

/// What an action is asked on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum On {
    Cluster,
    Database(String),
    Collection(String, String),
}

/// What must be allowed: all of one of these lists.
type Ways = Vec<Vec<(&'static str, On)>>;

/// # Errors
/// Unauthorized, as a router words it: with all of the command.
pub(super) fn check(session: &Session, request: &Request) -> Result<(), Failure> {
    if !session.shared.login || is_for_everyone(&request.name) {
        return Ok(());
    }
    if !session.login.is_done() {
        return Err(unauthorized(format!(
            "command {} requires authentication",
            request.name
        )));
    }
    let privileges = session.login.privileges();
    let holds = |(action, on): &(&str, On)| {
        privileges
            .iter()
            .any(|privilege| covers(privilege, action, on))
    };
    let ways = needed(request)?;
    if ways.is_empty() || ways.iter().any(|way| way.iter().all(holds)) {
        Ok(())
    } else {
        let command = request.document()?;
        Err(unauthorized(format!(
            "not authorized on {} to execute command {command}",
            request.db
        )))
    }
}

fn unauthorized(message: String) -> Failure {
    Failure::new(13, "Unauthorized", message)
}

fn is_for_everyone(command: &str) -> bool {
    matches!(
        command,
        "hello"
            | "isMaster"
            | "ismaster"
            | "ping"
            | "buildInfo"
            | "buildinfo"
            | "saslStart"
            | "saslContinue"
            | "logout"
            | "connectionStatus"
            | "endSessions"
            | "isdbgrid"
    )
}

fn needed(request: &Request) -> Result<Ways, Failure> {
    let named = || -> Result<On, Failure> {
        Ok(On::Collection(
            request.db.clone(),
            request.collection()?.to_owned(),
        ))
    };
    let full = || -> Result<On, Failure> { Ok(of_full_name(request.collection()?)) };
    let config = |coll: &str| On::Collection("config".to_owned(), coll.to_owned());
    let one = |action, on| vec![vec![(action, on)]];
    Ok(match request.name.as_str() {
        "find" | "count" | "distinct" if request.target().is_some() => one("find", named()?),
        "aggregate" if request.target().is_some() => one("find", named()?),
        "insert" => one("insert", named()?),
        "update" => one("update", named()?),
        "delete" => one("remove", named()?),
        "create" => one("createCollection", named()?),
        "createIndexes" => one("createIndex", named()?),
        "dropIndexes" | "deleteIndexes" => one("dropIndex", named()?),
        "drop" => one("dropCollection", named()?),
        "collMod" => one("collMod", named()?),
        "dropDatabase" => one("dropDatabase", On::Database(request.db.clone())),
        "listShards" | "listDatabases" => one(known(&request.name), On::Cluster),
        "balancerStart" | "balancerStop" => one("update", config("settings")),
        "balancerStatus" => one("find", config("settings")),
        "enableSharding" => one(
            "enableSharding",
            On::Database(request.collection()?.to_owned()),
        ),
        "movePrimary" => one("moveChunk", On::Database(request.collection()?.to_owned())),
        "shardCollection" => one("enableSharding", full()?),
        "split" => one("splitChunk", full()?),
        "moveChunk" | "moveRange" => one("moveChunk", full()?),
        "addShardToZone" => {
            vec![
                vec![("enableSharding", On::Cluster)],
                vec![("update", config("shards"))],
            ]
        }
        "removeShardFromZone" => {
            vec![
                vec![("enableSharding", On::Cluster)],
                vec![("update", config("shards")), ("find", config("tags"))],
            ]
        }
        "updateZoneKeyRange" => {
            let tags = ["find", "update", "remove"].map(|action| (action, config("tags")));
            vec![
                vec![("enableSharding", On::Cluster)],
                [vec![("find", config("shards"))], tags.to_vec()].concat(),
            ]
        }
        _ => Vec::new(),
    })
}

fn known(command: &str) -> &'static str {
    if command == "listShards" {
        "listShards"
    } else {
        "listDatabases"
    }
}

fn of_full_name(ns: &str) -> On {
    let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
    On::Collection(db.to_owned(), coll.to_owned())
}

fn covers(privilege: &Document, action: &str, on: &On) -> bool {
    let acts = |a: &Bson| a.as_str().is_some_and(|a| a == action || a == "anyAction");
    let allowed = privilege
        .get_array("actions")
        .is_ok_and(|actions| actions.iter().any(acts));
    allowed
        && privilege
            .get_document("resource")
            .is_ok_and(|resource| includes(resource, on))
}

/// An empty name stands for all; but not for `local` and `config`, and for no `system.`
/// collection.
fn includes(resource: &Document, on: &On) -> bool {
    if resource.get_bool("anyResource").unwrap_or(false) {
        return true;
    }
    let name = |field| resource.get_str(field).ok();
    let any_database = |db: &str| name("db") == Some("") && !matches!(db, "local" | "config");
    match on {
        On::Cluster => resource.get_bool("cluster").unwrap_or(false),
        On::Database(db) => {
            name("collection") == Some("") && (name("db") == Some(db) || any_database(db))
        }
        On::Collection(db, coll) => {
            let all_of_it = name("collection") == Some("") && !coll.starts_with("system.");
            let right_db = name("db") == Some(db) || any_database(db);
            (right_db && all_of_it)
                || (name("collection") == Some(coll)
                    && (name("db") == Some(db) || name("db") == Some("")))
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_privilege_covers_what_its_resource_names() {
        let of = |db: &str, coll: &str| doc! { "resource": { "db": db, "collection": coll }, "actions": ["find"] };
        let coll = |db: &str, coll: &str| On::Collection(db.to_owned(), coll.to_owned());
        let rows = [
            (of("", ""), coll("d", "c"), true),
            (of("", ""), coll("config", "chunks"), false),
            (of("config", ""), coll("config", "chunks"), true),
            (
                of("config", ""),
                coll("config", "system.sharding_ddl_coordinators"),
                false,
            ),
            (of("config", "system.x"), coll("config", "system.x"), true),
            (of("", "system.js"), coll("d", "system.js"), true),
            (of("", ""), On::Cluster, false),
            (of("", ""), On::Database("d".to_owned()), true),
            (
                doc! { "resource": { "cluster": true }, "actions": ["find"] },
                On::Cluster,
                true,
            ),
            (
                doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] },
                On::Cluster,
                true,
            ),
        ];
        for (privilege, on, expect) in rows {
            assert_eq!(
                covers(&privilege, "find", &on),
                expect,
                "{privilege} {on:?}"
            );
            assert!(!covers(
                &doc! { "resource": { "anyResource": true }, "actions": [] },
                "find",
                &on
            ));
        }
    }
}
