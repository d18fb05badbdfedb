//! Users' writes to one side, refused by its own servers (`setUserWriteBlockMode`, 6.0).
//!
//! To the source from the cutover on: lifted if the cutover is called off, by whichever
//! process finds it recorded; it stays once the cutover is done. To the target of a reverse,
//! which has users, until that is done.
//!
//! A block that somebody else has set is left alone.

use bson::{Document, doc, rawdoc};

use crate::cluster::admin;
use crate::cluster::deployment::Deployment;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::state::run_store::RunStore;

/// How `serverStatus` tells that writes are blocked.
const ENABLED: i32 = 2;

/// # Errors
/// `Refused` if the release of that side has no such block; else the server's. It is recorded
/// then, and lifted by the next `lift`.
pub async fn set(blocked: &Deployment, store: &RunStore) -> Result<()> {
    if is_set(blocked).await? {
        return Ok(());
    }
    let side = blocked.side;
    // IMPORTANT: first. Who finds it recorded lifts it.
    store.set_write_block(side, true).await?;
    match switch(blocked, true).await {
        Err(e) if e.code == Some(codes::COMMAND_NOT_FOUND) => {
            store.set_write_block(side, false).await?;
            Err(Error::new(
                Kind::Refused,
                format!("this release of the {side} cannot block users' writes"),
            )
            .remedy("stop your applications, and cut over without --block-writes"))
        }
        Err(e) => Err(e.context(format_args!("blocking users' writes on the {side}"))),
        Ok(()) => {
            tracing::info!("the {side} refuses users' writes from now on");
            Ok(())
        }
    }
}

/// Lifts what `set` has recorded. May be repeated.
pub async fn lift(blocked: &Deployment, store: &RunStore) -> Result<()> {
    let side = blocked.side;
    if !store.load_write_block(side).await? {
        return Ok(());
    }
    switch(blocked, false).await.map_err(|e| {
        e.context(format_args!(
            "lifting the block of users' writes on the {side}"
        ))
    })?;
    tracing::info!("users' writes to the {side} are no longer blocked");
    store.set_write_block(side, false).await
}

async fn switch(blocked: &Deployment, on: bool) -> Result<()> {
    let command = rawdoc! {"setUserWriteBlockMode": 1, "global": on};
    admin::run(&blocked.entry, "admin", &command)
        .await
        .map(drop)
}

/// Whether any shard blocks users' writes.
pub async fn is_set(blocked: &Deployment) -> Result<bool> {
    for shard in &blocked.shards {
        let status =
            admin::ask(&shard.client, "admin", doc! {"serverStatus": 1, "repl": 1}).await?;
        if blocks(&status) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From `serverStatus`.
pub fn blocks(status: &Document) -> bool {
    let repl = status.get_document("repl");
    let mode = repl.and_then(|repl| repl.get_i32("userWriteBlockMode"));
    mode.is_ok_and(|mode| mode == ENABLED)
}
