//! Lists: databases (merged over the shards), collections and indexes (asked
//! where they live).

use std::collections::BTreeMap;

use bson::{Document, doc};

use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, copy, is_set};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::mongos::{crud, older};
use crate::wire::link::number;

/// Every server has its own of these; a router shows the config server's
/// `config` and `admin`, and no `local`.
fn is_internal(name: &str) -> bool {
    matches!(name, "admin" | "config" | "local")
}

pub(super) async fn databases(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let mut command = doc! { "listDatabases": 1 };
    copy(
        &options,
        &["filter", "nameOnly", "authorizedDatabases"],
        &mut command,
    );
    let mut merged: BTreeMap<String, Document> = BTreeMap::new();
    for id in session.shard_ids().await? {
        for row in listed(session, &Place::Shard(id.clone()), &command).await? {
            merge(&mut merged, row, &id, |name| !is_internal(name));
        }
    }
    for row in listed(session, &Place::Config, &command).await? {
        merge(&mut merged, row, "config", |name| {
            matches!(name, "admin" | "config")
        });
    }
    let total: i64 = merged
        .values()
        .filter_map(|row| row.get_i64("sizeOnDisk").ok())
        .sum();
    let databases: Vec<Document> = merged.into_values().collect();
    if is_set(&options, "nameOnly") {
        ok(doc! { "databases": databases })
    } else {
        ok(doc! { "databases": databases, "totalSize": total, "totalSizeMb": total >> 20 })
    }
}

async fn listed(
    session: &mut Session,
    place: &Place,
    command: &Document,
) -> Result<Vec<Document>, Failure> {
    let mut reply = session.run(place, "admin", command.clone()).await?;
    let rows = match reply.remove("databases") {
        Some(bson::Bson::Array(rows)) => rows,
        _ => Vec::new(),
    };
    Ok(rows
        .into_iter()
        .filter_map(|row| row.as_document().cloned())
        .collect())
}

fn merge(
    merged: &mut BTreeMap<String, Document>,
    row: Document,
    server: &str,
    shown: fn(&str) -> bool,
) {
    let Ok(name) = row.get_str("name") else {
        return;
    };
    if !shown(name) {
        return;
    }
    let entry = merged
        .entry(name.to_owned())
        .or_insert_with(|| doc! { "name": name });
    let Some(size) = row.get("sizeOnDisk").map(|size| number(size) as i64) else {
        return;
    };
    let sum = entry.get_i64("sizeOnDisk").unwrap_or(0) + size;
    let empty = entry.get_bool("empty").unwrap_or(true) && row.get_bool("empty").unwrap_or(true);
    let mut shards = entry.get_document("shards").cloned().unwrap_or_default();
    shards.insert(server, size);
    entry.insert("sizeOnDisk", sum);
    entry.insert("empty", empty);
    entry.insert("shards", shards);
}

/// On the database's primary shard, which knows every collection.
pub(super) async fn collections(session: &mut Session, request: &Request) -> Answer {
    match session.database(&request.db).await? {
        Some(database) => {
            crud::forward(
                session,
                database.primary,
                &request.renamed(&request.name)?,
                &[],
            )
            .await
        }
        None => {
            let none = bson::Array::new();
            ok(
                doc! { "cursor": { "id": 0_i64, "ns": format!("{}.$cmd.listCollections", request.db), "firstBatch": none } },
            )
        }
    }
}

/// On a shard that owns chunks: only there is the list sure to be whole. Until 4.4 on the
/// database's primary shard, whether it owns any or not (server source,
/// `commands_public.cpp`).
pub(super) async fn indexes(session: &mut Session, request: &Request) -> Answer {
    let coll = request.collection()?;
    let owner = if session.shared.is_before(older::WIRE_4_4) {
        let database = session.database(&request.db).await?;
        database.map(|database| database.primary)
    } else {
        session.owners(&request.db, coll).await?.into_iter().next()
    };
    let owner =
        owner.ok_or_else(|| Failure::namespace_not_found(&format!("{}.{coll}", request.db)))?;
    crud::forward(session, owner, &request.renamed(&request.name)?, &[]).await
}
