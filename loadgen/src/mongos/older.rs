//! Commands that servers before 6.0 take in another way: there the config server does
//! what a database's primary shard does since.
//!
//! Knows nothing about documents: these servers route none themselves.

use bson::{Bson, doc};

use crate::mongos::metadata::{Chunk, Sharded};
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, copy, field};
use crate::mongos::session::Session;

/// `maxWireVersion` of the releases from which on servers do as later ones.
pub(super) const WIRE_5_0: i32 = 13;
pub(super) const WIRE_6_0: i32 = 17;

/// Of a chunk that is moved; a server's default.
const CHUNK_BYTES_MAX: i64 = 64 << 20;

/// # Errors
/// Where the servers carry no router's code, the stand-in has nobody to pass it to.
pub(super) fn refuse_documents(session: &Session) -> Result<(), Failure> {
    if !session.shared.is_before(WIRE_6_0) {
        return Ok(());
    }
    Err(Failure::new(
        115,
        "CommandNotSupported",
        "the mongos stand-in routes no documents of servers before 6.0; read and write them on the shards",
    ))
}

/// Before 6.0 a database is shown as sharded by a command of its own. Up to 4.4 only that
/// one makes it on the shard that is asked for.
pub(super) async fn enable_sharding(
    session: &mut Session,
    db: &str,
    shard: Option<String>,
) -> Result<(), Failure> {
    if !session.shared.is_before(WIRE_6_0) {
        return Ok(());
    }
    let mut fields = doc! { "_configsvrEnableSharding": db };
    if let Some(shard) = shard.filter(|_| session.shared.is_before(WIRE_5_0)) {
        fields.insert("primaryShard", shard);
    }
    session.run_on_config(fields).await.map(drop)
}

pub(super) async fn shard_collection(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let ns = request.collection()?;
    // A collection that is there already keeps its UUID.
    let mut fields = doc! {
        "_configsvrShardCollection": ns, "key": field(&options, "key")?.clone(),
        "unique": false, "getUUIDfromPrimaryShard": true,
    };
    copy(
        &options,
        &["unique", "numInitialChunks", "collation"],
        &mut fields,
    );
    session.run_on_config(fields).await?;
    ok(doc! { "collectionsharded": ns })
}

pub(super) async fn move_primary(session: &mut Session, db: &str, to: &str) -> Answer {
    session
        .run_on_config(doc! { "_configsvrMovePrimary": db, "to": to })
        .await?;
    ok(doc! {})
}

/// The chunk is given by its whole row, as a router has it from its cache.
pub(super) async fn move_chunk(
    session: &mut Session,
    sharded: &Sharded,
    chunk: Chunk,
    to: &str,
    wait_for_delete: bool,
) -> Answer {
    let mut fields = doc! { "_configsvrMoveChunk": 1 };
    fields.extend(chunk.row);
    fields.remove("history");
    fields.insert("ns", &sharded.ns);
    fields.insert("lastmodEpoch", sharded.epoch);
    if let Some(timestamp) = sharded.timestamp {
        fields.insert("lastmodTimestamp", timestamp);
    }
    fields.insert("toShard", to);
    fields.insert("maxChunkSizeBytes", CHUNK_BYTES_MAX);
    fields.insert("secondaryThrottle", doc! {});
    fields.insert("waitForDelete", wait_for_delete);
    session.run_on_config(fields).await?;
    ok(doc! {})
}

/// The UUID that a `drop` is bound to. 5.0 refuses what it does not know, servers before it
/// pay it no heed.
pub(super) fn uuid_of_drop(session: &Session, request: &Request) -> Result<Option<Bson>, Failure> {
    let uuid = request.document()?.remove("collectionUUID");
    if session.shared.is_before(WIRE_5_0) {
        return Ok(None);
    }
    match uuid {
        Some(_) if session.shared.is_before(WIRE_6_0) => Err(Failure::new(
            40415,
            "Location40415",
            "BSON field 'drop.collectionUUID' is an unknown field.",
        )),
        uuid => Ok(uuid),
    }
}

/// Sharded or not; one that is not there is no error.
pub(super) async fn drop(session: &mut Session, db: &str, coll: &str) -> Answer {
    let ns = format!("{db}.{coll}");
    session
        .run_on_config(doc! { "_configsvrDropCollection": &ns })
        .await?;
    ok(doc! { "ns": ns })
}

pub(super) async fn drop_database(session: &mut Session, db: &str) -> Answer {
    session
        .run_on_config(doc! { "_configsvrDropDatabase": db })
        .await?;
    ok(doc! { "dropped": db })
}
