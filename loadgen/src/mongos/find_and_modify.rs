//! `findAndModify`, which has no routed form: the document is found through
//! the router, then its owner is asked to modify it, with the chunk version
//! that makes the shard refuse what it does not own. Exact on the shard;
//! tried again where the document changed in between.

use bson::{Bson, Document, Timestamp, doc};

use crate::mongos::metadata::{Sharded, is_stale, split_ns};
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, command, copy, is_set};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::mongos::{by_map, older};

const TRIES_MAX: u32 = 20;

pub(super) async fn run(session: &mut Session, request: &Request) -> Answer {
    if session.shared.is_before(older::WIRE_6_0) {
        return by_map::find_and_modify(session, request).await;
    }
    let coll = request.collection()?;
    let Some(sharded) = session.sharded(&request.db, coll).await? else {
        let database = session.database_or_create(&request.db).await?;
        return session
            .send(&database.primary, &request.renamed("findAndModify")?, &[])
            .await;
    };
    let options = request.options()?;
    for _ in 0..TRIES_MAX {
        match find(session, request, &options).await? {
            Some(id) => {
                if let Some(reply) = modify(session, &sharded, &options, id).await? {
                    return Ok(reply);
                }
            }
            None if is_set(&options, "upsert") => return upsert(session, request, &options).await,
            None => {
                return ok(
                    doc! { "lastErrorObject": { "n": 0, "updatedExisting": false }, "value": null },
                );
            }
        }
    }
    Err(Failure::new(
        112,
        "WriteConflict",
        "findAndModify: the document kept changing",
    ))
}

/// `_id` of the document it is about.
async fn find(
    session: &mut Session,
    request: &Request,
    options: &Document,
) -> Result<Option<Bson>, Failure> {
    let query = options.get_document("query").cloned().unwrap_or_default();
    let mut find = doc! {
        "clusterFind": request.collection()?, "filter": query, "projection": { "_id": 1 },
        "limit": 1, "singleBatch": true,
    };
    copy(options, &["sort", "collation", "hint", "let"], &mut find);
    let place = session.home().await?;
    let rows = session
        .drain(&place, &request.db, find, "clusterGetMore")
        .await?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|mut row| row.remove("_id")))
}

/// None if no shard has a document that still matches.
async fn modify(
    session: &mut Session,
    sharded: &Sharded,
    options: &Document,
    id: Bson,
) -> Result<Option<bson::RawDocumentBuf>, Failure> {
    let (db, coll) = split_ns(&sharded.ns)?;
    let query = options.get_document("query").cloned().unwrap_or_default();
    for place in session.owners(db, coll).await? {
        let mut fields = options.clone();
        fields.insert(
            "query",
            doc! { "$and": [query.clone(), { "_id": id.clone() }] },
        );
        fields.insert("upsert", false);
        if is_set(options, "remove") {
            fields.remove("upsert");
        }
        fields.insert(
            "shardVersion",
            shard_version(session, sharded, &place).await?,
        );
        let reply = session
            .send(&place, &command(db, first_key(fields, coll))?, &[])
            .await?;
        if !reply.get("ok")?.is_some_and(|ok| ok.as_f64() == Some(1.0)) {
            let failure = Failure::Passed(reply);
            if is_stale(failure.code()) {
                return Ok(None);
            }
            return Err(failure);
        }
        let outcome = Document::try_from(reply.as_ref())?;
        let last = outcome
            .get_document("lastErrorObject")
            .map_err(Failure::internal)?;
        if is_set(last, "n") {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// The command under its canonical name, which must come first.
fn first_key(fields: Document, coll: &str) -> Document {
    let mut out = doc! { "findAndModify": coll };
    out.extend(fields.into_iter().skip(1));
    out
}

/// The newest chunk version a shard has of a collection.
async fn shard_version(
    session: &mut Session,
    sharded: &Sharded,
    place: &Place,
) -> Result<Document, Failure> {
    let Place::Shard(id) = place else {
        return Err(Failure::internal("chunks on the config server"));
    };
    let mut filter = sharded.chunk_filter();
    filter.insert("shard", id);
    let rows = session
        .config_find("chunks", filter, doc! { "lastmod": -1 })
        .await?;
    let newest = rows.first().map(|row| row.get_timestamp("lastmod"));
    let newest = newest
        .unwrap_or(Ok(Timestamp {
            time: 0,
            increment: 0,
        }))
        .map_err(Failure::internal)?;
    Ok(doc! { "t": sharded.timestamp, "e": sharded.epoch, "v": newest })
}

/// An upsert is an ordinary routed update; its document is read back.
async fn upsert(session: &mut Session, request: &Request, options: &Document) -> Answer {
    let coll = request.collection()?;
    let mut update = doc! {
        "q": options.get_document("query").cloned().unwrap_or_default(),
        "u": options.get("update").cloned().ok_or_else(|| Failure::bad_value("findAndModify without update"))?,
        "upsert": true,
    };
    copy(options, &["collation", "arrayFilters"], &mut update);
    let place = session.home().await?;
    let mut write = doc! { "clusterUpdate": coll, "updates": [update] };
    copy(options, &["writeConcern", "let"], &mut write);
    let reply = session.run(&place, &request.db, write).await?;
    let upserted = reply
        .get_array("upserted")
        .ok()
        .and_then(|list| list.first()?.as_document()?.get("_id").cloned());
    // Without one, another client was first and its document was updated.
    let id = upserted.clone().unwrap_or(Bson::Null);
    let mut find = doc! { "clusterFind": coll, "filter": { "_id": id.clone() }, "limit": 1, "singleBatch": true };
    if let Ok(fields) = options.get_document("fields") {
        find.insert("projection", fields.clone());
    }
    let value = if is_set(options, "new") {
        session
            .drain(&place, &request.db, find, "clusterGetMore")
            .await?
            .into_iter()
            .next()
    } else {
        None
    };
    let mut last = doc! { "n": 1, "updatedExisting": upserted.is_none() };
    if upserted.is_some() {
        last.insert("upserted", id);
    }
    ok(doc! { "lastErrorObject": last, "value": value.map_or(Bson::Null, Bson::Document) })
}
