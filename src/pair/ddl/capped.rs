//! A capped collection of the target has room until the cutover: it lets nothing go by itself.
//! What the source let go comes as deletes in its log. So nothing orders limits with inserts:
//! the source's may hold more than its size (an update makes a document larger, and only the
//! next insert removes the oldest), its size may be changed while it is followed, and ops may
//! come again. The limits are held back, as expiries are (R10).
//!
//! One is made with room (`control::layout`). Here others get it: those of the old source that
//! is followed back to, and those that an earlier release made.
//!
//! Sources up to 4.4 do not log what is removed, and targets up to 5.0 take no other size:
//! there it has the source's limits from the beginning, and removes by itself
//! (`write::in_order`).

use crate::cluster::catalog;
use crate::cluster::catalog::capped::Limits;
use crate::cluster::deployment::Shard;
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::pair::ddl::options;

/// Before the first op: lets the target's collection hold anything. It may switch off
/// pre-images.
pub async fn make_room(target: &Shard, tracked: &Tracked) -> Result<()> {
    let Some(made) = tracked.bound_to().filter(|_| target.writes.trims_come) else {
        return Ok(());
    };
    let there = catalog::options_of(&target.client, &tracked.ns().db, made).await?;
    let limits = there.and_then(|options| Limits::of(&options));
    let Some(limits) = limits.filter(|limits| !limits.are_room()) else {
        return Ok(());
    };
    options::modify(target, tracked, &limits.room().change()).await
}
