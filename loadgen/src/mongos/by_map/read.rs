//! `find` and `aggregate`: to the shard that a query names, or to all that own chunks.

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::map::Map;
use super::merge::{self, Merge};
use super::patience::Patience;
use super::{key, pipeline, statements};
use crate::mongos::crud;
use crate::mongos::metadata::split_ns;
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{self, Request, is_set};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::wire::link::number;

/// CommandOnShardedViewNotSupportedOnMongod: with the view taken apart.
const SHARDED_VIEW: i32 = 169;

pub(super) async fn run(session: &mut Session, request: &Request) -> Answer {
    let coll = request.collection()?;
    let mut patience = Patience::new(&request.db, coll);
    loop {
        let Some(map) = session.map(&request.db, coll).await? else {
            return nothing(request);
        };
        let failure = match attempt(session, request, &map).await {
            Err(failure) => failure,
            found => return found,
        };
        if failure.code() == SHARDED_VIEW {
            return Box::pin(view(session, request, failure)).await;
        }
        patience.wait(session, failure).await?;
    }
}

/// An empty answer, of a database that is not there.
fn nothing(request: &Request) -> Answer {
    let none = bson::Array::new();
    let ns = format!("{}.{}", request.db, request.collection()?);
    ok(doc! { "cursor": { "id": 0_i64, "ns": ns, "firstBatch": none } })
}

async fn attempt(session: &mut Session, request: &Request, map: &Map) -> Answer {
    let options = request.options()?;
    let stages = match request.name.as_str() {
        "aggregate" => stages(&options)?,
        _ => Vec::new(),
    };
    let query = match options.get_document("filter") {
        Ok(filter) => filter.clone(),
        Err(_) => pipeline::query(&stages),
    };
    let places = target(map, &query, options.get_document("collation").ok())?;
    let foreign = pipeline::is_on_primary(&stages) && places != [map.primary.clone()];
    if let ([only], false) = (&places[..], foreign) {
        return alone(session, request, map, only).await;
    }
    let merge = if request.name == "find" {
        find(request, options, places)?
    } else {
        aggregate(request, options, stages, places)?
    };
    merge::run(session, map, merge).await
}

fn target(
    map: &Map,
    query: &Document,
    collation: Option<&Document>,
) -> Result<Vec<Place>, Failure> {
    let key = map
        .chunks
        .as_ref()
        .and_then(|chunks| key::of_query(chunks, query, collation));
    match key {
        Some(key) => Ok(vec![map.owner(&key)?]),
        None => Ok(map.owners()),
    }
}

/// One shard does it all.
async fn alone(session: &mut Session, request: &Request, map: &Map, place: &Place) -> Answer {
    let body = statements::with(&request.renamed(&request.name)?, &map.versions(place))?;
    let reply = passed(session.send(place, &body, &[]).await?)?;
    crud::keep_cursor(session, &reply, place.clone());
    Ok(reply)
}

/// # Errors
/// The reply itself where the command failed.
pub(super) fn passed(reply: RawDocumentBuf) -> Answer {
    if reply.get("ok")?.is_some_and(|ok| ok.as_f64() == Some(1.0)) {
        Ok(reply)
    } else {
        Err(Failure::Passed(reply))
    }
}

fn find(request: &Request, mut options: Document, places: Vec<Place>) -> Result<Merge, Failure> {
    let count = |options: &Document, name| options.get(name).map_or(0.0, number) as i64;
    let (skip, limit) = (count(&options, "skip"), count(&options, "limit"));
    let single_batch = is_set(&options, "singleBatch");
    let mut stages = Vec::new();
    if skip != 0 {
        stages.push(doc! { "$skip": skip });
    }
    if limit != 0 {
        stages.push(doc! { "$limit": limit });
        options.insert("limit", skip + limit);
    }
    let mut batch_size = options.insert("batchSize", 0);
    if single_batch && batch_size.is_none() && limit != 0 {
        batch_size = Some(Bson::Int64(limit));
    }
    options.remove("skip");
    options.remove("singleBatch");
    let sort = options.get_document("sort").ok().cloned();
    let sort = sort.filter(|sort| !sort.is_empty() && !sort.contains_key("$natural"));
    if sort.is_some() {
        let mut projection = options
            .get_document("projection")
            .cloned()
            .unwrap_or_default();
        projection.insert("$sortKey", doc! { "$meta": "sortKey" });
        options.insert("projection", projection);
    }
    Ok(Merge {
        db: request.db.clone(),
        coll: request.collection()?.to_owned(),
        command: options,
        places,
        sort,
        stages,
        batch_size,
        single_batch,
    })
}

fn aggregate(
    request: &Request,
    mut options: Document,
    stages: Vec<Document>,
    places: Vec<Place>,
) -> Result<Merge, Failure> {
    if stages
        .first()
        .is_some_and(|first| first.contains_key("$geoNear"))
    {
        let message = "the mongos stand-in has no $geoNear over several shards";
        return Err(Failure::new(115, "CommandNotSupported", message));
    }
    let split = pipeline::split(stages);
    let cursor = options.insert("cursor", doc! { "batchSize": 0 });
    let batch_size = cursor.and_then(|cursor| cursor.as_document()?.get("batchSize").cloned());
    options.insert("pipeline", split.on_shards);
    options.remove("writeConcern");
    Ok(Merge {
        db: request.db.clone(),
        coll: request.collection()?.to_owned(),
        command: options,
        places,
        sort: None,
        stages: split.merging,
        batch_size,
        single_batch: false,
    })
}

fn stages(options: &Document) -> Result<Vec<Document>, Failure> {
    let stages = options
        .get_array("pipeline")
        .map_err(|_| Failure::bad_value("\"pipeline\" is missing"))?;
    let stage = |stage: &Bson| stage.as_document().cloned();
    let stages: Option<Vec<Document>> = stages.iter().map(stage).collect();
    stages.ok_or_else(|| Failure::bad_value("a stage must be a document"))
}

/// A view on a sharded collection: its pipeline and what is asked, on the collection.
async fn view(session: &mut Session, request: &Request, refusal: Failure) -> Answer {
    let Failure::Passed(reply) = &refusal else {
        return Err(refusal);
    };
    let reply = Document::try_from(reply.as_ref())?;
    let view = request::field(&reply, "resolvedView")?;
    let (db, coll) = split_ns(request::text(view, "ns")?)?;
    let options = request.options()?;
    let mut pipeline = stages(view)?;
    let mut command = match request.name.as_str() {
        "find" => {
            pipeline.extend(pipeline::of_find(&options));
            let mut cursor = Document::new();
            request::copy(&options, &["batchSize"], &mut cursor);
            doc! { "cursor": cursor }
        }
        _ => {
            pipeline.extend(stages(&options)?);
            let mut rest: Document = options.clone().into_iter().skip(1).collect();
            rest.remove("pipeline");
            rest
        }
    };
    request::copy(&options, &["maxTimeMS", "readConcern", "let"], &mut command);
    request::copy(view, &["collation"], &mut command);
    let mut whole = doc! { "aggregate": coll, "pipeline": pipeline };
    whole.extend(command);
    run(session, &Request::of("aggregate", db, whole)?).await
}

/// All that an aggregate finds.
pub(super) async fn all(
    session: &mut Session,
    db: &str,
    command: Document,
) -> Result<Vec<Document>, Failure> {
    let reply = run(session, &Request::of("aggregate", db, command)?).await?;
    let reply = Document::try_from(reply.as_ref())?;
    let id = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_i64("id"));
    let home = id.ok().and_then(|id| session.shared.forget_cursor(id));
    let place = home.map_or(Place::Config, |home| home.place);
    session.rest(&place, db, reply, "getMore").await
}
