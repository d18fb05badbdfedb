//! Counts writes that find no document where one must be (R3): earlier copied or followed
//! data is not what it should be, or somebody else writes to the target.
//!
//! They are only counted and reported: verification by digests compares the documents
//! they were to change, like all touched ones. Statements sent in order, one by one, or
//! again are not counted. Knows nothing about what a reply looks like.

use std::sync::atomic::Ordering::Relaxed;

use crate::observe::counters::PairMetrics;
use crate::pair::collection::Tracked;
use crate::pair::write::statement::Statement;

/// The log message for it; tests of whole runs look for it.
pub const FOUND_NOTHING: &str = "writes found no document on the target where one must be";

/// Notes the result of one command: its statements found or made `found` documents,
/// and `refused` of them were refused.
pub(in crate::pair) fn note(
    metrics: &PairMetrics,
    collection: &Tracked,
    batch: &[&Statement],
    refused: usize,
    found: u64,
) {
    let missed = missed(collection, batch, refused, found);
    if missed == 0 || collection.is_dead() {
        return;
    }
    if !collection.missed_told.swap(true, Relaxed) {
        tracing::warn!(ns = %collection.ns(), missed, "{FOUND_NOTHING}");
    }
    metrics.writes_missed.fetch_add(missed, Relaxed);
}

/// A reply does not say which of the statements found nothing: those that may are taken
/// to be the first.
fn missed(collection: &Tracked, batch: &[&Statement], refused: usize, found: u64) -> u64 {
    let horizon = collection.horizon();
    let must = batch
        .iter()
        .filter(|statement| statement.must_find(horizon))
        .count();
    must.saturating_sub(refused).saturating_sub(found as usize) as u64
}

#[cfg(test)]
mod tests {
    use bson::{RawBsonRef, Uuid};
    use bytes::Bytes;

    use super::*;
    use crate::bson::identity::IdKey;
    use crate::cluster::catalog::Namespace;
    use crate::pair::collection::Traits;
    use crate::pair::write::statement::Base;
    use crate::position::Position;

    fn statement(position: u64, base: Base, made: bool) -> Statement {
        let id = IdKey::of(RawBsonRef::Int32(1));
        Statement {
            base,
            made,
            ..Statement::unknown(id, Position::from_raw(position))
        }
    }

    #[test]
    fn only_what_is_certain_counts() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let collection = Tracked::new(Uuid::from_bytes([1; 16]), ns, Traits::default());
        collection.raise_horizon(Position::from_raw(5));
        let (early, change, delete) = (
            statement(5, Base::Unknown, false),
            statement(6, Base::Unknown, false),
            statement(7, Base::Gone, false),
        );
        let (never_there, upsert) = (
            statement(8, Base::Gone, true),
            statement(9, Base::Full(Bytes::from_static(b"x")), true),
        );
        for (batch, refused, found, expect) in [
            (&[&change, &delete, &upsert][..], 0, 3, 0),
            (&[&change, &delete, &upsert], 0, 1, 2),
            (&[&change, &delete, &upsert], 1, 1, 1),
            (&[&early, &never_there], 0, 0, 0),
            // Both that may miss may have found theirs.
            (&[&early, &never_there, &change, &delete], 0, 2, 0),
            (&[&early, &never_there, &change, &delete], 0, 1, 1),
        ] {
            assert_eq!(
                missed(&collection, batch, refused, found),
                expect,
                "{batch:?}"
            );
        }
    }
}
