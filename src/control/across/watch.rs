//! Watches on both sides what must not change during a run: which shard owns which
//! documents (R8). A split changes nothing; a moved chunk, a moved primary or a
//! collection that became sharded is an error, never silent.
//!
//! It compares versions, so it also notices a chunk that moved away and back, and reads
//! no chunk of an unchanged map. A watch that cannot look holds "ready" back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::Uuid;
use parking_lot::Mutex;

use crate::cluster::catalog::versions::{self, Home, Row, Versions};
use crate::cluster::catalog::{Collection, MapVersion, Sharded};
use crate::cluster::deployment::{Deployment, Side, Topology};
use crate::cluster::retry::within;
use crate::control::across::ddl::Coordinator;
use crate::control::balancer;
use crate::control::layout::laid_out::{LaidOut, Made};
use crate::control::layout::owners::{self, Interval, changed};
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::observe::phase::Phase;
use crate::pair::run::Pair;
use crate::position::Position;

/// How often both sides are checked. Also checked at once when the source's oplog reports
/// a move, and at cutover.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often a side that could not be looked at is tried again, and how often the tails
/// are asked: no two looks are closer.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one side may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Obstacles are named by these.
const BLIND: &str = "watch";
const UNREST: &str = "chunk moves";
const RENAMED: &str = "a collection was renamed on the target meanwhile";

pub struct Watch {
    sides: Sides,
    coordinator: Arc<Coordinator>,
    /// Where each database of the source was found, by its name there.
    homes: Mutex<HashMap<String, Home>>,
}

impl Watch {
    pub fn new(sides: &Sides, coordinator: &Arc<Coordinator>) -> Self {
        Watch {
            sides: sides.clone(),
            coordinator: coordinator.clone(),
            homes: Mutex::default(),
        }
    }

    /// Watches until something changed.
    pub async fn run(&self, run: &Run, pairs: &[Arc<Pair>]) -> Error {
        loop {
            let seen = signs(pairs);
            let next = match self.check().await {
                // The balancers are back: chunks may move again.
                _ if run.phase() == Phase::Done => std::future::pending().await,
                Ok(unrest) => {
                    run.obstacles.clear(BLIND);
                    run.obstacles
                        .put(UNREST, (!unrest.is_empty()).then(|| unrest.join("; ")));
                    Instant::now() + INTERVAL
                }
                // Also that there is a shard more.
                Err(e) if matches!(e.kind, Kind::Unsupported | Kind::Refused) => return e,
                Err(e) => {
                    run.obstacles.set(BLIND, blind(&e));
                    Instant::now()
                }
            };
            tokio::time::sleep(PAUSE).await;
            while Instant::now() < next && signs(pairs) == seen {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Compares owners on both sides with owners as laid out. Returns what may move chunks
    /// from now on, in words.
    ///
    /// # Errors
    /// `Unsupported` if something changed; anything else if it could not look.
    pub async fn check(&self) -> Result<Vec<String>> {
        if self.sides.source.topology == Topology::ReplicaSet {
            return Ok(Vec::new());
        }
        let renames = self.coordinator.renames();
        // First what is laid out: a collection made between the two is then not looked at.
        let laid_out = self.coordinator.laid_out();
        let made = self.coordinator.made();
        let (source, target) =
            tokio::try_join!(self.look(&self.sides.source), self.look(&self.sides.target))?;
        self.check_homes(&laid_out, &source.versions)?;
        let mut changes = Vec::new();
        for (uuid, collection) in &laid_out {
            let on_source = self.on_source(*uuid, collection, &source.versions).await?;
            let on_target = self
                .on_target(collection, made.get(uuid), &target.versions)
                .await?;
            changes.extend(on_source.map(|change| (uuid, change)));
            changes.extend(on_target.map(|change| (uuid, changed(Side::Target, &change))));
        }
        // What was dropped since may be gone, or may have another owner by now.
        let still = if changes.is_empty() {
            HashMap::new()
        } else {
            self.coordinator.laid_out()
        };
        changes.retain(|(uuid, _)| still.contains_key(*uuid));
        let now = self.coordinator.renames();
        let amid = |uuid: &Uuid| is_amid(renames.get(uuid), now.get(uuid));
        let are_renamed = changes.iter().any(|(uuid, _)| amid(uuid));
        if let Some((uuid, change)) = changes.into_iter().find(|(uuid, _)| !amid(uuid)) {
            let change = self.unless_back(change, made.get(uuid), &target.versions);
            return Err(change.await);
        }
        if are_renamed {
            return Err(renamed());
        }
        Ok([source.unrest, target.unrest].concat())
    }

    async fn look(&self, side: &Deployment) -> Result<Look> {
        let look = async {
            // IMPORTANT: first: a move that is over when it is not found running shows in
            // the versions.
            let unrest = balancer::unrest(side).await?;
            let versions = versions::read(side).await?;
            Ok(Look { unrest, versions })
        };
        within(PATIENCE, &name(side), look).await
    }

    /// A moved primary leaves no other trace: its collections get new UUIDs.
    fn check_homes(&self, laid_out: &LaidOut, source: &Versions) -> Result<()> {
        let scope = &self.sides.source.scope;
        let has_any = |own: &str| {
            let mut laid_out = laid_out.values();
            laid_out.any(|collection| collection.ns.own(scope).db == own)
        };
        let mut homes = self.homes.lock();
        for (name, home) in &source.databases {
            let moved = homes
                .get(name)
                .is_some_and(|before| before.incarnation == home.incarnation && before != home);
            if moved && has_any(name) {
                return Err(changed(
                    Side::Source,
                    &format!("the primary shard of database {name} moved"),
                ));
            }
        }
        *homes = source.databases.clone();
        Ok(())
    }

    async fn on_source(
        &self,
        uuid: Uuid,
        before: &Collection,
        now: &Versions,
    ) -> Result<Option<Error>> {
        let Collection { ns, primary, .. } = before;
        let other = |what: String| Some(changed(Side::Source, &what));
        // A drop under way: its metadata goes first, its shards follow one by one.
        let Some(row) = now.collections.get(&uuid) else {
            return Ok(None);
        };
        let own = ns.own(&self.sides.source.scope).db;
        let home = now.databases.get(&own);
        if home.is_some_and(|home| home.primary != *primary) {
            return Ok(other(format!("the primary shard of database {own} moved")));
        }
        let Some(sharded) = &before.sharded else {
            return self.sharded_since((uuid, row), before).await;
        };
        let version = sharded.version;
        if version.is_some_and(|before| is_same(row, &before)) {
            return Ok(None);
        }
        let Some(now) = self.read_map(&self.sides.source, (uuid, row)).await? else {
            return Ok(None);
        };
        let before = owners::intervals(sharded);
        if owners::is_refined((&sharded.key, &before), sharded.version, &now) {
            return Ok(Some(owners::refined(ns)));
        }
        let change = owners::change(&before, version, &now);
        Ok(change.and_then(|change| other(format!("{change} of {} changed", row.ns))))
    }

    async fn sharded_since(&self, of: (Uuid, &Row), before: &Collection) -> Result<Option<Error>> {
        let Some(sharded) = self.read_map(&self.sides.source, of).await? else {
            return Ok(None);
        };
        let now = Collection {
            sharded: Some(sharded),
            ..before.clone()
        };
        if owners::is_sharded_in_place(before, &now) {
            let shard = &self.sides.source.shards[before.primary].id;
            return Ok(Some(owners::sharded_in_place(&now, shard)));
        }
        let what = format!("{} was sharded, and a chunk of it moved,", before.ns);
        Ok(Some(changed(Side::Source, &what)))
    }

    async fn on_target(
        &self,
        before: &Collection,
        made: Option<&Made>,
        now: &Versions,
    ) -> Result<Option<String>> {
        let Collection { ns, primary, .. } = before;
        if now
            .databases
            .get(&ns.db)
            .is_none_or(|home| home.primary != self.sides.pairs[*primary])
        {
            return Ok(Some(format!(
                "the primary shard of database {} moved, or it was dropped",
                ns.db
            )));
        }
        let Some(made) = made else { return Ok(None) };
        match (&before.sharded, now.collections.get(&made.uuid)) {
            (None, None) => Ok(None),
            (None, Some(_)) => Ok(Some(format!("{ns} was sharded"))),
            (Some(_), None) => Ok(Some(format!("{ns} was dropped or recreated"))),
            (Some(sharded), Some(row)) => {
                if made.version.is_some_and(|before| is_same(row, &before)) {
                    return Ok(None);
                }
                let before = || owners::mapped(sharded, &self.sides.pairs);
                self.look_closer(&self.sides.target, (made.uuid, row), before, made.version)
                    .await
            }
        }
    }

    /// A router that renames a collection takes it off the list for a moment: what was missed is
    /// looked for once more.
    async fn unless_back(&self, change: Error, made: Option<&Made>, missed: &Versions) -> Error {
        let Some(made) = made.filter(|made| !missed.collections.contains_key(&made.uuid)) else {
            return change;
        };
        tokio::time::sleep(PAUSE).await;
        let target = &self.sides.target;
        match within(PATIENCE, &name(target), versions::read(target)).await {
            Ok(now) if now.collections.contains_key(&made.uuid) => renamed(),
            Ok(_) => change,
            Err(e) => e,
        }
    }

    /// Reads the chunks of one collection whose version changed.
    async fn look_closer(
        &self,
        side: &Deployment,
        (uuid, row): (Uuid, &Row),
        before: impl FnOnce() -> Vec<Interval>,
        version: Option<MapVersion>,
    ) -> Result<Option<String>> {
        // Dropped since.
        let Some(now) = self.read_map(side, (uuid, row)).await? else {
            return Ok(None);
        };
        Ok(owners::change(&before(), version, &now)
            .map(|change| format!("{change} of {} changed", row.ns)))
    }

    /// None if it was dropped since.
    async fn read_map(
        &self,
        side: &Deployment,
        (uuid, row): (Uuid, &Row),
    ) -> Result<Option<Sharded>> {
        let rows = within(
            PATIENCE,
            &name(side),
            versions::sharded(side, Some(&row.ns)),
        )
        .await?;
        let row = rows.into_iter().find(|row| row.uuid == uuid);
        Ok(row.map(|row| row.sharded))
    }
}

/// One side as it was found.
struct Look {
    unrest: Vec<String>,
    versions: Versions,
}

fn name(side: &Deployment) -> String {
    format!("router, config servers or shards of the {}", side.side)
}

fn renamed() -> Error {
    Error::new(Kind::Transient, RENAMED)
}

/// Renames of a collection begun and ended, before a look and after it. Amid one the target has
/// it by neither name, or by both.
fn is_amid(before: Option<&u64>, after: Option<&u64>) -> bool {
    before != after || before.is_some_and(|begun| !begun.is_multiple_of(2))
}

fn is_same(row: &Row, before: &MapVersion) -> bool {
    (row.epoch, row.major) == (before.epoch, before.major)
}

/// Newest entry of each source shard that tells of a move.
fn signs(pairs: &[Arc<Pair>]) -> Vec<Option<Position>> {
    pairs
        .iter()
        .map(|pair| pair.with_view(|view| view.move_sign))
        .collect()
}

fn blind(e: &Error) -> String {
    format!(
        "cannot tell now whether chunks move: {}; a cutover waits until this is known",
        e.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_amid_a_rename_that_was_begun_or_ended_meanwhile() {
        for (before, after, expect) in [
            (None, None, false),
            (Some(2), Some(2), false),
            (None, Some(1), true),
            (Some(1), Some(1), true),
            (Some(1), Some(2), true),
            (Some(2), Some(4), true),
        ] {
            let found = is_amid(before.as_ref(), after.as_ref());
            assert_eq!(found, expect, "{before:?} {after:?}");
        }
    }
}
