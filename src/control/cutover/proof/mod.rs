//! Proof that the target equals the source, apart from documents: collections and views
//! with their kinds and options, every index, shard keys, zones and the owner of every
//! range. Whatever is not alike is a [`Difference`], which the run repairs or which is in
//! the way of a cutover.
//!
//! **Its place in a cutover.** Source and target are listed between the two markers, after
//! everything up to the first is applied. Users' DDL after that marker calls the cutover
//! off; DDL before it is on the target. So a difference is real, and equal lists are
//! equal for good. An index that no oplog entry mentions is in the lists as well: they
//! show the primary's state, and are read whole each time. They are believed only if no
//! source shard held an election from before them until a majority took the second marker
//! (`listing`). The target's term is the attempt's.
//!
//! **Owners are checked last** (`watch`, then [`owners`]), after everything up to the
//! second marker is applied. Our writes go straight to the shards, and a write to a chunk
//! that is moving, or gone, would be lost. No move is under way after our last write, and
//! all owners are then as they were laid out: so none took any of what was written.
//! `watch` sees a range that moved away and back, by comparing versions.
//!
//! Before the cutover [`prover`] looks all the while, so that "ready" means as much.
//!
//! One command lists a shard whole, however many collections it has. Reads no document.
//! Repairs through the same doors as DDL (`ddl`, the pairs' chores).

mod definitions;
mod indexes;
mod layout;
pub mod prover;
mod repairs;
mod shown;
mod zones;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bson::Uuid;
use futures_util::future::try_join_all;

use crate::cluster::catalog::contents::{self, Stored};
use crate::cluster::catalog::left_behind;
use crate::cluster::catalog::{self, Collection, Namespace, Sharding};
use crate::cluster::deployment::{Deployment, Topology};
use crate::control::across::ddl::Coordinator;
use crate::control::balancer;
use crate::control::layout::laid_out::LaidOut;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Policy, Result};
use crate::pair::run::{HeldBackOf, Pair};
use crate::scope::Scope;

/// Differences named at a time.
const TOLD_MAX: usize = 5;

/// Something that is not alike on both sides.
#[derive(Debug, Clone)]
pub struct Difference {
    pub what: String,
    pub remedy: String,
    /// UUID of the collection it is about, since a namesake made later is another one.
    pub uuid: Option<Uuid>,
    pub repair: Option<Repair>,
}

/// A difference that the run itself can repair.
#[derive(Debug, Clone)]
pub enum Repair {
    /// A view of the target that must be dropped, made or made again, after the source's
    /// view of that name if there is one.
    View {
        ns: Namespace,
        on_source: Option<Box<Collection>>,
    },
    /// Indexes or options of a collection on a pair's target shard.
    Definition { pair: usize, uuid: Uuid },
    /// Zone ranges of a collection.
    Zones { ns: Namespace },
    /// The zones that shards are in.
    ShardZones,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.remedy)
    }
}

impl Difference {
    fn new(what: String, remedy: impl Into<String>) -> Self {
        Difference {
            what,
            remedy: remedy.into(),
            uuid: None,
            repair: None,
        }
    }

    fn of(self, uuid: Option<Uuid>) -> Self {
        Difference { uuid, ..self }
    }

    fn ours(self, repair: Repair) -> Self {
        Difference {
            repair: Some(repair),
            ..self
        }
    }
}

/// The remedy of what the run repairs.
fn repaired_or(by_hand: &str) -> String {
    format!("shardlift repairs it by itself; if this stays, {by_hand}")
}

/// Shards by name, and which target shard takes which source shard.
struct ShardMap {
    source: Vec<String>,
    target: Vec<String>,
    pairs: Vec<usize>,
    /// The expiry with which the target deletes nothing (`WriteForms::expiry_never`).
    expiry_never: Option<i64>,
    /// The target's capped collections get their sizes at the cutover (`WriteForms::trims_come`).
    trims_come: bool,
    /// The source's, for its own names.
    scope: Scope,
}

impl ShardMap {
    fn of(sides: &Sides) -> Self {
        let ids = |deployment: &Deployment| {
            deployment
                .shards
                .iter()
                .map(|shard| shard.id.clone())
                .collect()
        };
        ShardMap {
            source: ids(&sides.source),
            target: ids(&sides.target),
            pairs: sides.pairs.clone(),
            expiry_never: sides.target.dialect.writes.expiry_never,
            trims_come: sides.target.dialect.writes.trims_come,
            scope: sides.source.scope.clone(),
        }
    }
}

/// The contents of one side.
#[derive(Default)]
struct Holdings {
    /// Per shard, in the order of `Deployment::shards`.
    shards: Vec<Vec<Stored>>,
    /// None of a replica set.
    sharding: Option<Sharding>,
    /// Primary shards of databases.
    homes: HashMap<String, usize>,
}

impl Holdings {
    fn new(shards: Vec<Vec<Stored>>, sharding: Option<Sharding>) -> Self {
        let databases = sharding.iter().flat_map(|sharding| &sharding.databases);
        let homes = databases
            .map(|database| (database.name.clone(), database.primary))
            .collect();
        Holdings {
            shards,
            sharding,
            homes,
        }
    }

    async fn read(deployment: &Deployment) -> Result<Self> {
        let shards = try_join_all(deployment.shards.iter().map(contents::read));
        let (shards, sharding) = tokio::try_join!(shards, catalog::sharding(deployment))?;
        let sharding = (deployment.topology == Topology::Sharded).then_some(sharding);
        Ok(Holdings::new(shards, sharding))
    }

    /// Whether the shard's part of the collection counts. A shard also keeps collections
    /// of which it has no chunk, and may have some that no router shows.
    fn lives_on(&self, ns: &Namespace, shard: usize) -> bool {
        let Some(sharding) = &self.sharding else {
            return true;
        };
        match sharding.collections.get(ns) {
            Some(sharded) => sharded.chunks.iter().any(|chunk| chunk.shard == shard),
            None => self.homes.get(&ns.db) == Some(&shard),
        }
    }
}

/// Both sides as they were listed.
pub struct Listed {
    map: ShardMap,
    source: Holdings,
    target: Holdings,
    held_back: Vec<HeldBackOf>,
    laid_out: LaidOut,
}

impl Listed {
    pub async fn read(
        sides: &Sides,
        pairs: &[Arc<Pair>],
        coordinator: &Coordinator,
    ) -> Result<Self> {
        let held_back = pairs.iter().map(|pair| pair.held_back()).collect();
        let laid_out = coordinator.laid_out();
        let (source, target) =
            tokio::try_join!(Holdings::read(&sides.source), Holdings::read(&sides.target))?;
        Ok(Listed {
            map: ShardMap::of(sides),
            source,
            target,
            held_back,
            laid_out,
        })
    }

    /// Compares the contents. The answer is final only if everything that the source has
    /// is applied and nothing may change.
    pub fn definitions(&self) -> Vec<Difference> {
        definitions::compare(
            &self.map,
            &self.source,
            &self.target,
            &self.held_back,
            &self.laid_out,
        )
    }

    /// Like [`owners`], without reading again; a cutover needs a later read.
    pub fn owners(&self) -> Vec<Difference> {
        match (&self.source.sharding, &self.target.sharding) {
            (Some(source), Some(target)) => layout::compare(&self.map, source, target),
            _ => Vec::new(),
        }
    }
}

/// Compares the owners of all ranges, and everything else that the config servers know.
pub async fn owners(sides: &Sides) -> Result<Vec<Difference>> {
    let (source, target) = tokio::try_join!(
        catalog::sharding(&sides.source),
        catalog::sharding(&sides.target)
    )?;
    Ok(layout::compare(&ShardMap::of(sides), &source, &target))
}

/// Texts that say what moves chunks now, or may.
pub async fn moving(sides: &Sides) -> Result<Vec<String>> {
    let (source, target) = tokio::try_join!(
        balancer::unrest(&sides.source),
        balancer::unrest(&sides.target)
    )?;
    Ok([source, target].concat())
}

/// Reports what users keep in the servers' own databases, which is not moved. This is no
/// obstacle: if the login may not look, that is only reported.
pub async fn tell_left_behind(source: &Deployment, run: &Run) {
    match left_behind::read(source).await {
        Ok(found) => found.iter().for_each(|ns| {
            run.warn_once(format!(
                "{ns} of the source is not moved: {} belongs to the servers; copy it by other means",
                ns.db
            ));
        }),
        Err(e) if e.kind.policy() == Policy::Stop => {
            run.warn_once(format!(
                "users' collections in admin, config and local are not moved and could not be listed: {e}"
            ));
        }
        // The next look will tell.
        Err(e) => tracing::debug!("what stays behind could not be listed: {e}"),
    }
}

/// The first few in words.
pub fn told(found: &[Difference]) -> Vec<String> {
    let mut told: Vec<String> = found
        .iter()
        .take(TOLD_MAX)
        .map(ToString::to_string)
        .collect();
    match found.len().saturating_sub(TOLD_MAX) {
        0 => {}
        more => told.push(format!("and {more} more")),
    }
    told
}

/// Repairs what the run itself can. Views and zones are alike then. For collections it only begins: a
/// pair is not complete before they are alike.
pub async fn repair(
    found: &[Difference],
    pairs: &[Arc<Pair>],
    coordinator: &Coordinator,
) -> Result<()> {
    for difference in found {
        match &difference.repair {
            Some(Repair::View { ns, on_source }) => {
                tracing::warn!("{}: repaired", difference.what);
                coordinator.mend_view(ns, on_source.as_deref()).await?;
            }
            Some(Repair::Definition { pair, uuid }) => {
                tracing::warn!("{}: it is repaired", difference.what);
                pairs[*pair].mend_definition(uuid);
            }
            Some(Repair::Zones { ns }) => {
                tracing::warn!("{}: repaired", difference.what);
                coordinator.mend_zones(ns).await?;
            }
            Some(Repair::ShardZones) => {
                tracing::warn!("{}: repaired", difference.what);
                coordinator.mend_shard_zones().await?;
            }
            None => {}
        }
    }
    Ok(())
}
