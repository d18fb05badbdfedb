//! One cursor over what several shards find: each opens a cursor of its own, and the
//! database's primary shard reads these and merges them (`$mergeCursors`), as a router
//! lets a shard do for a pipeline's later stages. So the order of values is the server's
//! own. Any shard could, but one that has never met the others does not know them for its
//! first 30 s.

use bson::{Bson, Document, doc};

use super::map::Map;
use super::read;
use crate::mongos::crud;
use crate::mongos::reply::{Answer, Failure};
use crate::mongos::request::{self, copy};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::wire::link;

/// Options of a pipeline that its later stages need, too.
const MERGING: [&str; 5] = [
    "collation",
    "let",
    "allowDiskUse",
    "bypassDocumentValidation",
    "comment",
];

pub(super) struct Merge {
    pub(super) db: String,
    pub(super) coll: String,
    /// For each shard: a `find` or `aggregate` whose first batch is empty. A server goes
    /// down over one that is not.
    pub(super) command: Document,
    pub(super) places: Vec<Place>,
    /// Documents come in this order, with their sort keys.
    pub(super) sort: Option<Document>,
    /// What is left to do.
    pub(super) stages: Vec<Document>,
    pub(super) batch_size: Option<Bson>,
    /// There is one batch and no more.
    pub(super) single_batch: bool,
}

pub(super) async fn run(session: &mut Session, map: &Map, merge: Merge) -> Answer {
    let mut remotes = Vec::new();
    for place in &merge.places {
        match open(session, map, &merge, place).await {
            Ok(remote) => remotes.push((place, remote)),
            Err(failure) => {
                for (place, remote) in remotes {
                    kill(session, &merge, place, cursor_id(&remote)).await?;
                }
                return Err(failure);
            }
        }
    }
    let remotes = remotes.into_iter().map(|(_, remote)| remote).collect();
    let command = merging(map, &merge, remotes);
    let body = request::command(&merge.db, command)?;
    let merger = match &map.primary {
        Place::Shard(id) => Place::Merger(id.clone()),
        other => other.clone(),
    };
    let reply = read::passed(session.send(&merger, &body, &[]).await?)?;
    if !merge.single_batch {
        crud::keep_cursor(session, &reply, map.primary.clone());
        return Ok(reply);
    }
    let mut answer = Document::try_from(reply.as_ref())?;
    let cursor = answer
        .get_document_mut("cursor")
        .map_err(Failure::internal)?;
    if let Some(Bson::Int64(id)) = cursor
        .insert("id", 0_i64)
        .filter(|id| *id != Bson::Int64(0))
    {
        kill(session, &merge, &map.primary, Some(id)).await?;
    }
    Ok(bson::RawDocumentBuf::try_from(&answer)?)
}

/// A cursor on one shard, as the one that merges is told of it.
async fn open(
    session: &mut Session,
    map: &Map,
    merge: &Merge,
    place: &Place,
) -> Result<Document, Failure> {
    let mut command = merge.command.clone();
    command.extend(map.versions(place));
    let mut reply = session.run(place, &merge.db, command).await?;
    let cursor = reply
        .remove("cursor")
        .ok_or_else(|| Failure::internal("no cursor"))?;
    let host = session.host(place).await?;
    let Place::Shard(id) = place else {
        return Err(Failure::internal("documents on the config server"));
    };
    Ok(
        doc! { "shardId": id, "hostAndPort": host, "cursorResponse": { "cursor": cursor, "ok": 1.0 } },
    )
}

fn merging(map: &Map, merge: &Merge, remotes: Vec<Document>) -> Document {
    let ns = format!("{}.{}", merge.db, merge.coll);
    let mut cursors = doc! { "remotes": remotes, "nss": ns, "allowPartialResults": false };
    if let Some(sort) = &merge.sort {
        cursors.insert("sort", sort.clone());
        cursors.insert("compareWholeSortKey", false);
    }
    let mut pipeline = vec![doc! { "$mergeCursors": cursors }];
    pipeline.extend_from_slice(&merge.stages);
    let mut cursor = Document::new();
    if let Some(size) = &merge.batch_size {
        cursor.insert("batchSize", size.clone());
    }
    // Between servers both concerns must be said.
    let mut command = doc! {
        "aggregate": &merge.coll, "pipeline": pipeline, "cursor": cursor, "fromMongos": true,
        "readConcern": { "level": "local" }, "writeConcern": { "w": 1 },
    };
    copy(&merge.command, &MERGING, &mut command);
    command.extend(map.versions(&map.primary));
    command
}

fn cursor_id(remote: &Document) -> Option<i64> {
    let response = remote.get_document("cursorResponse").ok()?;
    response.get_document("cursor").ok()?.get_i64("id").ok()
}

async fn kill(
    session: &mut Session,
    merge: &Merge,
    place: &Place,
    id: Option<i64>,
) -> Result<(), Failure> {
    let kill = doc! { "killCursors": &merge.coll, "cursors": [id.unwrap_or_default()] };
    let reply = session
        .send(place, &request::command(&merge.db, kill)?, &[])
        .await?;
    let answer = Document::try_from(reply.as_ref())?;
    match link::fault(&answer) {
        Some(_) => Err(Failure::Passed(reply)),
        None => Ok(()),
    }
}
