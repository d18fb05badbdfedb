//! DDL that concerns several pairs, run once through the target's router.
//!
//! What is due is decided by `control::across::rendezvous`; it is done here, in turns.
//! Pairs read on meanwhile.

mod emptied;
mod making;
mod refining;
mod renaming;
mod resolve;
mod series;
mod sharding;
mod turn;
mod views;
mod zones;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocumentBuf, Uuid};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::cluster::catalog::{self, Collection, MapVersion, Namespace};
use crate::control::across::arrivals::Arrivals;
use crate::control::across::register;
use crate::control::across::rendezvous::{Arrival, Rendezvous, ToDrop};
use crate::control::across::views::Views;
use crate::control::layout;
use crate::control::layout::dropping::drop_collection;
use crate::control::layout::laid_out::Made;
use crate::control::sides::Sides;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::collection::Tracked;
use crate::pair::ddl::request::{Creation, Request};
use crate::pair::oplog::proven::Lister;
use crate::position::Position;
use crate::state::run_store::RunStore;
use crate::state::{CollectionState, PairState};

/// How often servers are asked for what only they know.
const POLL: Duration = Duration::from_millis(50);

/// The knowledge shared by all pairs.
pub struct Coordinator {
    sides: Sides,
    views: Views,
    /// One lister per source shard.
    listers: Vec<Arc<Lister>>,
    runs: RunStore,
    /// Up to there entries may be left to read on what was given up before.
    given_up_to: Position,
    state: Mutex<State>,
    /// A name, or a database, is free that was not, or another pair holds a collection.
    freed: Notify,
    /// One change of the target's catalog at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    rendezvous: Rendezvous,
    /// Pairs that wait until the drop of the UUID is made.
    arrived: HashMap<Uuid, Vec<oneshot::Sender<Result<()>>>>,
    renaming: Arrivals<Arc<Tracked>>,
    /// Renames of it begun on the target, and ended there: odd while one is being made.
    renames: HashMap<Uuid, u64>,
    /// The collections as they are laid out, for the watch over owners.
    laid_out: HashMap<Uuid, Arc<Collection>>,
    /// Of the target's chunk maps as they were laid out.
    versions: HashMap<Uuid, MapVersion>,
    /// Databases of the target that the run had collections in.
    databases: BTreeSet<String>,
    /// A drop by name on the target that was not answered. Whoever takes the turn and
    /// finds it makes nothing more, and the attempt ends (`turn`).
    lost: Option<Error>,
    /// The cutover is over: no database is dropped any more.
    is_over: bool,
}

/// Recorded collections that are not dead, those of pairs on which they live last: these have
/// followed what became of their options.
fn alive<'a>(states: &'a [PairState], rendezvous: &Rendezvous) -> Vec<&'a CollectionState> {
    let of_pair = |(pair, state): (usize, &'a PairState)| {
        let alive = state.collections.iter().filter(|c| !c.dead);
        alive.map(move |c| (c.collection().lives_on(pair), c))
    };
    let all = states.iter().enumerate().flat_map(of_pair);
    let mut alive: Vec<_> = all.filter(|(_, c)| !rendezvous.is_dead(&c.uuid)).collect();
    alive.sort_by_key(|(lives_here, _)| *lives_here);
    alive.into_iter().map(|(_, c)| c).collect()
}

impl Coordinator {
    /// `states[i]`: collections that pair i tracks. `dropped`: UUIDs of collections that
    /// are no longer on the target. `away_max`: how long to wait for the target's
    /// majority.
    pub fn new(
        sides: Sides,
        views: Views,
        listers: Vec<Arc<Lister>>,
        states: &[PairState],
        dropped: HashSet<Uuid>,
        away_max: Duration,
    ) -> Arc<Self> {
        let rendezvous = Rendezvous::of(states, dropped);
        let alive = alive(states, &rendezvous);
        let laid_out = alive
            .iter()
            .map(|c| (c.uuid, Arc::new(c.collection())))
            .collect();
        let versions = alive
            .iter()
            .filter_map(|c| Some((c.uuid, c.target_version?)))
            .collect();
        let databases = states
            .iter()
            .flat_map(|pair| &pair.collections)
            .map(|c| c.ns.db.clone())
            .collect();
        let state = State {
            rendezvous,
            laid_out,
            versions,
            databases,
            ..State::default()
        };
        let runs = RunStore::new(&sides.target.shards[0]).waiting(away_max);
        Arc::new(Coordinator {
            sides,
            views,
            listers,
            runs,
            given_up_to: register::given_up_to(states),
            state: Mutex::new(state),
            freed: Notify::new(),
            turn: Default::default(),
        })
    }

    /// Serves pairs for as long as nothing panics: whoever waited for a task that
    /// did, the other pairs of a drop too, would wait for ever.
    pub async fn run(self: Arc<Self>, mut requests: mpsc::Receiver<Request>) -> Error {
        let mut tasks = JoinSet::new();
        let mut emptied = std::pin::pin!(self.watch_emptied());
        loop {
            tokio::select! {
                lost = emptied.as_mut() => return lost,
                Some(request) = requests.recv() => self.serve(request, &mut tasks),
                Some(ended) = tasks.join_next() => if let Err(panic) = ended {
                    return Error::internal(format!("DDL across pairs ended early: {panic}"));
                },
                // No pair can ask any more: one has failed, and says why, perhaps
                // a moment later.
                else => return std::future::pending().await,
            }
        }
    }

    fn serve(self: &Arc<Self>, request: Request, tasks: &mut JoinSet<()>) {
        let coordinator = self.clone();
        match request {
            Request::Create {
                pair,
                ns,
                uuid,
                reply,
            } => {
                self.state.lock().rendezvous.hold(pair, uuid);
                self.freed.notify_waiters();
                tasks.spawn(async move { coordinator.create(pair, ns, uuid, reply).await });
            }
            Request::Drop {
                pair,
                ns,
                uuid,
                reply,
            } => {
                if self.arrive(pair, uuid, reply) == Arrival::Last {
                    tasks.spawn(async move { coordinator.drop_for_all(&ns, uuid).await });
                }
            }
            Request::Rename {
                pair,
                tracked,
                to,
                reply,
            } => {
                tasks.spawn(async move {
                    // A pair that is gone no longer needs the answer.
                    let _ = reply.send(coordinator.rename(pair, tracked, &to).await);
                });
            }
            Request::Modified {
                uuid,
                options,
                reply,
            } => {
                let modified = self.modified(&uuid, options);
                tasks.spawn(async move {
                    let followed = coordinator.follow_series(modified).await;
                    // A pair that is gone no longer needs the answer.
                    let _ = reply.send(followed);
                });
            }
            Request::Views { db, reply } => {
                tasks.spawn(async move {
                    // A pair that is gone no longer needs the answer.
                    let _ = reply.send(coordinator.follow_views(&db).await);
                });
            }
        }
    }

    /// What is laid out has these options from here on: the expiry among them is set at the
    /// cutover.
    fn modified(&self, uuid: &Uuid, options: RawDocumentBuf) -> Option<Arc<Collection>> {
        let mut state = self.state.lock();
        let collection = state.laid_out.get_mut(uuid)?;
        Arc::make_mut(collection).options = options;
        Some(collection.clone())
    }

    /// Dropped collections that no pair holds any more.
    pub fn unheld(&self) -> Vec<Uuid> {
        self.state.lock().rendezvous.unheld()
    }

    /// Entries on those may be left to read up to there, whatever pairs have met.
    pub fn given_up_to(&self) -> Position {
        self.given_up_to
    }

    /// Forgets collections that no pair will meet again.
    pub fn forget(&self, uuids: &[Uuid]) {
        self.state.lock().rendezvous.forget(uuids);
    }

    /// Renames begun on the target, and ended there, of each collection.
    pub fn renames(&self) -> HashMap<Uuid, u64> {
        self.state.lock().renames.clone()
    }

    /// The collections laid out and not dropped.
    pub fn laid_out(&self) -> HashMap<Uuid, Arc<Collection>> {
        self.state.lock().laid_out.clone()
    }

    /// The collections made for them on the target, as far as known.
    pub fn made(&self) -> HashMap<Uuid, Made> {
        let state = self.state.lock();
        let made = |(of, uuid): (&Uuid, &Uuid)| {
            (
                *of,
                Made {
                    uuid: *uuid,
                    version: state.versions.get(of).copied(),
                },
            )
        };
        state.rendezvous.targets().iter().map(made).collect()
    }

    async fn create(
        &self,
        pair: usize,
        ns: Namespace,
        uuid: Uuid,
        mut reply: oneshot::Sender<Result<Creation>>,
    ) {
        let resolved = tokio::select! {
            resolved = self.resolve(pair, &ns, uuid) => resolved,
            // The pair has seen it dropped meanwhile. From here on it is made
            // to the end, so that the drop finds it.
            () = reply.closed() => return,
        };
        let created = match resolved {
            Ok(Some(collection)) => self.make(pair, collection, uuid, &mut reply).await,
            Ok(None) if self.is_dead(&uuid) => Ok(Creation::Dropped),
            Ok(None) => Ok(Creation::Gone),
            Err(e) => Err(e),
        };
        // A pair that is gone no longer needs the answer.
        let _ = reply.send(created);
    }

    fn is_dead(&self, uuid: &Uuid) -> bool {
        self.state.lock().rendezvous.is_dead(uuid)
    }

    /// The pair has met the drop. It is answered once that is made.
    fn arrive(&self, pair: usize, uuid: Uuid, reply: oneshot::Sender<Result<()>>) -> Arrival {
        let mut state = self.state.lock();
        let arrival = state.rendezvous.arrive(pair, uuid);
        if arrival == Arrival::Dropped {
            // A pair that is gone no longer needs the answer.
            let _ = reply.send(Ok(()));
            return arrival;
        }
        state.arrived.entry(uuid).or_default().push(reply);
        if arrival == Arrival::Last {
            state.laid_out.remove(&uuid);
            state.versions.remove(&uuid);
            state.renaming.dropped(uuid);
            state.renames.remove(&uuid);
        }
        self.freed.notify_waiters();
        arrival
    }

    /// Makes a drop that is due, and answers every pair that waits for it.
    async fn drop_for_all(&self, ns: &Namespace, uuid: Uuid) {
        let dropped = self.drop_on_target(ns, uuid).await;
        let waiting = self.state.lock().arrived.remove(&uuid).unwrap_or_default();
        for reply in waiting {
            // A pair that is gone no longer needs the answer.
            let _ = reply.send(dropped.clone());
        }
    }

    async fn drop_on_target(&self, ns: &Namespace, uuid: Uuid) -> Result<()> {
        failpoint::hit("drop-begun");
        let _turn = self.take_turn().await?;
        let to_drop = self.state.lock().rendezvous.to_drop(ns, uuid);
        match to_drop {
            ToDrop::Made(made) => {
                self.drop_made(ns, made).await?;
                self.runs.forget_making(ns).await?;
            }
            ToDrop::PassedOn => {}
            ToDrop::Unclaimed => self.drop_unclaimed(ns).await?,
        }
        self.state.lock().rendezvous.dropped(ns, uuid);
        self.freed.notify_waiters();
        Ok(())
    }

    /// Drops what has the name and is claimed by no one, if it is empty.
    async fn drop_unclaimed(&self, ns: &Namespace) -> Result<()> {
        let Some(there) = catalog::read_one(&self.sides.target, ns).await? else {
            return Ok(());
        };
        let Some(uuid) = there.uuid else {
            return Ok(());
        };
        if layout::holding(&self.sides.target, ns).await?.is_some() {
            return Err(Error::internal(format!(
                "{ns} is on the target, holds documents, and belongs to no one"
            )));
        }
        self.drop_made(ns, Some(uuid)).await
    }

    /// Drops a collection of the target, never a namesake of another UUID.
    async fn drop_made(&self, ns: &Namespace, made: Option<Uuid>) -> Result<()> {
        let there = catalog::read_one(&self.sides.target, ns)
            .await?
            .filter(|c| c.uuid.is_some());
        match there {
            Some(there) if made.is_none_or(|made| there.uuid == Some(made)) => {
                let is_sharded = there.sharded.is_some();
                let series = ns.time_series();
                if let Some(series) = series.as_ref().filter(|_| !is_sharded) {
                    // IMPORTANT: first: once its buckets are gone, no attempt comes here again.
                    let dropped = self.views.drop_series(series);
                    self.until_answered(series, dropped).await?;
                }
                let target = &self.sides.target;
                let dropped = drop_collection(target, &there);
                if target.dialect.writes.binds_uuid && series.is_none() {
                    dropped.await
                } else {
                    // It may take effect for as long as it is not answered.
                    self.until_answered(ns, dropped).await
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
