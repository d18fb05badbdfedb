//! Indexes of one collection on its source shard: as they are listed, between which
//! positions, and as the target is to have them.
//!
//! Knows nothing about what the target has.

use std::sync::Arc;

use bson::RawDocumentBuf;

use crate::cluster::catalog::{self, index};
use crate::cluster::dialect::WriteForms;
use crate::cluster::retry::Retry;
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::pair::oplog::proven::{self, Lister};
use crate::position::Position;

/// Indexes of the source, with positions on either side.
pub struct SourceIndexes {
    pub specs: Vec<RawDocumentBuf>,
    /// Index DDL up to here is in the list.
    pub before: Position,
    /// No entry lay beyond it afterwards.
    pub clock: Position,
}

/// Lists the source's indexes. None if the collection is not listed now: the tail will
/// find out.
pub async fn list(lister: &Arc<Lister>, tracked: &Tracked) -> Result<Option<SourceIndexes>> {
    let (one, what) = (
        std::slice::from_ref(lister),
        format!("the indexes of {}", tracked.ns()),
    );
    let list = || catalog::indexes_of(&lister.shard, &tracked.source_db, tracked.uuid);
    let listed = Retry::new(lister.patience)
        .until_it_works(|| proven::read(one, &what, list))
        .await?;
    let (before, clock) = (listed.before[0].mark.position, listed.after[0].clock);
    Ok(listed.value.map(|specs| SourceIndexes {
        specs,
        before,
        clock,
    }))
}

/// What the target has for `specs` until the cutover: what it makes by itself left out.
pub fn to_create(
    tracked: &Tracked,
    forms: WriteForms,
    specs: &[RawDocumentBuf],
) -> Vec<RawDocumentBuf> {
    let built = specs.iter().filter(|spec| !index::is_implicit(spec));
    built
        .map(|spec| index::to_create(tracked.traits.collated, forms.expiry_never, spec))
        .collect()
}
