//! Watches on both sides what must not change during a run: which shard owns which
//! documents (R8). A split changes nothing; a moved chunk or a moved primary is an error,
//! never silent. A refined shard key, and a collection that is sharded where it is, give no
//! document another owner: the target's is refined, or sharded, alike (`control::across::ddl`).
//!
//! It compares versions, so it also notices a chunk that moved away and back, and reads
//! no chunk of an unchanged map. A watch that cannot look holds "ready" back.

mod maps;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::Uuid;
use parking_lot::Mutex;

use crate::cluster::catalog::Namespace;
use crate::cluster::catalog::versions::{self, Home, Versions};
use crate::cluster::deployment::{Deployment, Side, Topology};
use crate::cluster::retry::within;
use crate::control::across::ddl::Coordinator;
use crate::control::across::watch::maps::Found;
use crate::control::balancer;
use crate::control::layout::laid_out::{LaidOut, Made};
use crate::control::layout::listing;
use crate::control::layout::owners::changed;
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
const TO_FOLLOW: &str = "sharding";
const RENAMED: &str = "a collection was renamed on the target meanwhile";

/// A change of how a collection of the source is sharded, which the target does not have yet.
pub struct ToFollow {
    uuid: Uuid,
    ns: Namespace,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    /// Its key is refined.
    Refined,
    /// It is sharded, on this primary shard of the source.
    InPlace(usize),
}

impl ToFollow {
    fn text(&self) -> String {
        let (ns, on_source) = (&self.ns, "on the source, and is not yet on the target");
        match self.how {
            How::Refined => format!("the shard key of {ns} was refined {on_source}"),
            How::InPlace(_) => format!("{ns} was sharded {on_source}"),
        }
    }
}

/// What both sides show that does not end the run.
#[derive(Default)]
pub struct Seen {
    /// What may move chunks from now on, in words.
    pub unrest: Vec<String>,
    to_follow: Vec<ToFollow>,
}

impl Seen {
    /// What the target is still to get, in words.
    pub fn to_follow(&self) -> Vec<String> {
        self.to_follow.iter().map(ToFollow::text).collect()
    }
}

pub struct Watch {
    sides: Sides,
    coordinator: Arc<Coordinator>,
    /// Where each database of the source was found, by its name there.
    homes: Mutex<HashMap<String, Home>>,
    /// Positions on their primary shards at which collections were sharded already.
    sharded_by: Mutex<HashMap<Uuid, Position>>,
}

impl Watch {
    pub fn new(sides: &Sides, coordinator: &Arc<Coordinator>) -> Self {
        Watch {
            sides: sides.clone(),
            coordinator: coordinator.clone(),
            homes: Mutex::default(),
            sharded_by: Mutex::default(),
        }
    }

    /// Watches until something changed.
    pub async fn run(&self, run: &Run, pairs: &[Arc<Pair>]) -> Error {
        loop {
            let seen = signs(pairs);
            let checked = match self.check().await {
                // The balancers are back: chunks may move again.
                _ if run.phase() == Phase::Done => std::future::pending().await,
                Ok(seen) => {
                    run.obstacles.put(UNREST, in_words(&seen.unrest));
                    self.follow(&seen.to_follow, pairs).await
                }
                Err(e) => Err(e),
            };
            let next = match checked {
                Ok(waiting) => {
                    run.obstacles.clear(BLIND);
                    run.obstacles.put(TO_FOLLOW, in_words(&waiting));
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

    /// Makes on the target what it does not have yet. Returns what is still to be made, in
    /// words.
    async fn follow(&self, all: &[ToFollow], pairs: &[Arc<Pair>]) -> Result<Vec<String>> {
        let mut waiting = Vec::new();
        for change in all {
            let (uuid, coordinator) = (change.uuid, &self.coordinator);
            let not_yet = match change.how {
                How::Refined => coordinator.refine(uuid, pairs).await?,
                How::InPlace(primary) if self.is_behind((uuid, primary), pairs).await? => {
                    Some("what was logged before is still to be applied and recorded".to_owned())
                }
                How::InPlace(_) => coordinator.shard_in_place(uuid, pairs).await?,
            };
            waiting.extend(not_yet.map(|why| format!("{}: {why}", change.text())));
        }
        Ok(waiting)
    }

    /// Whether a restart would meet entries from before the collection was sharded.
    async fn is_behind(&self, (uuid, primary): (Uuid, usize), pairs: &[Arc<Pair>]) -> Result<bool> {
        let known = self.sharded_by.lock().get(&uuid).copied();
        let since = match known {
            Some(since) => since,
            None => {
                let newest = listing::newest(&self.sides.source).await?;
                let since = newest[primary].clock;
                self.sharded_by.lock().insert(uuid, since);
                since
            }
        };
        let mut of_it = pairs.iter().filter(|pair| pair.index == primary);
        Ok(of_it.any(|pair| pair.resume_position() < since))
    }

    /// Compares owners on both sides with owners as laid out. Changes nothing.
    ///
    /// # Errors
    /// `Unsupported` if something changed; anything else if it could not look.
    pub async fn check(&self) -> Result<Seen> {
        if self.sides.source.topology == Topology::ReplicaSet {
            return Ok(Seen::default());
        }
        let renames = self.coordinator.renames();
        // First what is laid out: a collection made between the two is then not looked at.
        let laid_out = self.coordinator.laid_out();
        let made = self.coordinator.made();
        let (source, target) =
            tokio::try_join!(self.look(&self.sides.source), self.look(&self.sides.target))?;
        self.check_homes(&laid_out, &source.versions)?;
        let (mut changes, mut to_follow) = (Vec::new(), Vec::new());
        for (uuid, collection) in &laid_out {
            let of = (*uuid, collection.as_ref());
            match self.on_source(of, &source.versions).await? {
                Some(Found::Stops(change)) => changes.push((uuid, change)),
                Some(Found::Followed(change)) => to_follow.push(change),
                None => {}
            }
            let (versions, by_source) = (&target.versions, &source.versions);
            let on_target = self
                .on_target(of, made.get(uuid), versions, by_source)
                .await?;
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
        to_follow.retain(|change| !amid(&change.uuid));
        let are_renamed = changes.iter().any(|(uuid, _)| amid(uuid));
        if let Some((uuid, change)) = changes.into_iter().find(|(uuid, _)| !amid(uuid)) {
            let change = self.unless_back(change, made.get(uuid), &target.versions);
            return Err(change.await);
        }
        if are_renamed {
            return Err(renamed());
        }
        let unrest = [source.unrest, target.unrest].concat();
        Ok(Seen { unrest, to_follow })
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

/// Newest entry of each source shard that tells of a move.
fn signs(pairs: &[Arc<Pair>]) -> Vec<Option<Position>> {
    pairs
        .iter()
        .map(|pair| pair.with_view(|view| view.move_sign))
        .collect()
}

fn in_words(found: &[String]) -> Option<String> {
    (!found.is_empty()).then(|| found.join("; "))
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
