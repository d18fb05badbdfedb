//! Every command the stand-in knows, and who answers it.

use bson::doc;

use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::Request;
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::mongos::{
    access, chunks, counting, crud, ddl, diagnostics, find_and_modify, listing, login, sharding,
};

pub(super) async fn dispatch(session: &mut Session, request: &Request) -> Answer {
    access::check(session, request)?;
    let answer = run(session, request).await;
    if changes_maps(&request.name) {
        session.shared.forget_maps();
    }
    answer
}

async fn run(session: &mut Session, request: &Request) -> Answer {
    match request.name.as_str() {
        "find" | "insert" | "update" | "delete" | "aggregate" => crud::run(session, request).await,
        "getMore" => crud::get_more(session, request).await,
        "killCursors" => crud::kill_cursors(session, request).await,
        "explain" => crud::explain(session, request).await,
        "count" => counting::count(session, request).await,
        "distinct" => counting::distinct(session, request).await,
        "findAndModify" | "findandmodify" => find_and_modify::run(session, request).await,
        "listDatabases" | "listCollections" | "listIndexes" | "create" | "drop"
        | "dropDatabase" | "createIndexes" | "dropIndexes" | "deleteIndexes" | "collMod"
        | "renameCollection" | "convertToCapped" | "validate" => schema(session, request).await,
        _ if request.db == "admin" => admin(session, request).await,
        _ => about(session, request).await,
    }
}

/// After these no map is trusted. A chunk that moves is found out by its versions.
fn changes_maps(command: &str) -> bool {
    matches!(
        command,
        "create"
            | "drop"
            | "dropDatabase"
            | "renameCollection"
            | "convertToCapped"
            | "enableSharding"
            | "shardCollection"
            | "refineCollectionShardKey"
            | "movePrimary"
            | "flushRouterConfig"
    )
}

async fn schema(session: &mut Session, request: &Request) -> Answer {
    match request.name.as_str() {
        "listDatabases" => listing::databases(session, request).await,
        "listCollections" => listing::collections(session, request).await,
        "listIndexes" => listing::indexes(session, request).await,
        "create" => ddl::create(session, request).await,
        "drop" => ddl::drop(session, request).await,
        "dropDatabase" => ddl::drop_database(session, request).await,
        "createIndexes" => ddl::create_indexes(session, request).await,
        "dropIndexes" | "deleteIndexes" => ddl::drop_indexes(session, request).await,
        "collMod" => ddl::coll_mod(session, request).await,
        "renameCollection" => ddl::rename(session, request).await,
        _ => ddl::on_primary(session, request).await,
    }
}

async fn admin(session: &mut Session, request: &Request) -> Answer {
    match request.name.as_str() {
        "listShards" => sharding::list_shards(session).await,
        "addShard" => sharding::add_shard(session, request).await,
        "removeShard" => sharding::remove_shard(session, request).await,
        "enableSharding" => sharding::enable_sharding(session, request).await,
        "shardCollection" => sharding::shard_collection(session, request).await,
        "refineCollectionShardKey" => sharding::refine_shard_key(session, request).await,
        "movePrimary" => sharding::move_primary(session, request).await,
        "split" => chunks::split(session, request).await,
        "moveChunk" => chunks::move_chunk(session, request).await,
        "moveRange" => chunks::move_range(session, request).await,
        "mergeChunks" => chunks::merge(session, request).await,
        "balancerStart"
        | "balancerStop"
        | "balancerStatus"
        | "balancerCollectionStatus"
        | "configureCollectionBalancing" => sharding::balancer(session, request).await,
        "addShardToZone" | "removeShardFromZone" => sharding::zone_of_shard(session, request).await,
        "updateZoneKeyRange" => sharding::zone_range(session, request).await,
        "appendOplogNote" | "flushRouterConfig" | "fsync" | "fsyncUnlock" => {
            sharding::on_every_shard(session, request).await
        }
        "setUserWriteBlockMode" => sharding::write_block_mode(session, request).await,
        "setFeatureCompatibilityVersion" => sharding::feature_version(session, request).await,
        "configureFailPoint" => session.shared.failpoints.configure(request),
        "currentOp" => diagnostics::current_op(session, request).await,
        "killOp" => diagnostics::kill_op(session, request).await,
        "getParameter" => diagnostics::get_parameter(session, request).await,
        "getCmdLineOpts" => diagnostics::command_line(),
        "getShardMap" | "getDefaultRWConcern" | "setDefaultRWConcern" | "hostInfo" => {
            session
                .send(&Place::Config, &request.renamed(&request.name)?, &[])
                .await
        }
        _ => about(session, request).await,
    }
}

/// What may be asked on any database.
async fn about(session: &mut Session, request: &Request) -> Answer {
    match request.name.as_str() {
        "hello" | "isMaster" | "ismaster" => diagnostics::hello(session, request).await,
        "ping" | "endSessions" => ok(doc! {}),
        "saslStart" | "saslContinue" => login::converse(session, request).await,
        "logout" => login::log_out(session),
        "buildInfo" | "buildinfo" => diagnostics::build_info(session).await,
        "serverStatus" => diagnostics::server_status(session),
        "isdbgrid" => diagnostics::is_db_grid(session),
        "connectionStatus" => login::status(session, request),
        "dbStats" | "dbstats" | "collStats" | "collstats" => {
            diagnostics::stats(session, request).await
        }
        name => Err(Failure::new(59, "CommandNotFound", unknown(name))),
    }
}

fn unknown(name: &str) -> String {
    format!(
        "no such command: '{name}' (this is loadgen's stand-in for mongos, which knows only part of its commands)"
    )
}
