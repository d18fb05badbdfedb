//! Indexes of the target that its source has no longer, or has another way: they refuse
//! what is right.
//!
//! Builds none: that is `index`'s, in the order of the log.

use std::sync::Arc;

use crate::cluster::catalog::index::{self, IndexName};
use crate::cluster::deployment::Shard;
use crate::codes;
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::pair::mend::source_indexes::{list, to_create};
use crate::pair::mend::target_indexes::TargetIndexes;
use crate::pair::oplog::proven::Lister;

/// Drops indexes of the target that the source no longer has, or has with other options.
/// The log will say so later, but until then they refuse valid documents.
pub async fn drop_stale(lister: &Arc<Lister>, target: &Shard, tracked: &Tracked) -> Result<()> {
    let Some(target) = TargetIndexes::of(target, tracked) else {
        return Ok(());
    };
    // Not listed: the tail will find out.
    let Some(listed) = list(lister, tracked).await? else {
        return Ok(());
    };
    let wanted = to_create(tracked, target.forms(), &listed.specs);
    let stale = index::plan(&wanted, &target.list().await?).drop;
    for names in stale {
        match target.drop(&names).await {
            // Of a key that the source's was refined from: the index of that is built later.
            Err(e) if e.code == Some(codes::CARRIES_SHARD_KEY) => continue,
            dropped => dropped?,
        };
        tracing::info!(ns = %tracked.ns(), indexes = %shown(&names), "dropped ahead of the oplog: the source no longer has it");
    }
    Ok(())
}

/// Their names, for the log.
pub fn shown(names: &[IndexName]) -> String {
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
