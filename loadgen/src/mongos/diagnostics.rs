//! What the stand-in says about itself, and sizes summed over the shards.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};

use crate::mongos::reply::{Answer, Failure, ok, stripped};
use crate::mongos::request::{Request, copy};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::mongos::{by_map, login, older};
use crate::wire::link::number;

/// `msg: "isdbgrid"` tells a router, `standIn` tells us from a real one. A monitor that
/// waits for news (`maxAwaitTimeMS`) gets the same again when its time is over.
/// Before 4.4 it is `isMaster`, and monitors ask again instead of waiting.
pub(super) async fn hello(session: &mut Session, request: &Request) -> Answer {
    let is_old = session.shared.is_before(older::WIRE_4_4);
    if is_old && request.name == "hello" {
        let message = "no such command: 'hello'";
        return Err(Failure::new(59, "CommandNotFound", message));
    }
    let wait_ms = request
        .document()?
        .get("maxAwaitTimeMS")
        .map_or(0.0, number);
    tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
    let writable = if request.name == "hello" {
        "isWritablePrimary"
    } else {
        "ismaster"
    };
    let mut reply = doc! {
        writable: true, "helloOk": true, "msg": "isdbgrid", "standIn": true,
        "topologyVersion": { "processId": session.shared.process, "counter": 0_i64 },
        "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(), "logicalSessionTimeoutMinutes": 30, "connectionId": session.number as i32,
        "minWireVersion": 0, "maxWireVersion": session.shared.wire_version_max, "readOnly": false,
    };
    if is_old {
        reply.remove("helloOk");
        reply.remove("topologyVersion");
    }
    if let Some(mechanisms) = login::mechanisms(session, request).await? {
        reply.insert("saslSupportedMechs", mechanisms);
    }
    ok(reply)
}

pub(super) async fn build_info(session: &mut Session) -> Answer {
    let reply = session
        .run(&Place::Config, "admin", doc! { "buildInfo": 1 })
        .await?;
    ok(stripped(reply))
}

/// A router has parameters of its own; the feature compatibility version is
/// none of them.
pub(super) async fn get_parameter(session: &mut Session, request: &Request) -> Answer {
    if request.body.get("featureCompatibilityVersion")?.is_some() {
        return Err(Failure::new(72, "InvalidOptions", "no option found to get"));
    }
    session
        .send(&Place::Config, &request.renamed(&request.name)?, &[])
        .await
}

pub(super) fn server_status(session: &Session) -> Answer {
    ok(doc! {
        "host": format!("127.0.0.1:{}", session.shared.port), "version": &session.shared.server_version,
        "process": "mongos (loadgen stand-in)", "pid": i64::from(std::process::id()), "localTime": DateTime::now(),
    })
}

pub(super) fn is_db_grid(session: &Session) -> Answer {
    ok(doc! { "isdbgrid": 1, "hostname": format!("127.0.0.1:{}", session.shared.port) })
}

pub(super) fn command_line() -> Answer {
    ok(doc! { "argv": ["mongos-stand-in"], "parsed": {} })
}

/// The old command, as the aggregation stage that replaced it.
pub(super) async fn current_op(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let mut stage = Document::new();
    for (old, new) in [("$all", "idleConnections"), ("$ownOps", "allUsers")] {
        if request.body.get(old)?.is_some() {
            stage.insert(new, old == "$all");
        }
    }
    stage
        .entry("allUsers".to_owned())
        .or_insert(Bson::Boolean(true));
    let filter: Document = options
        .into_iter()
        .skip(1)
        .filter(|(key, _)| !matches!(key.as_str(), "comment" | "maxTimeMS"))
        .collect();
    let pipeline = vec![doc! { "$currentOp": stage }, doc! { "$match": filter }];
    if session.shared.is_before(older::WIRE_6_0) {
        let command = doc! { "aggregate": 1, "pipeline": pipeline, "cursor": {} };
        let inprog = by_map::on_every_shard(session, "admin", command).await?;
        return ok(doc! { "inprog": inprog });
    }
    let command = doc! { "clusterAggregate": 1, "pipeline": pipeline, "cursor": {} };
    let place = session.home().await?;
    let inprog = session
        .drain(&place, "admin", command, "clusterGetMore")
        .await?;
    ok(doc! { "inprog": inprog })
}

/// `killOp: {op: "<shard>:<number>"}`.
pub(super) async fn kill_op(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let op = options.get_str("op").ok().and_then(|op| op.split_once(':'));
    let parsed = op.and_then(|(shard, number)| Some((shard, number.parse::<i32>().ok()?)));
    let (shard, number) =
        parsed.ok_or_else(|| Failure::bad_value("op must be \"<shard>:<number>\""))?;
    session
        .run(
            &Place::Shard(shard.to_owned()),
            "admin",
            doc! { "killOp": 1, "op": number },
        )
        .await?;
    ok(doc! { "shard": shard, "shardid": number })
}

/// `dbStats` and `collStats`: each shard's answer, and the sums.
pub(super) async fn stats(session: &mut Session, request: &Request) -> Answer {
    const SUMMED: [&str; 11] = [
        "collections",
        "views",
        "objects",
        "count",
        "size",
        "dataSize",
        "storageSize",
        "indexes",
        "nindexes",
        "indexSize",
        "totalIndexSize",
    ];
    let mut command = Document::new();
    let options = request.options()?;
    command.insert(
        request.name.clone(),
        options.values().next().cloned().unwrap_or(Bson::Int32(1)),
    );
    copy(&options, &["scale"], &mut command);
    let places = match request.target() {
        Some(coll) => session.owners(&request.db, coll).await?,
        None => session
            .shard_ids()
            .await?
            .into_iter()
            .map(Place::Shard)
            .collect(),
    };
    let (mut sums, mut shards) = (Document::new(), Document::new());
    for place in places {
        let reply = session.run(&place, &request.db, command.clone()).await?;
        for key in SUMMED {
            if let Some(value) = reply
                .get(key)
                .filter(|value| !matches!(value, Bson::Document(_)))
            {
                let sum = sums.get_f64(key).unwrap_or(0.0) + number(value);
                sums.insert(key, sum);
            }
        }
        if let Place::Shard(id) = place {
            shards.insert(id, stripped(reply));
        }
    }
    sums.insert("raw", shards);
    ok(sums)
}
