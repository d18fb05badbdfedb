//! Commands that servers before 6.0 take in another way: there the config server does
//! what a database's primary shard does since.
//!
//! Knows nothing about documents: `by_map` routes them.

use bson::{Bson, Document, doc};

use crate::mongos::metadata::{Chunk, Sharded, split_ns};
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, copy, field, text};
use crate::mongos::session::Session;

/// `maxWireVersion` of the releases from which on servers do as later ones.
pub(super) const WIRE_4_4: i32 = 9;
pub(super) const WIRE_5_0: i32 = 13;
pub(super) const WIRE_6_0: i32 = 17;

/// Of a chunk that is moved; a server's default.
const CHUNK_BYTES_MAX: i64 = 64 << 20;

/// One command creates a database and marks it as sharded. `_configsvrCreateDatabase` of
/// 4.2 and 4.4 heeds no primary shard.
pub(super) async fn enable_sharding(
    session: &mut Session,
    db: &str,
    primary: Option<&str>,
) -> Answer {
    let mut fields = doc! { "_configsvrEnableSharding": db };
    if let Some(shard) = primary {
        fields.insert("primaryShard", shard);
    }
    session.run_on_config(fields).await?;
    ok(doc! {})
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

/// Unsharded ones, on the database's primary shard.
pub(super) async fn rename(session: &mut Session, db: &str, options: Document) -> Answer {
    for ns in [text(&options, "renameCollection")?, text(&options, "to")?] {
        let (db, coll) = split_ns(ns)?;
        if session.sharded(db, coll).await?.is_some() {
            let message = format!("You can't rename a sharded collection: {ns}");
            return Err(Failure::new(20, "IllegalOperation", message));
        }
    }
    let mut fields = Document::new();
    let kept = ["renameCollection", "to", "dropTarget"];
    copy(&options, &kept, &mut fields);
    session.run_on_primary(db, "admin", fields).await?;
    ok(doc! {})
}

/// Since 4.4; until 5.0 on the config server.
pub(super) async fn refine_shard_key(session: &mut Session, ns: &str, key: &Document) -> Answer {
    if session.shared.is_before(WIRE_4_4) {
        let message = "no such command: 'refineCollectionShardKey'";
        return Err(Failure::new(59, "CommandNotFound", message));
    }
    let epoch = session.must_be_sharded(ns).await?.epoch;
    session
        .run_on_config(
            doc! { "_configsvrRefineCollectionShardKey": ns, "key": key, "epoch": epoch },
        )
        .await?;
    ok(doc! {})
}
