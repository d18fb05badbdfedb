//! The watch over what must not change during a run: which shard owns which
//! documents (R8). A split is no change; a moved chunk, a moved primary or a
//! collection that became sharded is an error, never silent.

use std::time::Duration;

use crate::cluster::catalog::{self, Collection};
use crate::cluster::ownership::joined;
use crate::control::ddl::Coordinator;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};

/// How often the source's chunk map is compared; once more at cutover.
const INTERVAL: Duration = Duration::from_secs(15);

/// Watches until something changed.
pub async fn run(sides: &Sides, coordinator: &Coordinator) -> Error {
    loop {
        tokio::time::sleep(INTERVAL).await;
        match check(sides, coordinator).await {
            Ok(()) => {}
            Err(e) if e.kind == Kind::Unsupported => return e,
            // Not reachable now: the data plane will say so if it lasts.
            Err(e) => tracing::warn!("the chunk map could not be read: {e}"),
        }
    }
}

/// Compares owners now with owners as laid out.
pub async fn check(sides: &Sides, coordinator: &Coordinator) -> Result<()> {
    // First what is laid out: a collection made between the two is then not looked at.
    let laid_out = coordinator.laid_out();
    let now = catalog::read(&sides.source).await?;
    for collection in &now.collections {
        let Some(before) = collection.uuid.and_then(|uuid| laid_out.get(&uuid)) else { continue };
        if !same_owners(before, collection) {
            let found = format!("owners of {} changed on the source during the run", collection.ns);
            return Err(Error::new(Kind::Unsupported, found).remedy(
                "keep the balancer off and move no chunks or primaries while shardlift runs; begin anew with `shardlift migrate --restart`",
            ));
        }
    }
    Ok(())
}

pub(super) fn same_owners(before: &Collection, now: &Collection) -> bool {
    match (&before.sharded, &now.sharded) {
        (None, None) => before.primary == now.primary,
        (Some(before), Some(now)) => joined(before) == joined(now),
        // A drop under way: its metadata goes first, its shards follow one by one. What
        // ends sharding otherwise gives the collection another UUID.
        (Some(_), None) => true,
        (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::catalog::{Chunk, CollectionKind, Namespace, Sharded};
    use bson::{RawBson, RawDocumentBuf, rawdoc};

    fn collection(primary: usize, owner: Option<usize>) -> Collection {
        let (min, max) = (rawdoc! { "k": RawBson::MinKey }, rawdoc! { "k": RawBson::MaxKey });
        let sharded = |shard| Sharded {
            key: rawdoc! { "k": 1 },
            unique: false,
            chunks: vec![Chunk { min, max, shard }],
            zones: Vec::new(),
        };
        Collection {
            ns: Namespace { db: "d".to_owned(), coll: "c".to_owned() },
            kind: CollectionKind::Plain,
            uuid: None,
            options: RawDocumentBuf::new(),
            primary,
            sharded: owner.map(sharded),
            key_index: None,
        }
    }

    #[test]
    fn a_drop_under_way_is_no_change_of_owners() {
        for (before, now, same) in [
            ((0, None), (0, None), true),
            ((0, None), (1, None), false),
            ((0, Some(0)), (0, Some(0)), true),
            ((0, Some(0)), (0, Some(1)), false),
            ((0, None), (0, Some(0)), false),
            ((0, Some(1)), (0, None), true),
        ] {
            let [then, after] = [before, now].map(|(primary, owner)| collection(primary, owner));
            assert_eq!(same_owners(&then, &after), same, "{before:?} {now:?}");
        }
    }
}
