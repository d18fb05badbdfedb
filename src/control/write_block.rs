//! Users' writes to the source, refused by its own servers from the cutover on
//! (`setUserWriteBlockMode`, 6.0). Lifted if the cutover is called off, by whichever process
//! finds it recorded; it stays once the cutover is done.
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
/// `Refused` if the source's release has no such block; else the server's. It is recorded
/// then, and lifted by the next `lift`.
pub async fn set(source: &Deployment, store: &RunStore) -> Result<()> {
    if is_set(source).await? {
        return Ok(());
    }
    // IMPORTANT: first. Who finds it recorded lifts it.
    store.set_write_block(true).await?;
    match switch(source, true).await {
        Err(e) if e.code == Some(codes::COMMAND_NOT_FOUND) => {
            store.set_write_block(false).await?;
            Err(Error::new(
                Kind::Refused,
                "this release of the source cannot block users' writes",
            )
            .remedy("stop your applications, and cut over without --block-writes"))
        }
        Err(e) => Err(e.context("blocking users' writes on the source")),
        Ok(()) => {
            tracing::info!("the source refuses users' writes from now on");
            Ok(())
        }
    }
}

/// Lifts what `set` has recorded. May be repeated.
pub async fn lift(source: &Deployment, store: &RunStore) -> Result<()> {
    if !store.load_write_block().await? {
        return Ok(());
    }
    switch(source, false)
        .await
        .map_err(|e| e.context("lifting the block of users' writes on the source"))?;
    tracing::info!("users' writes to the source are no longer blocked");
    store.set_write_block(false).await
}

async fn switch(source: &Deployment, on: bool) -> Result<()> {
    let command = rawdoc! {"setUserWriteBlockMode": 1, "global": on};
    admin::run(&source.entry, "admin", &command).await.map(drop)
}

/// Whether any shard blocks users' writes.
async fn is_set(source: &Deployment) -> Result<bool> {
    for shard in &source.shards {
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
