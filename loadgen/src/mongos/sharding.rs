//! Shards, sharded databases and collections, zones and the balancer.

use bson::{Document, doc};

use crate::mongos::metadata::split_ns;
use crate::mongos::older;
use crate::mongos::reply::{Answer, Failure, ok, stripped};
use crate::mongos::request::{Request, copy, field, text};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;

pub(super) async fn list_shards(session: &mut Session) -> Answer {
    session.reload_shards().await?;
    let shards = session
        .config_find("shards", doc! {}, doc! { "_id": 1 })
        .await?;
    ok(doc! { "shards": shards })
}

pub(super) async fn add_shard(session: &mut Session, request: &Request) -> Answer {
    let mut fields = doc! { "_configsvrAddShard": request.collection()? };
    copy(&request.options()?, &["name"], &mut fields);
    let reply = session.run_on_config(fields).await?;
    session.reload_shards().await?;
    ok(doc! { "shardAdded": text(&reply, "shardAdded")? })
}

pub(super) async fn remove_shard(session: &mut Session, request: &Request) -> Answer {
    let reply = session
        .run_on_config(doc! { "_configsvrRemoveShard": request.collection()? })
        .await?;
    session.reload_shards().await?;
    ok(stripped(reply))
}

/// `enableSharding: db, primaryShard`: creates the database.
pub(super) async fn enable_sharding(session: &mut Session, request: &Request) -> Answer {
    let db = request.collection()?;
    let options = request.options()?;
    let primary = options.get_str("primaryShard").ok();
    if session.shared.is_before(older::WIRE_6_0) {
        return older::enable_sharding(session, db, primary).await;
    }
    let mut fields = doc! { "_configsvrCreateDatabase": db };
    if let Some(shard) = primary {
        fields.insert("primaryShardId", shard);
    }
    session.run_on_config(fields).await?;
    ok(doc! {})
}

/// `movePrimary: db, to`.
pub(super) async fn move_primary(session: &mut Session, request: &Request) -> Answer {
    let db = request.collection()?;
    let to = request
        .options()?
        .get_str("to")
        .map(str::to_owned)
        .map_err(|_| Failure::bad_value("\"to\" is missing"))?;
    if session.shared.is_before(older::WIRE_6_0) {
        return older::move_primary(session, db, &to).await;
    }
    session
        .run_on_primary(db, "admin", doc! { "_shardsvrMovePrimary": db, "to": to })
        .await?;
    ok(doc! {})
}

/// `shardCollection: ns, key, …`; creates the collection if it is not there.
pub(super) async fn shard_collection(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let ns = request.collection()?;
    let (db, coll) = split_ns(ns)?;
    session.database_or_create(db).await?;
    if session.shared.is_before(older::WIRE_5_0) {
        return older::shard_collection(session, request).await;
    }
    let mut fields =
        doc! { "_shardsvrCreateCollection": coll, "shardKey": field(&options, "key")?.clone() };
    let kept = [
        "unique",
        "numInitialChunks",
        "collation",
        "presplitHashedZones",
        "timeseries",
        "implicitlyCreateIndex",
    ];
    copy(&options, &kept, &mut fields);
    session.run_on_primary(db, db, fields).await?;
    ok(doc! { "collectionsharded": ns })
}

/// `refineCollectionShardKey: ns, key`.
pub(super) async fn refine_shard_key(session: &mut Session, request: &Request) -> Answer {
    let (db, coll) = split_ns(request.collection()?)?;
    let options = request.options()?;
    if session.shared.is_before(older::WIRE_5_0) {
        let key = field(&options, "key")?;
        return older::refine_shard_key(session, request.collection()?, key).await;
    }
    let fields = doc! { "_shardsvrRefineCollectionShardKey": coll, "newShardKey": field(&options, "key")?.clone() };
    session.run_on_primary(db, db, fields).await?;
    ok(doc! {})
}

/// `addShardToZone: shard, zone` and `removeShardFromZone`.
pub(super) async fn zone_of_shard(session: &mut Session, request: &Request) -> Answer {
    let name = match request.name.as_str() {
        "addShardToZone" => "_configsvrAddShardToZone",
        _ => "_configsvrRemoveShardFromZone",
    };
    let options = request.options()?;
    session
        .run_on_config(doc! { name: request.collection()?, "zone": text(&options, "zone")? })
        .await?;
    ok(doc! {})
}

/// `updateZoneKeyRange: ns, min, max, zone`; a null zone removes the range.
pub(super) async fn zone_range(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let mut fields = doc! { "_configsvrUpdateZoneKeyRange": request.collection()? };
    copy(&options, &["min", "max", "zone"], &mut fields);
    if !fields.contains_key("zone") {
        return Err(Failure::bad_value("\"zone\" is missing"));
    }
    session.run_on_config(fields).await?;
    ok(doc! {})
}

/// The config server's own balancer commands, whose names differ by a prefix.
pub(super) async fn balancer(session: &mut Session, request: &Request) -> Answer {
    let (name, kept): (_, &[&str]) = match request.name.as_str() {
        "balancerStart" => ("_configsvrBalancerStart", &["maxTimeMS"]),
        "balancerStop" => ("_configsvrBalancerStop", &["maxTimeMS"]),
        "balancerStatus" => ("_configsvrBalancerStatus", &[]),
        "balancerCollectionStatus" => ("_configsvrBalancerCollectionStatus", &[]),
        _ => (
            "_configsvrConfigureCollectionBalancing",
            &["chunkSize", "defragmentCollection", "enableAutoSplitter"],
        ),
    };
    let options = request.options()?;
    let target = options
        .values()
        .next()
        .cloned()
        .unwrap_or(bson::Bson::Int32(1));
    let mut fields = doc! { name: target };
    copy(&options, kept, &mut fields);
    let reply = session.run(&Place::Config, "admin", fields).await?;
    ok(stripped(reply))
}

pub(super) async fn write_block_mode(session: &mut Session, request: &Request) -> Answer {
    let mut fields = doc! { "_configsvrSetUserWriteBlockMode": 1 };
    copy(&request.options()?, &["global"], &mut fields);
    session.run_on_config(fields).await?;
    ok(doc! {})
}

/// `setFeatureCompatibilityVersion`: the config server tells the shards.
pub(super) async fn feature_version(session: &mut Session, request: &Request) -> Answer {
    session
        .run_on_config(doc! { &request.name: request.collection()? })
        .await?;
    ok(doc! {})
}

/// Sent to every shard, as a router does with notes, caches and locks.
pub(super) async fn on_every_shard(session: &mut Session, request: &Request) -> Answer {
    let mut raw = Document::new();
    let (mut cluster_time, mut operation_time) = (None, None);
    for id in session.shard_ids().await? {
        let place = Place::Shard(id);
        let reply = session
            .send(&place, &request.renamed(&request.name)?, &[])
            .await?;
        let document = Document::try_from(reply.as_ref())?;
        if crate::wire::link::fault(&document).is_some() {
            return Err(Failure::Passed(reply));
        }
        operation_time = operation_time.max(document.get_timestamp("operationTime").ok());
        let time = document.get_document("$clusterTime").ok();
        let newer = time.map(|time| (time.get_timestamp("clusterTime").ok(), time.clone()));
        if cluster_time.as_ref().map(|(time, _)| *time) < newer.as_ref().map(|(time, _)| *time) {
            cluster_time = newer;
        }
        let hosts = session
            .shared
            .hosts_of(&place)
            .unwrap_or_default()
            .join(",");
        raw.insert(hosts, stripped(document));
    }
    let mut fields = doc! { "raw": raw };
    if let (Some((_, cluster_time)), Some(operation_time)) = (cluster_time, operation_time) {
        fields.insert("$clusterTime", cluster_time);
        fields.insert("operationTime", operation_time);
    }
    ok(fields)
}
