//! The target's chunk maps as the run laid them out: checked after they are made, and at
//! the start of every attempt.

use std::collections::HashMap;
use std::sync::Arc;

use bson::Uuid;

use crate::cluster::catalog::sharding::ShardedRow;
use crate::cluster::catalog::{self, Catalog, Collection, MapVersion, Sharded};
use crate::cluster::deployment::{Deployment, Side, Topology};
use crate::control::layout::{owners, refined};
use crate::control::sides::Sides;
use crate::error::Result;
use crate::state::pair_store::bound::Versions;
use crate::state::{CollectionState, PairState};

/// Collections of the source as they were laid out, by UUID.
pub type LaidOut = HashMap<Uuid, Arc<Collection>>;

/// A collection of the target.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    pub uuid: Uuid,
    /// None where it is not sharded.
    pub version: Option<MapVersion>,
}

/// Version of the chunk map that was just made of a collection of the source; None if it is
/// not sharded.
///
/// # Errors
/// `Unsupported` if the chunks are not, or no longer, where they were laid out.
pub async fn version(sides: &Sides, collection: &Collection) -> Result<Option<MapVersion>> {
    version_on(&sides.target, collection, &sides.pairs).await
}

/// Like `version`; `pairs[i]` is the target shard of source shard i.
pub async fn version_on(
    target: &Deployment,
    collection: &Collection,
    pairs: &[usize],
) -> Result<Option<MapVersion>> {
    let Some(wanted) = &collection.sharded else {
        return Ok(None);
    };
    let there = catalog::versions::sharded(target, Some(&collection.ns))
        .await?
        .pop();
    match there.filter(|there| change(wanted, pairs, None, &there.sharded).is_none()) {
        Some(there) => Ok(there.sharded.version),
        None => Err(owners::changed(
            Side::Target,
            &format!("owners of {} changed", collection.ns),
        )),
    }
}

/// Versions by source UUID. `made`: (source UUID, target UUID); `there`: what is sharded on
/// the target.
///
/// # Errors
/// As `version`.
pub fn versions(
    sides: &Sides,
    planned: &[CollectionState],
    made: &[(Uuid, Uuid)],
    there: &[ShardedRow],
) -> Result<Vec<(Uuid, MapVersion)>> {
    let made: HashMap<Uuid, Uuid> = made.iter().copied().collect();
    let there: HashMap<Uuid, &Sharded> = there.iter().map(|row| (row.uuid, &row.sharded)).collect();
    let mut versions = Vec::new();
    for collection in planned {
        let found = made.get(&collection.uuid).and_then(|made| there.get(made));
        let (Some(wanted), Some(found)) = (&collection.sharded, found) else {
            continue;
        };
        expect_none(collection, change(wanted, &sides.pairs, None, found))?;
        versions.extend(found.version.map(|version| (collection.uuid, version)));
    }
    Ok(versions)
}

/// Compares the recorded versions with the target's at the start of an attempt: if a
/// chunk moved between two attempts, a shard that does not own it would get its data.
/// Collections that an older release recorded without versions get the current ones of
/// both sides. Returns these by pair. They must be recorded, or the next attempt could
/// not know what moved since.
///
/// # Errors
/// `Unsupported` if owners changed.
pub async fn check(
    sides: &Sides,
    states: &mut [PairState],
    there: &Catalog,
) -> Result<Vec<Vec<(Uuid, Versions)>>> {
    if sides.target.topology == Topology::ReplicaSet {
        return Ok(Vec::new());
    }
    let there = there
        .collections
        .iter()
        .filter_map(|c| Some((c.uuid?, c.sharded.as_ref()?)))
        .collect();
    let lacks_version = |c: &CollectionState| {
        c.sharded
            .as_ref()
            .is_some_and(|sharded| sharded.version.is_none())
    };
    let source = if states
        .iter()
        .flat_map(|state| &state.collections)
        .any(|c| !c.dead && lacks_version(c))
    {
        catalog::versions::sharded(&sides.source, None).await?
    } else {
        Vec::new()
    };
    let source = source.iter().map(|row| (row.uuid, &row.sharded)).collect();
    let mut added = vec![Vec::new(); states.len()];
    for (added, state) in added.iter_mut().zip(states) {
        for collection in state.collections.iter_mut().filter(|c| !c.dead) {
            let before = versions_of(collection);
            on_target(sides, collection, &there)?;
            on_source(collection, &source)?;
            let now = versions_of(collection);
            added.extend((now != before).then_some((collection.uuid, now)));
        }
    }
    Ok(added)
}

fn versions_of(collection: &CollectionState) -> Versions {
    let source = collection
        .sharded
        .as_ref()
        .and_then(|sharded| sharded.version);
    Versions {
        source,
        target: collection.target_version,
    }
}

type Found<'a> = HashMap<Uuid, &'a Sharded>;

fn on_target(sides: &Sides, collection: &mut CollectionState, there: &Found<'_>) -> Result<()> {
    let found = collection.target_uuid.and_then(|made| there.get(&made));
    let (Some(planned), Some(found)) = (&collection.sharded, found) else {
        return Ok(());
    };
    expect_none(
        collection,
        change(planned, &sides.pairs, collection.target_version, found),
    )?;
    collection.target_version = collection.target_version.or(found.version);
    Ok(())
}

fn on_source(collection: &mut CollectionState, source: &Found<'_>) -> Result<()> {
    let (Some(planned), Some(found)) = (&mut collection.sharded, source.get(&collection.uuid))
    else {
        return Ok(());
    };
    if let (None, Some(change)) = (
        planned.version,
        owners::change(&owners::intervals(planned), None, found),
    ) {
        return Err(owners::changed(
            Side::Source,
            &format!("{change} of {} changed", collection.ns),
        ));
    }
    planned.version = planned.version.or(found.version);
    Ok(())
}

fn change(
    wanted: &Sharded,
    pairs: &[usize],
    version: Option<MapVersion>,
    there: &Sharded,
) -> Option<&'static str> {
    let mapped = owners::mapped(wanted, pairs);
    // Whether the source's is, too, is looked at by `control::across::watch`.
    let is_refined = refined::is_refined((&wanted.key, &mapped), version, there);
    owners::change(&mapped, version, there).filter(|_| !is_refined)
}

fn expect_none(collection: &CollectionState, change: Option<&'static str>) -> Result<()> {
    match change {
        Some(change) => Err(owners::changed(
            Side::Target,
            &format!("{change} of {} changed", collection.ns),
        )),
        None => Ok(()),
    }
}
