//! A note in the oplog of a source shard, acknowledged by a majority: all that the
//! primary had before it is durable then.
//!
//! Knows nothing about what a note is good for.

use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::cluster::connect::Shard;
use crate::error::{Error, Kind, Result};
use crate::pair::position::Position;

/// How soon one that could not be written is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// LockFailed: `setUserWriteBlockMode` is waiting for open transactions (WHY 8).
const CODE_LOCK_FAILED: i32 = 107;

/// Writes a note that says `what` of run `run_id`, and returns its position, or a
/// later one. Tried again until the deadline; an answer may take longer.
///
/// # Errors
/// As the source's last answer.
pub async fn write(shard: &Shard, what: &str, run_id: &str, deadline: Instant) -> Result<Position> {
    let note = doc! {
        "appendOplogNote": 1, "data": { "msg": format!("shardlift {what}"), "run": run_id },
        "writeConcern": { "w": "majority" },
    };
    loop {
        let failed = match shard.client.database("admin").run_command(note.clone()).await {
            Ok(reply) => return position_of(&reply),
            Err(e) => Error::from(e),
        };
        let passing = failed.kind == Kind::Transient || failed.code == Some(CODE_LOCK_FAILED);
        if !passing || deadline <= Instant::now() {
            return Err(failed.context(format_args!("writing a {what} to source shard {}", shard.id)));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn position_of(reply: &Document) -> Result<Position> {
    let time = reply.get_timestamp("operationTime");
    time.map(Position::from).map_err(|_| Error::new(Kind::Server, "the source's answer to a note has no operationTime"))
}
