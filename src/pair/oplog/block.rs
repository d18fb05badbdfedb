//! Blocks of the spool as the pair uses them: the entries in one, and work on the disk
//! they lie on.
//!
//! Knows nothing about who writes or reads them.

use bson::RawDocument;
use tokio::task::spawn_blocking;

use crate::error::{Error, Result};
use crate::spool::log::OplogLog;
use crate::spool::segment::Block;
use crate::wire::cursor;

/// The entries of a block, which is items of an array, as the server sent them.
pub fn entries(block: &Block) -> impl Iterator<Item = Result<&RawDocument>> {
    let torn = |_| Error::internal("a block of the spool ends inside an entry");
    cursor::documents(&block.payload).map(move |entry| entry.map_err(torn))
}

/// Disks may stall: never on a thread that others wait for.
pub(in crate::pair) async fn on_disk(
    log: &OplogLog,
    work: impl FnOnce(OplogLog) -> Result<()> + Send + 'static,
) -> Result<()> {
    let log = log.clone();
    spawn_blocking(move || work(log))
        .await
        .map_err(|e| Error::internal(format!("working on the spool: {e}")))?
}
