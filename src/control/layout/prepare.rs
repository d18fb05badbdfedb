//! From two connected sides to a stored plan and the target's layout: everything that
//! happens once, before the first document moves.
//!
//! Every step is recorded before the next begins, so that a restart resumes: planning
//! (nothing is made yet, so the plan is made again) → layout (made again from the plan;
//! whatever exists is left alone) → moving.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bson::Uuid;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace, Sharded};
use crate::cluster::deployment::Shard;
use crate::config::{Config, ScanOrderMode};
use crate::control::balancer;
use crate::control::layout;
use crate::control::layout::listing::{self, Listing};
use crate::control::layout::{being_made, laid_out};
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::collection::Traits;
use crate::pair::copy::units::{self, Cut, Size};
use crate::state::{CollectionState, PairState, ScanOrder, Stage};

/// Collections sampled, or looked up, side by side, per pair.
const CONCURRENCY: usize = 8;
/// Pause before collections are listed again that are being made.
const BEING_MADE_POLL: Duration = Duration::from_millis(100);
/// Within this it usually is.
const BEING_MADE_SOON: Duration = Duration::from_secs(3);
const BEING_MADE_MAX: Duration = Duration::from_secs(600);

/// Reads both positions and catalog of the source and stores the plan whole.
pub async fn plan(config: &Config, sides: &Sides, stores: &Stores, run_id: &str) -> Result<()> {
    let mut listing = listing_at_rest(sides, run_id).await?;
    // Dropped between the two reads: no pair would see its drop.
    let local = &listing.local;
    listing.catalog.collections.retain(|c| {
        c.uuid
            .is_none_or(|uuid| local.iter().any(|local| local.contains(&uuid)))
    });
    let is_old = |shard: &Shard| !shard.writes.logs_diffs;
    if config.scan_order == ScanOrderMode::Natural && sides.source.shards.iter().any(is_old) {
        tracing::warn!("scan_order is natural, but a source of that version is read by `_id`");
    }
    for (index, store) in stores.pairs.iter().enumerate() {
        let collections = collections(config, sides, index, &listing).await?;
        let (start, catalog_position) = (listing.starts[index], listing.catalog_positions[index]);
        store
            .create(&PairState {
                resume: start,
                applied: start,
                catalog_position,
                collections,
            })
            .await?;
    }
    failpoint::hit("plan-stored");
    stores.run.set_stage(Stage::Layout).await
}

/// Makes the target's layout as planned and records the UUIDs made.
pub async fn lay_out(sides: &Sides, stores: &Stores, run_id: &str) -> Result<()> {
    let states = stores.load_pairs().await?;
    let planned = states.iter().flat_map(|state| &state.collections);
    let planned = planned.map(|c| (c.uuid, c)).collect();
    // A planned collection that is not made was dropped for good: its drop will be met.
    let listing = listing::read_whatever_is_renamed(&sides.source, run_id).await?;
    let mut catalog = listing.catalog;
    as_planned(&mut catalog.collections, &planned);
    // Made by an earlier attempt, and changed since: that is followed.
    let there = catalog::read(&sides.target).await?.collections;
    let is_view = |c: &Collection| c.kind == CollectionKind::View;
    let is_made = |ns: &Namespace| there.iter().any(|c| is_view(c) && c.ns == *ns);
    catalog
        .collections
        .retain(|c| !(is_view(c) && is_made(&c.ns)));
    // IMPORTANT: recorded first: a wipe takes back what it knows of.
    stores
        .run
        .add_zones(
            &layout::zones::lacking(&sides.target, &catalog.shard_zones, &sides.pairs).await?,
        )
        .await?;
    note_views(stores, &catalog).await?;
    layout::create_all(&sides.target, &catalog, &sides.pairs).await?;
    failpoint::hit("layout-made");
    let there = catalog::versions::sharded(&sides.target, None).await?;
    for (index, state) in states.iter().enumerate() {
        let target = &sides.target.shards[sides.pairs[index]];
        let made = made(target, index, &state.collections).await?;
        stores.pairs[index].bind(&made).await?;
        let versions = laid_out::versions(sides, &state.collections, &made, &there)?;
        stores.pairs[index].set_target_versions(&versions).await?;
    }
    failpoint::hit("layout-bound");
    stores.run.set_stage(Stage::Moving).await
}

/// What was created, renamed or changed since the plan will be seen being so: until then it is
/// not there, or has its planned name and options. A view that has the name by now comes after
/// that, too. What is listed twice is being renamed: its metadata tells that it is sharded.
fn as_planned(listed: &mut Vec<Collection>, planned: &HashMap<Uuid, &CollectionState>) {
    let names: HashSet<Namespace> = planned.values().map(|c| c.ns.public()).collect();
    let sharded = listed.iter().filter(|c| c.sharded.is_some());
    let sharded: HashSet<Uuid> = sharded.filter_map(|c| c.uuid).collect();
    listed.retain_mut(|collection| {
        let Some(uuid) = collection.uuid else {
            return !names.contains(&collection.ns);
        };
        let Some(planned) = planned.get(&uuid) else {
            return false;
        };
        if collection.sharded.is_none() && sharded.contains(&uuid) {
            return false;
        }
        collection.ns = planned.ns.clone();
        collection.options = planned.options.clone();
        // That it was sharded since, or its key refined, is followed.
        let key = |sharded: &Option<Sharded>| sharded.as_ref().map(|s| s.key.clone());
        if key(&collection.sharded) != key(&planned.sharded) {
            collection.sharded = planned.sharded.clone();
            collection.key_index = planned.key_index.clone();
        }
        true
    });
}

/// Views have no UUID and so no place in the plan: those that were made since the run began
/// are noted.
async fn note_views(stores: &Stores, catalog: &Catalog) -> Result<()> {
    let run = stores.run.load().await?;
    let known = run.map(|run| run.views).unwrap_or_default();
    let views = catalog.collections.iter();
    let views = views.filter(|c| c.kind == CollectionKind::View && !known.contains(&c.ns));
    for view in views {
        stores.run.add_making(&view.ns).await?;
    }
    Ok(())
}

/// Lists again after waiting for a migration: one that could not be seen before the
/// listing may have ended meanwhile. So may the sharding of a collection that looks unsharded.
async fn listing_at_rest(sides: &Sides, run_id: &str) -> Result<Listing> {
    let began = Instant::now();
    loop {
        let listing = listing::read(&sides.source, run_id).await?;
        let made = being_made::looks_unsharded(&sides.source, &listing).await?;
        if !made.is_empty() {
            being_sharded(&made, began.elapsed()).await?;
            continue;
        }
        if balancer::running(&sides.source).await?.is_empty() {
            return Ok(listing);
        }
        balancer::quiet(&sides.source).await?;
    }
}

/// Waits a moment for these to be sharded; they have been for `since`.
///
/// # Errors
/// `Refused` if that takes too long.
async fn being_sharded(names: &[String], since: Duration) -> Result<()> {
    if since < BEING_MADE_SOON {
        tokio::time::sleep(BEING_MADE_POLL).await;
        return Ok(());
    }
    let found = format!("the source still shards {}", names.join(", "));
    if BEING_MADE_MAX <= since {
        return Err(Error::new(Kind::Refused, found).remedy(
            "let the command end, or see in the log of that shard's primary why it does not; up to 4.4 a router or shard that died may have left its lock in `config.locks`, which the next DDL of that name takes over",
        ));
    }
    tracing::info!("waiting: {found}");
    tokio::time::sleep(BEING_MADE_SOON).await;
    Ok(())
}

fn held_by(catalog: &Catalog, local: &HashSet<Uuid>) -> Vec<Collection> {
    let held = catalog
        .collections
        .iter()
        .filter(|c| c.kind == CollectionKind::Plain);
    held.filter(|c| c.uuid.is_some_and(|uuid| local.contains(&uuid)))
        .cloned()
        .collect()
}

async fn collections(
    config: &Config,
    sides: &Sides,
    pair: usize,
    listing: &Listing,
) -> Result<Vec<CollectionState>> {
    let source = &sides.source.shards[pair];
    let held = held_by(&listing.catalog, &listing.local[pair]);
    stream::iter(held)
        .map(|collection| async move {
            let lives_here = collection.lives_on(pair);
            planned(cut(config), source, &collection, lives_here).await
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

/// How collections are to be cut.
pub(in crate::control) fn cut(config: &Config) -> Cut {
    Cut {
        range_bytes: config.range_bytes(),
        order: match config.scan_order {
            ScanOrderMode::Auto => None,
            ScanOrderMode::Id => Some(ScanOrder::Id),
            ScanOrderMode::Natural => Some(ScanOrder::Natural),
        },
    }
}

/// A collection as it is going to be copied. One that does not live here, or is gone, is not
/// cut.
pub(in crate::control) async fn planned(
    cut: Cut,
    source: &Shard,
    collection: &Collection,
    lives_here: bool,
) -> Result<CollectionState> {
    let planned = |bounds| CollectionState::planned(collection, bounds);
    let Some(uuid) = collection.uuid.filter(|_| lives_here) else {
        return planned(Vec::new());
    };
    // IMPORTANT: just before: it may have been renamed since it was listed, and its name be
    // another's.
    let Some(name) = catalog::called_now(source, &collection.ns, uuid).await? else {
        return planned(Vec::new());
    };
    let size = size(source, &name).await?;
    let traits = Traits::of(&collection.options);
    let (order, bounds) = units::plan(source, &name, traits, size, cut).await?;
    if order == ScanOrder::Natural {
        let (ns, shard) = (&collection.ns, &source.id);
        tracing::info!("{ns} is going to be read in the order of the disk of source shard {shard}");
    }
    Ok(CollectionState {
        order,
        ..planned(bounds)?
    })
}

/// The order in which `planned` would have it read.
pub(in crate::control) async fn order(
    cut: Cut,
    source: &Shard,
    collection: &Collection,
) -> Result<ScanOrder> {
    let size = size(source, &collection.ns).await?;
    let traits = Traits::of(&collection.options);
    units::order(source, &collection.ns, traits, size, cut).await
}

async fn size(source: &Shard, ns: &Namespace) -> Result<Size> {
    let estimate = catalog::estimate(source, ns).await?;
    Ok(Size {
        documents: estimate.document_count,
        bytes: estimate.bytes,
    })
}

/// (source UUID, target UUID) of what lives on one pair's target shard now.
async fn made(
    target: &Shard,
    pair: usize,
    collections: &[CollectionState],
) -> Result<Vec<(Uuid, Uuid)>> {
    let here = collections.iter().filter(|c| c.collection().lives_on(pair));
    let found: Vec<Option<(Uuid, Uuid)>> = stream::iter(here)
        .map(|c| async move {
            Ok::<_, crate::error::Error>(
                catalog::local_uuid(target, &c.ns)
                    .await?
                    .map(|made| (c.uuid, made)),
            )
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn ns(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    fn listed(coll: &str, uuid: Option<u8>) -> Collection {
        Collection {
            ns: ns(coll),
            kind: uuid.map_or(CollectionKind::View, |_| CollectionKind::Plain),
            uuid: uuid.map(|byte| Uuid::from_bytes([byte; 16])),
            options: Default::default(),
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    #[test]
    fn what_was_renamed_since_the_plan_has_its_planned_name() {
        let planned = [(1, "a"), (2, "b"), (3, "gone"), (4, "stays"), (6, "twice")];
        let planned = planned.map(|(byte, coll)| listed(coll, Some(byte)));
        let planned = planned.map(|c| CollectionState::planned(&c, Vec::new()).unwrap());
        let planned = planned.iter().map(|c| (c.uuid, c)).collect();
        let mut now = vec![
            // They traded names.
            listed("b", Some(1)),
            listed("a", Some(2)),
            listed("stays", Some(4)),
            listed("new", Some(5)),
            listed("view", None),
            listed("gone", None),
            // Some of its shards have renamed it.
            listed("by now", Some(6)),
            Collection {
                sharded: Some(Sharded {
                    key: rawdoc! {"k": 1},
                    unique: false,
                    chunks: Vec::new(),
                    zones: Vec::new(),
                    version: None,
                }),
                ..listed("twice", Some(6))
            },
        ];
        now[2].options = rawdoc! {"validator": {"a": 1}};
        as_planned(&mut now, &planned);
        assert!(now[2].options.is_empty(), "changed since");
        let names: Vec<_> = now.iter().map(|c| (c.ns.coll.as_str(), c.uuid)).collect();
        let uuid = |byte| Some(Uuid::from_bytes([byte; 16]));
        let wanted = [
            ("a", uuid(1)),
            ("b", uuid(2)),
            ("stays", uuid(4)),
            ("view", None),
            ("twice", uuid(6)),
        ];
        assert_eq!(names, wanted);
    }
}
