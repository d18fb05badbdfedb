//! A note in the oplog of a source shard, acknowledged by a majority: all that the
//! primary had before it is durable then.
//!
//! Knows nothing about what a note is good for.

use std::time::{Duration, Instant};

use bson::{Document, Timestamp, rawdoc};
use tokio::time::timeout_at;

use crate::cluster::admin;
use crate::cluster::deployment::Shard;
use crate::codes;
use crate::error::{Error, Kind, Result};

/// How soon one that could not be written is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Writes a note that says `what` of run `run_id`, and returns its position, or a
/// later one. Tried again until the deadline, which ends a try that is under way, too.
///
/// # Errors
/// `Transient` for what may pass, and if there was no answer; else the source's.
pub async fn write(
    shard: &Shard,
    what: &str,
    run_id: &str,
    deadline: Instant,
) -> Result<Timestamp> {
    let note = rawdoc! {
    "appendOplogNote": 1, "data": { "msg": format!("shardlift {what}"), "run": run_id },
    "writeConcern": { "w": "majority" }};
    let failed = |e: Error| {
        e.context(format_args!(
            "writing a note ({what}) to source shard {}",
            shard.id
        ))
    };
    let mut last = Error::new(Kind::Transient, "no majority of it acknowledged the note");
    loop {
        let written = timeout_at(
            deadline.into(),
            admin::run_once(&shard.client, "admin", &note),
        )
        .await;
        match written.map(|answer| answer.map_err(by_what_passes)) {
            Ok(Ok(reply)) => return position_of(&reply),
            Ok(Err(e)) if e.kind == Kind::Transient && Instant::now() < deadline => last = e,
            Ok(Err(e)) => return Err(failed(e)),
            Err(_) => return Err(failed(last)),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// A lock passes too: how long it is waited for is the caller's to say.
fn by_what_passes(e: Error) -> Error {
    if e.code == Some(codes::LOCK_FAILED) {
        Error {
            kind: Kind::Transient,
            ..e
        }
    } else {
        e
    }
}

fn position_of(reply: &Document) -> Result<Timestamp> {
    let time = reply.get_timestamp("operationTime");
    time.map_err(|_| {
        Error::new(
            Kind::Server,
            "the source's answer to a note has no operationTime",
        )
    })
}
