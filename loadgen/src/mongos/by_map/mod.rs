//! Documents before 6.0, where shard servers carry no router's code: the stand-in routes
//! them itself, by the chunk map, and says with each command which version of it that was.
//! A shard refuses what is outdated; then the map is read again.
//!
//! Sessions never travel: a cursor that was opened in one cannot be merged in another.

mod key;
mod map;
mod merge;
mod patience;
mod pipeline;
mod read;
mod statements;
mod write;

use bson::{Bson, Document, doc};

pub(super) use map::Map;

use self::patience::Patience;
use self::statements::Verb;
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{self, Request};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;

pub(super) async fn run(session: &mut Session, request: &Request) -> Answer {
    if request.target().is_none() {
        return about_servers(session, request).await;
    }
    match request.name.as_str() {
        "insert" => write::run(session, request, Verb::Insert).await,
        "update" => write::run(session, request, Verb::Update).await,
        "delete" => write::run(session, request, Verb::Delete).await,
        _ => read::run(session, request).await,
    }
}

/// All that an aggregate finds, given with its options.
pub(super) async fn aggregate(
    session: &mut Session,
    db: &str,
    command: Document,
) -> Result<Vec<Document>, Failure> {
    read::all(session, db, command).await
}

/// `findAndModify`, whose query must hold the whole shard key.
pub(super) async fn find_and_modify(session: &mut Session, request: &Request) -> Answer {
    let coll = request.collection()?;
    let options = request.options()?;
    let query = options.get_document("query").cloned().unwrap_or_default();
    let collation = options.get_document("collation").ok();
    let mut patience = Patience::new(&request.db, coll);
    loop {
        let Some(map) = session.map(&request.db, coll).await? else {
            session.database_or_create(&request.db).await?;
            continue;
        };
        let place = match &map.chunks {
            None => map.primary.clone(),
            Some(chunks) => {
                let key = key::of_query(chunks, &query, collation);
                map.owner(&key.ok_or_else(no_shard_key)?)?
            }
        };
        let body = statements::with(&request.renamed("findAndModify")?, &map.versions(&place))?;
        match read::passed(session.send(&place, &body, &[]).await?) {
            Err(failure) => patience.wait(session, failure).await?,
            found => return found,
        }
    }
}

fn no_shard_key() -> Failure {
    let message = "Query for sharded findAndModify must contain the shard key";
    Failure::new(61, "ShardKeyNotFound", message)
}

/// Of the first shard that a command without a query goes to.
pub(super) async fn explain(session: &mut Session, request: &Request) -> Answer {
    let command = request.options()?;
    let explained = request::field(&command, "explain")?;
    let coll = explained
        .values()
        .next()
        .and_then(Bson::as_str)
        .unwrap_or_default();
    let mut patience = Patience::new(&request.db, coll);
    loop {
        let map = session.map(&request.db, coll).await?;
        let map = map.ok_or_else(|| Failure::namespace_not_found(&request.db))?;
        let place = map.owners().swap_remove(0);
        let body = statements::with(&request.renamed("explain")?, &map.versions(&place))?;
        match read::passed(session.send(&place, &body, &[]).await?) {
            Err(failure) => patience.wait(session, failure).await?,
            found => return found,
        }
    }
}

/// `aggregate: 1`. With `localOps` it is about the router, which does nothing of its own.
async fn about_servers(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let stages = options.get_array("pipeline").into_iter().flatten();
    let first = stages.filter_map(Bson::as_document).next();
    let current = first.and_then(|stage| stage.get_document("$currentOp").ok());
    let Some(current) = current else {
        let message = "before 6.0 the mongos stand-in has no such pipeline without a collection";
        return Err(Failure::new(115, "CommandNotSupported", message));
    };
    let rows = if request::is_set(current, "localOps") {
        Vec::new()
    } else {
        on_every_shard(session, &request.db, options.clone()).await?
    };
    ok(
        doc! { "cursor": { "id": 0_i64, "ns": format!("{}.$cmd.aggregate", request.db), "firstBatch": rows } },
    )
}

/// What each shard finds, with the shard's name, as a router shows operations.
pub(super) async fn on_every_shard(
    session: &mut Session,
    db: &str,
    command: Document,
) -> Result<Vec<Document>, Failure> {
    let mut all = Vec::new();
    for id in session.shard_ids().await? {
        let found = session
            .read_all(&Place::Shard(id.clone()), db, command.clone())
            .await?;
        for mut row in found {
            row.insert("shard", &id);
            if let Some(op) = row.get("opid").cloned() {
                row.insert("opid", format!("{id}:{op}"));
            }
            all.push(row);
        }
    }
    Ok(all)
}
