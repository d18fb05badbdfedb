//! DDL from the oplog: what the tail does at once (admit, kill), and what
//! becomes a chore (everything that talks to a server).
//!
//! Decides nothing across pairs: creating and dropping go through control,
//! which knows all pairs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::{RawDocumentBuf, Uuid};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::bson::element::{document, elements};
use crate::cluster::catalog::index::IndexName;
use crate::cluster::catalog::{Collection, EXPIRY, MapVersion, Namespace};
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::chores::Chores;
use crate::pair::collection::{Tracked, Traits};
use crate::pair::entry::Entry;
use crate::pair::gate::Gate;
use crate::pair::index::Indexer;
use crate::pair::meaning::Meaning;
use crate::pair::position::Position;
use crate::pair::replay::Replayer;
use crate::pair::vanished;
use crate::state::CollectionState;
use crate::state::pair_store::PairStore;

/// Where a server keeps the views of a database.
const VIEWS: &str = "system.views";

/// One DDL on one collection, owned.
#[derive(Debug)]
pub enum Ddl {
    Create {
        uuid: Uuid,
        ns: Namespace,
        traits: Traits,
        position: Position,
    },
    Drop {
        uuid: Uuid,
        position: Position,
    },
    CreateIndexes {
        uuid: Uuid,
        specs: Vec<RawDocumentBuf>,
        position: Position,
    },
    DropIndexes {
        uuid: Uuid,
        names: Vec<IndexName>,
        position: Position,
    },
    /// All views of a database: by itself, or as part of the database's drop.
    DropViews {
        db: String,
        position: Position,
    },
}

/// What a pair asks of control. Answers come when it is done on the target.
#[derive(Debug)]
pub enum Request {
    /// Make the collection of this UUID on the target.
    Create {
        pair: usize,
        ns: Namespace,
        uuid: Uuid,
        reply: oneshot::Sender<Result<Creation>>,
    },
    /// This pair has reached the drop of this UUID.
    Drop {
        pair: usize,
        ns: Namespace,
        uuid: Uuid,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Drop all views of this database on the target.
    DropViews {
        db: String,
        reply: oneshot::Sender<Result<()>>,
    },
}

/// What became of a creation.
#[derive(Debug)]
pub enum Creation {
    Made(Box<Created>),
    /// The source shard shows it no longer: until its drop is met it may be back.
    Gone,
    /// Pairs met its drop: this one will, though its shard may still show it.
    Dropped,
}

#[derive(Debug, Clone)]
pub struct Created {
    /// As the source's catalog has it.
    pub collection: Collection,
    /// On this pair's target shard; None where it has none.
    pub target_uuid: Option<Uuid>,
    /// Of the target's chunk map, if it is sharded.
    pub target_version: Option<MapVersion>,
}

impl Ddl {
    /// None: nothing to carry over.
    pub fn of(entry: &Entry<'_>, meaning: Meaning<'_>) -> Result<Option<Ddl>> {
        let position = entry.position;
        let uuid = || {
            entry
                .uuid
                .ok_or_else(|| entry.unsupported("a command without collection UUID"))
        };
        Ok(Some(match meaning {
            Meaning::Create { coll } => return create(entry, coll),
            Meaning::Drop { coll: VIEWS } => Ddl::DropViews {
                db: entry.database().to_owned(),
                position,
            },
            Meaning::Drop { .. } => Ddl::Drop {
                uuid: uuid()?,
                position,
            },
            Meaning::CreateIndexes { specs } => {
                let specs = specs.into_iter().map(without_command).collect();
                Ddl::CreateIndexes {
                    uuid: uuid()?,
                    specs,
                    position,
                }
            }
            Meaning::CommitIndexBuild { specs, .. } => {
                let specs = specs.into_iter().map(ToOwned::to_owned).collect();
                Ddl::CreateIndexes {
                    uuid: uuid()?,
                    specs,
                    position,
                }
            }
            Meaning::AbortIndexBuild { specs, .. } => Ddl::DropIndexes {
                uuid: uuid()?,
                names: specs.into_iter().map(IndexName::of).collect(),
                position,
            },
            Meaning::DropIndex { name } => Ddl::DropIndexes {
                uuid: uuid()?,
                names: vec![IndexName::new(name)],
                position,
            },
            Meaning::Refused { command, remedy } => {
                return Err(entry.unsupported(&format!("a `{command}`")).remedy(remedy));
            }
            Meaning::Nothing | Meaning::StartIndexBuild { .. } => return Ok(None),
            _ => return Err(entry.unsupported("a transaction inside another command")),
        }))
    }
}

fn create(entry: &Entry<'_>, coll: &str) -> Result<Option<Ddl>> {
    if matches!(coll, VIEWS | "system.profile") {
        return Ok(None);
    }
    if coll.starts_with("system.") && coll != "system.js" {
        return Err(entry.unsupported(&format!(
            "the creation of `{coll}` (a time series or an internal collection)"
        )));
    }
    let uuid = entry
        .uuid
        .ok_or_else(|| entry.unsupported("a create without collection UUID"))?;
    let ns = Namespace {
        db: entry.database().to_owned(),
        coll: coll.to_owned(),
    };
    Ok(Some(Ddl::Create {
        uuid,
        ns,
        traits: Traits::of(entry.o),
        position: entry.position,
    }))
}

/// The specification inside a `createIndexes` entry, which carries the command's
/// name as its first field.
fn without_command(raw: &bson::RawDocument) -> RawDocumentBuf {
    document(elements(raw).skip(1))
}

/// Where the tail hands DDL to.
#[derive(Debug, Clone)]
pub struct DdlSink {
    pub pair: usize,
    /// Where the catalog was read.
    pub catalog_position: Position,
    pub gate: Arc<Mutex<Gate>>,
    pub replayer: Arc<Replayer>,
    pub chores: Chores,
    pub indexer: Arc<Indexer>,
    pub store: PairStore,
    pub requests: mpsc::Sender<Request>,
}

impl DdlSink {
    /// Takes effect in the gate before it returns; the rest is a chore. Until
    /// that is done and recorded, the resume position stays below the entry, so
    /// that a restart meets it again (R4).
    pub fn accept(&self, ddl: Ddl) -> Result<()> {
        match ddl {
            Ddl::Create {
                uuid,
                ns,
                traits,
                position,
            } => self.create(uuid, ns, traits, position),
            Ddl::Drop { uuid, position } => self.drop_collection(uuid, position),
            Ddl::DropViews { db, position } => self.drop_views(db, position),
            Ddl::CreateIndexes {
                uuid,
                specs,
                position,
            } => {
                let Some(tracked) = self.live(&uuid) else {
                    return Ok(());
                };
                let indexer = self.indexer.clone();
                self.chore(
                    "creating indexes of",
                    &tracked.ns.clone(),
                    position,
                    async move { indexer.create_at(&tracked, specs, position).await },
                );
            }
            Ddl::DropIndexes {
                uuid,
                names,
                position,
            } => {
                let Some(tracked) = self.live(&uuid) else {
                    return Ok(());
                };
                let indexer = self.indexer.clone();
                self.chore(
                    "dropping indexes of",
                    &tracked.ns.clone(),
                    position,
                    async move { indexer.remove_at(&tracked, names, position).await },
                );
            }
        }
        Ok(())
    }

    /// A chore that pins its entry.
    fn chore(
        &self,
        doing: &str,
        ns: &Namespace,
        position: Position,
        chore: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let pin = self.gate.lock().pin(position);
        let gate = self.gate.clone();
        self.chores.add(doing, ns, async move {
            chore.await?;
            gate.lock().unpin(pin);
            Ok(())
        });
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
        let tracked = Arc::new(Tracked::new(uuid, ns.clone(), traits));
        gate.admit_new(tracked.clone());
        drop(gate);
        let sink = self.clone();
        self.chore("creating", &ns, position, async move {
            sink.create_on_target(&tracked).await
        });
    }

    async fn create_on_target(&self, tracked: &Tracked) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Create {
            pair: self.pair,
            ns: tracked.ns.clone(),
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
                // Its ops are of no use; what they hold of the tail's memory may be
                // what the tail needs to reach the drop.
                self.gate.lock().discard(&tracked.uuid);
                // IMPORTANT: dead only when the drop is met: one that shows may be
                // rolled back, and what is recorded as dead never comes back.
                match gone {
                    Creation::Gone => {
                        vanished::until_dropped(&self.indexer.lister.shard.client, tracked).await?
                    }
                    _ => vanished::died(tracked).await,
                }
                return self.drop_unmade(tracked).await;
            }
        };
        self.bind(tracked, &created)?;
        // IMPORTANT: recorded before the first write: a restart resolves its ops
        // by this record, not by the name (R4).
        self.store.add(&CollectionState::created(&created)?).await?;
        failpoint::hit("creation-recorded");
        self.replayer.release(&tracked.uuid).await
    }

    /// Dropped again before this pair had it made: what another one, or an earlier
    /// incarnation, made of it goes now. A restart between its creation and its drop
    /// knows it by the record.
    async fn drop_unmade(&self, tracked: &Tracked) -> Result<()> {
        self.rendezvous(tracked).await?;
        failpoint::hit("unmade");
        // IMPORTANT: only now: of what is recorded as dead no drop is met any more.
        self.store
            .add(&CollectionState::dead(tracked.uuid, &tracked.ns))
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
        match (collection.lives_on(self.pair), target_uuid) {
            (true, Some(target_uuid)) => tracked.bind(*target_uuid),
            (true, None) => {
                return Err(Error::internal(format!(
                    "{} was made but is not on the target's shard",
                    tracked.ns
                )));
            }
            (false, _) => tracked.set_passive(),
        }
        Ok(())
    }

    fn drop_collection(&self, uuid: Uuid, position: Position) {
        let Some(tracked) = self.gate.lock().kill(&uuid) else {
            return;
        };
        let sink = self.clone();
        self.chore("dropping", &tracked.ns.clone(), position, async move {
            sink.drop_on_target(&tracked).await
        });
    }

    async fn drop_on_target(&self, tracked: &Tracked) -> Result<()> {
        self.rendezvous(tracked).await?;
        failpoint::hit("drop-made");
        self.store.kill(tracked.uuid).await?;
        failpoint::hit("drop-recorded");
        Ok(())
    }

    /// One up to where the catalog was read is in the views that were made.
    fn drop_views(&self, db: String, position: Position) {
        if position <= self.catalog_position {
            return;
        }
        let sink = self.clone();
        let ns = Namespace {
            db: db.clone(),
            coll: VIEWS.to_owned(),
        };
        self.chore("dropping", &ns, position, async move {
            let (reply, answer) = oneshot::channel();
            sink.ask(Request::DropViews { db, reply }).await?;
            answer
                .await
                .map_err(|_| Error::internal("control left a drop of views unanswered"))?
        });
    }

    /// Returns when all pairs that hold it have met its drop, and it is made.
    async fn rendezvous(&self, tracked: &Tracked) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Drop {
            pair: self.pair,
            ns: tracked.ns.clone(),
            uuid: tracked.uuid,
            reply,
        };
        self.ask(request).await?;
        answer
            .await
            .map_err(|_| Error::internal("control left a drop unanswered"))?
    }

    async fn ask(&self, request: Request) -> Result<()> {
        self.requests
            .send(request)
            .await
            .map_err(|_| Error::internal("control no longer takes DDL"))
    }
}
