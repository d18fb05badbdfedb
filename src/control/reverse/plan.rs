//! The state of each pair of the way back: the fence, and the collections of the target as
//! what is to be followed, bound to those that the old source has.

use std::collections::{HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{self, Collection, CollectionKind, Namespace};
use crate::control::layout::{laid_out, listing};
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::position::Position;
use crate::state::{CollectionState, PairState, UnitState};

/// One for each pair of `sides`, which are turned. Collections of `expiring` begin as if their
/// copy had broken off at the fence.
///
/// # Errors
/// `Refused` if the old source lacks a collection; `Unsupported` if its owners changed.
pub async fn of(
    sides: &Sides,
    run_id: &str,
    expiring: &HashSet<Namespace>,
) -> Result<Vec<PairState>> {
    let listing = listing::read(&sides.source, run_id).await?;
    let there = catalog::read(&sides.target).await?.collections;
    let there: HashMap<&Namespace, Uuid> = there
        .iter()
        .filter_map(|collection| Some((&collection.ns, collection.uuid?)))
        .collect();
    let sharded = catalog::versions::sharded(&sides.target, None).await?;
    let mut planned = Vec::new();
    for (pair, local) in listing.local.iter().enumerate() {
        let fence = listing.starts[pair];
        let held = listing.catalog.collections.iter().filter(|collection| {
            let here = |uuid| local.contains(&uuid);
            collection.kind == CollectionKind::Plain && collection.uuid.is_some_and(here)
        });
        let bound = held.map(|collection| {
            // A capped collection expires nothing, and is never copied beside what is there.
            let torn = expiring.contains(&collection.ns) && !collection.is_capped();
            bind(collection, pair, &there, torn.then_some(fence.position))
        });
        let mut collections = bound.collect::<Result<Vec<_>>>()?;
        let made: Vec<(Uuid, Uuid)> = collections
            .iter()
            .filter_map(|collection| Some((collection.uuid, collection.target_uuid?)))
            .collect();
        let versions = laid_out::versions(sides, &collections, &made, &sharded)?;
        let versions: HashMap<Uuid, _> = versions.into_iter().collect();
        for collection in &mut collections {
            collection.target_version = versions.get(&collection.uuid).copied();
        }
        tracing::info!(
            "the fence of {} is {}",
            sides.pair_name(pair),
            fence.position
        );
        planned.push(PairState {
            resume: fence,
            applied: fence,
            catalog_position: listing.catalog_positions[pair],
            collections,
        });
    }
    Ok(planned)
}

/// `torn`: the fence, if its copy is to begin again there.
fn bind(
    collection: &Collection,
    pair: usize,
    there: &HashMap<&Namespace, Uuid>,
    torn: Option<Position>,
) -> Result<CollectionState> {
    let lives_here = collection.lives_on(pair);
    let bound = there.get(&collection.ns).copied().filter(|_| lives_here);
    if lives_here && bound.is_none() {
        let found = format!("{} is not on the old source any more", collection.ns);
        return Err(Error::new(Kind::Refused, found)
            .remedy("find out who dropped it there; the old source has what it had else"));
    }
    let unit = match torn.filter(|_| lives_here) {
        Some(fence) => UnitState::Copying(fence),
        None => UnitState::Settled,
    };
    Ok(CollectionState {
        target_uuid: bound,
        units: vec![unit],
        ..CollectionState::planned(collection, Vec::new())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_is_bound_to_its_namesake_and_whole_unless_it_expires() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let [own, other] = [1, 2].map(|byte| Uuid::from_bytes([byte; 16]));
        let collection = Collection {
            ns: ns.clone(),
            kind: CollectionKind::Plain,
            uuid: Some(own),
            options: Default::default(),
            primary: 1,
            sharded: None,
            key_index: None,
        };
        let there = HashMap::from([(&ns, other)]);
        let fence = Position::from_raw(7);
        let rows = [
            (1, None, Some(other), UnitState::Settled),
            (1, Some(fence), Some(other), UnitState::Copying(fence)),
            (0, Some(fence), None, UnitState::Settled),
        ];
        for (pair, torn, bound, unit) in rows {
            let state = bind(&collection, pair, &there, torn).unwrap();
            assert_eq!((state.uuid, state.target_uuid), (own, bound));
            assert_eq!(state.units, [unit]);
        }
        assert!(bind(&collection, 1, &HashMap::new(), None).is_err());
        assert!(bind(&collection, 0, &HashMap::new(), None).is_ok());
    }
}
