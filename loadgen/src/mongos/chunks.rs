//! Chunks: `split`, `moveChunk`, `moveRange`, `mergeChunks`.

use bson::{Bson, Document, doc};

use crate::mongos::metadata::{Chunk, Sharded};
use crate::mongos::older;
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, copy, field, is_set, text};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::value::hash;

/// `split: ns` with `middle` (split there), `find` (the chunk that holds the
/// document) or `bounds`; the last two split at the median.
pub(super) async fn split(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let sharded = session.must_be_sharded(request.collection()?).await?;
    let (chunk, split_key) = match options.get_document("middle") {
        Ok(middle) => (
            holder(session, &sharded, middle).await?,
            Some(middle.clone()),
        ),
        Err(_) => (chosen(session, &sharded, &options).await?, None),
    };
    let owner = Place::Shard(chunk.shard.clone());
    let split_key = match split_key {
        Some(key) => key,
        None => median(session, &sharded, &chunk, &owner).await?,
    };
    if chunk.min == split_key {
        let message = format!(
            "new split key {split_key} is a boundary key of existing chunk [{split_key}, {})",
            chunk.max
        );
        return Err(Failure::without_code(message));
    }
    let fields = doc! {
        "splitChunk": &sharded.ns, "keyPattern": sharded.key.clone(), "min": chunk.min, "max": chunk.max,
        "from": &chunk.shard, "splitKeys": [split_key], "epoch": sharded.epoch, "timestamp": sharded.timestamp,
    };
    session.run(&owner, "admin", fields).await?;
    ok(doc! {})
}

/// `moveChunk: ns`, `find` or `bounds`, `to`.
pub(super) async fn move_chunk(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let sharded = session.must_be_sharded(request.collection()?).await?;
    let chunk = chosen(session, &sharded, &options).await?;
    let to = text(&options, "to")?;
    if chunk.shard == to {
        return ok(doc! { "millis": 0 });
    }
    let wait = is_set(&options, "_waitForDelete") || is_set(&options, "waitForDelete");
    if session.shared.is_before(older::WIRE_6_0) {
        return older::move_chunk(session, &sharded, chunk, to, wait).await;
    }
    let mut fields = doc! { "_configsvrMoveRange": &sharded.ns, "toShard": to, "min": chunk.min, "max": chunk.max };
    fields.insert("waitForDelete", wait);
    if is_set(&options, "forceJumbo") {
        fields.insert("forceJumbo", 1);
    }
    session.run_on_config(fields).await?;
    ok(doc! {})
}

/// `moveRange: ns, toShard`, `min` or `max` or both.
pub(super) async fn move_range(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let mut fields = doc! { "_configsvrMoveRange": request.collection()?, "toShard": text(&options, "toShard")? };
    copy(
        &options,
        &["min", "max", "waitForDelete", "forceJumbo"],
        &mut fields,
    );
    session.run_on_config(fields).await?;
    ok(doc! {})
}

/// `mergeChunks: ns, bounds`: contiguous chunks of one shard.
pub(super) async fn merge(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let sharded = session.must_be_sharded(request.collection()?).await?;
    let (min, max) = bounds(&options)?;
    let first = holder(session, &sharded, &min).await?;
    let fields = doc! {
        "mergeChunks": &sharded.ns, "bounds": [min, max], "epoch": sharded.epoch, "timestamp": sharded.timestamp,
    };
    session
        .run(&Place::Shard(first.shard), "admin", fields)
        .await?;
    ok(doc! {})
}

/// The chunk meant by `find` or `bounds`.
async fn chosen(
    session: &mut Session,
    sharded: &Sharded,
    options: &Document,
) -> Result<Chunk, Failure> {
    if options.contains_key("bounds") {
        let (min, max) = bounds(options)?;
        let chunks = session
            .chunks(sharded, doc! { "min": min.clone(), "max": max.clone() })
            .await?;
        let missing =
            || Failure::bad_value(format!("no chunk of {} is [{min}, {max})", sharded.ns));
        return chunks.into_iter().next().ok_or_else(missing);
    }
    let key = key_of(sharded, field(options, "find")?)?;
    holder(session, sharded, &key).await
}

/// The chunk that holds a shard key value (hashed already where hashed).
async fn holder(
    session: &mut Session,
    sharded: &Sharded,
    key: &Document,
) -> Result<Chunk, Failure> {
    let key = ordered(sharded, key)?;
    let filter = doc! { "min": { "$lte": key.clone() }, "max": { "$gt": key.clone() } };
    let chunks = session.chunks(sharded, filter).await?;
    chunks
        .into_iter()
        .next()
        .ok_or_else(|| Failure::bad_value(format!("no chunk of {} holds {key}", sharded.ns)))
}

fn bounds(options: &Document) -> Result<(Document, Document), Failure> {
    let bounds = options.get_array("bounds").map(Vec::as_slice);
    match bounds {
        Ok([Bson::Document(min), Bson::Document(max)]) => Ok((min.clone(), max.clone())),
        _ => Err(Failure::bad_value("bounds must be [<min>, <max>]")),
    }
}

/// The fields in the order of the shard key.
fn ordered(sharded: &Sharded, key: &Document) -> Result<Document, Failure> {
    let missing =
        |name: &String| Failure::bad_value(format!("{key} lacks {name:?} of the shard key"));
    let field = |name: &String| {
        key.get(name)
            .map(|value| (name.clone(), value.clone()))
            .ok_or_else(|| missing(name))
    };
    sharded.key.keys().map(field).collect()
}

/// The shard key of a document given by its plain values: dotted names are
/// looked up, hashed fields hashed.
fn key_of(sharded: &Sharded, document: &Document) -> Result<Document, Failure> {
    let mut key = Document::new();
    for (name, kind) in &sharded.key {
        let value = lookup(document, name).cloned().unwrap_or(Bson::Null);
        let value = if kind.as_str() == Some("hashed") {
            let hash = hash::hashed(&value);
            hash.map(Bson::Int64)
                .ok_or_else(|| Failure::bad_value(format!("cannot hash {value}")))?
        } else {
            value
        };
        key.insert(name, value);
    }
    Ok(key)
}

fn lookup<'a>(document: &'a Document, name: &str) -> Option<&'a Bson> {
    if let Some(value) = document.get(name) {
        return Some(value);
    }
    let (head, rest) = name.split_once('.')?;
    lookup(document.get_document(head).ok()?, rest)
}

/// The key in the middle of a chunk's documents.
async fn median(
    session: &mut Session,
    sharded: &Sharded,
    chunk: &Chunk,
    owner: &Place,
) -> Result<Document, Failure> {
    let fields = doc! {
        "splitVector": &sharded.ns, "keyPattern": sharded.key.clone(),
        "min": chunk.min.clone(), "max": chunk.max.clone(), "force": true,
    };
    let reply = session.run(owner, "admin", fields).await?;
    let keys = reply.get_array("splitKeys").map_err(Failure::internal)?;
    let key = keys.first().and_then(Bson::as_document).cloned();
    key.ok_or_else(|| {
        Failure::new(
            96,
            "OperationFailed",
            "cannot find a median in the chunk: too few documents",
        )
    })
}
