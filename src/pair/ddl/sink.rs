//! DDL from the oplog: what the tail does at once (admit, kill), and what becomes a chore
//! (everything that talks to a server).
//!
//! Decides nothing across pairs: creating and dropping go through control,
//! which knows all pairs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::{RawDocumentBuf, Uuid};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::catalog::index::IndexName;
use crate::cluster::catalog::{EXPIRY, Namespace};
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::chores::Chores;
use crate::pair::collection::{Tracked, Traits};
use crate::pair::ddl::entry::Ddl;
use crate::pair::ddl::index::Indexer;
use crate::pair::ddl::options;
use crate::pair::ddl::request::{Created, Creation, Request};
use crate::pair::ddl::vanished;
use crate::pair::gate::Gate;
use crate::pair::gate::replay::Replayer;
use crate::position::Position;
use crate::state::CollectionState;
use crate::state::pair_store::PairStore;

/// Receives DDL from the tail.
#[derive(Debug, Clone)]
pub struct DdlSink {
    pub pair: usize,
    /// Position at which the catalog was read.
    pub catalog_position: Position,
    pub gate: Arc<Mutex<Gate>>,
    pub replayer: Arc<Replayer>,
    pub chores: Chores,
    pub indexer: Arc<Indexer>,
    pub store: PairStore,
    pub requests: mpsc::Sender<Request>,
    /// A rename does not stop the pair.
    pub follows_renames: bool,
}

impl DdlSink {
    /// Takes DDL over. Its effect on the gate is there when this returns; the rest is a
    /// chore. Until the chore is done and recorded, the resume position stays below the
    /// entry, so that a restart meets it again (R4).
    pub fn accept(&self, ddl: Ddl) {
        match ddl {
            Ddl::Create {
                uuid,
                ns,
                traits,
                position,
            } => self.create(uuid, ns, traits, position),
            Ddl::Drop { uuid, position } => self.drop_collection(uuid, position),
            Ddl::Views { of, position } => {
                of.into_iter()
                    .for_each(|ns| self.follow_views(ns, position));
            }
            Ddl::CreateIndexes {
                uuid,
                specs,
                position,
            } => self.create_indexes(&uuid, specs, position),
            Ddl::DropIndexes {
                uuid,
                names,
                position,
            } => self.drop_indexes(&uuid, names, position),
            Ddl::Rename {
                uuid,
                from,
                to,
                dropped,
                position,
            } => {
                if let Some(stop) = self.stops_at(&uuid, (&from, &to), position) {
                    let stop = self.pinned(position, async { Err(stop) });
                    return self.chores.add("renaming", &from, stop);
                }
                // What the source does at once is done one after the other: nobody reads the
                // target yet.
                if let Some(dropped) = dropped {
                    self.drop_collection(dropped, position);
                }
                self.rename(&uuid, (from, to), position);
            }
            Ddl::Modify {
                uuid,
                of_indexes,
                position,
            } => self.modify(&uuid, of_indexes, position),
        }
    }

    fn create_indexes(&self, uuid: &Uuid, specs: Vec<RawDocumentBuf>, position: Position) {
        let Some(tracked) = self.live(uuid) else {
            return;
        };
        let (indexer, of) = (self.indexer.clone(), tracked.clone());
        self.chore("creating indexes of", &tracked, position, async move {
            indexer.create_at(&of, specs, position).await
        });
    }

    fn drop_indexes(&self, uuid: &Uuid, names: Vec<IndexName>, position: Position) {
        let Some(tracked) = self.live(uuid) else {
            return;
        };
        let (indexer, of) = (self.indexer.clone(), tracked.clone());
        self.chore("dropping indexes of", &tracked, position, async move {
            indexer.remove_at(&of, names, position).await
        });
    }

    /// One that is still being copied gets its indexes when its copy ends.
    fn modify(&self, uuid: &Uuid, of_indexes: bool, position: Position) {
        let gate = self.gate.lock();
        let tracked = gate.tracked(uuid).filter(|t| !t.is_dead()).cloned();
        let is_copied = gate.is_copied(uuid);
        drop(gate);
        let Some(tracked) = tracked else { return };
        let (sink, of) = (self.clone(), tracked.clone());
        self.chore("changing", &tracked, position, async move {
            if of_indexes && is_copied {
                sink.indexer.modify_at(&of, position).await?;
            }
            // Last, and always: a change of an index may have switched off an option.
            sink.change_options(&of).await?;
            failpoint::hit("modified");
            Ok(())
        });
    }

    async fn change_options(&self, tracked: &Tracked) -> Result<()> {
        let Indexer { lister, target, .. } = &*self.indexer;
        let Some(options) = options::align(lister, target, tracked).await? else {
            return Ok(());
        };
        if options.get(EXPIRY)?.is_some() {
            tracked.expires.store(true, SeqCst);
        }
        self.store.set_options(tracked.uuid, &options).await?;
        let (reply, answer) = oneshot::channel();
        let uuid = tracked.uuid;
        self.ask(Request::Modified {
            uuid,
            options,
            reply,
        })
        .await?;
        answer
            .await
            .map_err(|_| Error::internal("control left changed options unanswered"))?
    }

    /// A chore on a collection, that pins its entry.
    fn chore(
        &self,
        doing: &str,
        tracked: &Tracked,
        position: Position,
        chore: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        // IMPORTANT: before its names are locked: whoever has the gate may ask for them.
        let chore = self.pinned(position, chore);
        tracked.as_logged(|ns| self.chores.add(doing, ns, chore));
    }

    /// The entry at `position` stays to be met again until this is done.
    pub(super) fn pinned<C: Future<Output = Result<()>> + Send + 'static>(
        &self,
        position: Position,
        chore: C,
    ) -> impl Future<Output = Result<()>> + Send + use<C> {
        let pin = self.gate.lock().pin(position);
        let gate = self.gate.clone();
        async move {
            chore.await?;
            gate.lock().unpin(pin);
            Ok(())
        }
    }

    /// A collection whose index DDL must be carried over. One that is still being
    /// copied gets its indexes as they are when its copy ends.
    fn live(&self, uuid: &Uuid) -> Option<Arc<Tracked>> {
        let gate = self.gate.lock();
        let tracked = gate.tracked(uuid).filter(|t| t.counts())?;
        gate.is_copied(uuid).then(|| tracked.clone())
    }

    fn create(&self, uuid: Uuid, ns: Namespace, traits: Traits, position: Position) {
        let mut gate = self.gate.lock();
        if gate.tracked(&uuid).is_some() {
            return;
        }
        let source_db = ns.own(&self.indexer.lister.shard.scope).db;
        let tracked = Tracked::new(uuid, ns.clone(), traits).in_database(source_db);
        let tracked = Arc::new(tracked);
        gate.admit_new(tracked.clone());
        drop(gate);
        let sink = self.clone();
        let creating = async move { sink.create_on_target(&tracked).await };
        self.chores
            .add("creating", &ns, self.pinned(position, creating));
    }

    async fn create_on_target(&self, tracked: &Tracked) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Create {
            pair: self.pair,
            ns: tracked.ns(),
            uuid: tracked.uuid,
            reply,
        };
        self.ask(request).await?;
        let created = tokio::select! {
            created = answer => created,
            () = vanished::died(tracked) => return self.drop_unmade(tracked).await,
        };
        let created = created.map_err(|_| Error::internal("control left a creation unanswered"))?;
        let created = match created? {
            Creation::Made(created) => created,
            gone => {
                // Its ops are of no use, and the tail may need their memory to reach the
                // drop.
                self.gate.lock().discard(&tracked.uuid);
                // IMPORTANT: dead only when the drop is met: one that shows may be
                // rolled back, and what is recorded as dead never comes back.
                match gone {
                    Creation::Gone => {
                        vanished::until_dropped(&self.indexer.lister.shard, tracked).await?
                    }
                    _ => vanished::died(tracked).await,
                }
                return self.drop_unmade(tracked).await;
            }
        };
        self.bind(tracked, &created)?;
        // IMPORTANT: recorded before the first write: a restart resolves its ops
        // by this record, not by the name (R4).
        let Created {
            collection,
            target_uuid,
            target_version,
        } = &*created;
        let mut state = CollectionState::created(collection, *target_uuid, *target_version)?;
        state.duplicate_names = tracked.duplicate_names.were_seen();
        self.store.add(&state).await?;
        // IMPORTANT: a checkpoint that named it meanwhile found no record of it.
        if tracked.duplicate_names.were_seen() && !state.duplicate_names {
            self.store.saw_duplicate_names(&[tracked.uuid]).await?;
        }
        failpoint::hit("creation-recorded");
        self.replayer.release(&tracked.uuid).await
    }

    /// Dropped again before this pair had it made: what another one, or an earlier
    /// incarnation, made of it goes now. A restart between its creation and its drop
    /// knows it by the record.
    async fn drop_unmade(&self, tracked: &Tracked) -> Result<()> {
        self.rendezvous(tracked).await?;
        failpoint::hit("unmade");
        // IMPORTANT: only now, since no drop is met of a collection that is recorded as
        // dead.
        self.store
            .add(&CollectionState::dead(tracked.uuid, &tracked.ns()))
            .await
            .map(drop)
    }

    fn bind(&self, tracked: &Tracked, created: &Created) -> Result<()> {
        let Created {
            collection,
            target_uuid,
            ..
        } = created;
        if let Some(sharded) = &collection.sharded {
            tracked.own(Ownership::of(sharded, self.pair)?);
        }
        if collection.options.get(EXPIRY)?.is_some() {
            tracked.expires.store(true, SeqCst);
        }
        if !collection.lives_on(self.pair) {
            tracked.leave_to_other_shards();
        } else if target_uuid.is_none() {
            return Err(Error::internal(format!(
                "{} was made but is not on the target's shard",
                tracked.ns()
            )));
        }
        target_uuid.iter().for_each(|made| tracked.bind(*made));
        Ok(())
    }

    fn drop_collection(&self, uuid: Uuid, position: Position) {
        let Some(tracked) = self.gate.lock().kill(&uuid) else {
            return;
        };
        let (sink, of) = (self.clone(), tracked.clone());
        self.chore("dropping", &tracked, position, async move {
            sink.drop_on_target(&of).await
        });
    }

    async fn drop_on_target(&self, tracked: &Tracked) -> Result<()> {
        self.rendezvous(tracked).await?;
        failpoint::hit("drop-made");
        self.store.kill(tracked.uuid).await?;
        failpoint::hit("drop-recorded");
        Ok(())
    }

    /// A change up to where the catalog was read is in the views that were made.
    fn follow_views(&self, ns: Namespace, position: Position) {
        if position <= self.catalog_position {
            return;
        }
        let sink = self.clone();
        let db = ns.db.clone();
        let following = async move {
            let (reply, answer) = oneshot::channel();
            sink.ask(Request::Views { db, reply }).await?;
            let answer = answer.await;
            answer.map_err(|_| Error::internal("control left views unanswered"))??;
            failpoint::hit("views-followed");
            Ok(())
        };
        // After the drop of what had its name.
        let following = self.pinned(position, following);
        self.chores.add("following the view", &ns, following);
    }

    /// Returns when all pairs that hold it have met its drop, and it is made.
    async fn rendezvous(&self, tracked: &Tracked) -> Result<()> {
        // IMPORTANT: before it is asked for: a write of ours must not come after it.
        tracked.written_out().await;
        let (reply, answer) = oneshot::channel();
        let request = Request::Drop {
            pair: self.pair,
            ns: tracked.ns(),
            uuid: tracked.uuid,
            reply,
        };
        self.ask(request).await?;
        answer
            .await
            .map_err(|_| Error::internal("control left a drop unanswered"))?
    }

    pub(super) async fn ask(&self, request: Request) -> Result<()> {
        self.requests
            .send(request)
            .await
            .map_err(|_| Error::internal("control no longer takes DDL"))
    }
}
