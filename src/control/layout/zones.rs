//! Zones of the target: those of the source, and temporary ones, by which the router
//! places the chunks of a collection as it is sharded.
//!
//! A temporary zone holds one shard and bears the prefix below. Whoever makes some takes
//! them away again; what an interrupted process left goes at the next start, cancel or
//! wipe (`forget_temporary`). Knows nothing about chunks.

use std::collections::HashSet;

use bson::RawDocumentBuf;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Namespace, Zone};
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::entry::Entry;
use crate::error::Result;
use crate::state::run_store::RunStore;

/// No user's zone is named so.
const TEMPORARY: &str = "__shardlift ";
/// Ranges given or taken side by side.
const CONCURRENCY: usize = 8;

/// The temporary zone of a shard.
pub(super) fn temporary(shard: &str) -> String {
    format!("{TEMPORARY}{shard}")
}

/// Zones that shards of the target lack: (shard, zone). `wanted[i]`: those of source shard i,
/// whose pair is target shard `pairs[i]`.
pub async fn lacking(
    target: &Deployment,
    wanted: &[Vec<String>],
    pairs: &[usize],
) -> Result<Vec<(String, String)>> {
    let there = catalog::shard_zones(target).await?;
    let wanted = wanted
        .iter()
        .zip(pairs)
        .flat_map(|(zones, shard)| zones.iter().map(move |z| (*shard, z)));
    let lacking = wanted.filter(|(shard, zone)| !there[*shard].contains(zone));
    Ok(lacking
        .map(|(shard, zone)| (target.shards[shard].id.clone(), zone.clone()))
        .collect())
}

/// Puts shards into zones.
pub async fn join(target: &Deployment, zones: &[(String, String)]) -> Result<()> {
    for (shard, zone) in zones {
        admin::add_shard_to_zone(&target.entry, shard, zone).await?;
    }
    Ok(())
}

/// Puts shards of the target into the zones that these ranges are in, as those of the source
/// are (`on_source`); recorded first, for a wipe takes back what it knows of.
pub async fn join_those_of(
    ranges: &[Zone],
    mut on_source: Vec<Vec<String>>,
    target: &Deployment,
    (pairs, runs): (&[usize], &RunStore),
) -> Result<()> {
    let is_used = |zone: &String| ranges.iter().any(|range| range.name == *zone);
    on_source.iter_mut().for_each(|zones| zones.retain(is_used));
    let lacking = lacking(target, &on_source, pairs).await?;
    if lacking.is_empty() {
        return Ok(());
    }
    runs.add_zones(&lacking).await?;
    join(target, &lacking).await
}

/// Takes shards of the target out of zones of the source that their pairs are not in. A zone
/// that the source does not have is the target's own.
pub async fn leave_others(
    target: &Deployment,
    wanted: &[Vec<String>],
    pairs: &[usize],
) -> Result<()> {
    let there = catalog::shard_zones(target).await?;
    let known: HashSet<&String> = wanted.iter().flatten().collect();
    for (wanted, shard) in wanted.iter().zip(pairs) {
        let others = there[*shard].iter().filter(|zone| known.contains(zone));
        for zone in others.filter(|zone| !wanted.contains(zone)) {
            admin::remove_shard_from_zone(&target.entry, &target.shards[*shard].id, zone).await?;
        }
    }
    Ok(())
}

/// Makes the zone ranges of a collection these and no others.
pub async fn set(target: &Deployment, ns: &Namespace, wanted: &[Zone]) -> Result<()> {
    let there = catalog::zones_of(target, ns).await?;
    let gone = there.iter().filter(|zone| !wanted.contains(zone));
    let gone: Vec<Change> = gone.map(|zone| Change::taking(ns, zone)).collect();
    make(target, gone).await?;
    let lacking = wanted.iter().filter(|zone| !there.contains(zone));
    make(
        target,
        lacking
            .map(|zone| Change {
                name: Some(zone.name.clone()),
                ..Change::taking(ns, zone)
            })
            .collect(),
    )
    .await
}

/// A range given to a zone, or taken from the one it is in.
struct Change {
    ns: Namespace,
    zone: Zone,
    name: Option<String>,
}

impl Change {
    fn taking(ns: &Namespace, zone: &Zone) -> Change {
        Change {
            ns: ns.clone(),
            zone: zone.clone(),
            name: None,
        }
    }

    async fn make(self, entry: Entry) -> Result<()> {
        admin::update_zone_key_range(
            &entry,
            &self.ns,
            &self.zone.min,
            &self.zone.max,
            self.name.as_deref(),
        )
        .await
    }
}

async fn make(target: &Deployment, changes: Vec<Change>) -> Result<()> {
    stream::iter(changes)
        .map(|change| change.make(target.entry.clone()))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// Gives each interval `(min, max, shard)` to the temporary zone of its shard. They cover
/// the whole key space.
pub(super) async fn place(
    target: &Deployment,
    ns: &Namespace,
    intervals: &[(RawDocumentBuf, RawDocumentBuf, usize)],
) -> Result<()> {
    for (index, shard) in target.shards.iter().enumerate() {
        if intervals.iter().any(|(.., owner)| *owner == index) {
            admin::add_shard_to_zone(&target.entry, &shard.id, &temporary(&shard.id)).await?;
        }
    }
    let zone = |(min, max, owner): &(RawDocumentBuf, RawDocumentBuf, usize)| Zone {
        min: min.clone(),
        max: max.clone(),
        name: temporary(&target.shards[*owner].id),
    };
    set(target, ns, &intervals.iter().map(zone).collect::<Vec<_>>()).await
}

/// Takes away every temporary zone there is.
pub async fn forget_temporary(target: &Deployment) -> Result<()> {
    if target.topology == Topology::ReplicaSet {
        return Ok(());
    }
    let ranges = catalog::all_zones(target).await?;
    let ours = ranges
        .iter()
        .filter(|(_, zone)| zone.name.starts_with(TEMPORARY));
    make(
        target,
        ours.map(|(ns, zone)| Change::taking(ns, zone)).collect(),
    )
    .await?;
    for (shard, zones) in target
        .shards
        .iter()
        .zip(catalog::shard_zones(target).await?)
    {
        for zone in zones.iter().filter(|zone| zone.starts_with(TEMPORARY)) {
            admin::remove_shard_from_zone(&target.entry, &shard.id, zone).await?;
        }
    }
    Ok(())
}
