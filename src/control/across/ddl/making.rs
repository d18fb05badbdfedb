//! Making a new collection on the target: when nothing older is in its way any more, and
//! once for all pairs that meet its creation.

use std::sync::Arc;

use bson::Uuid;
use tokio::sync::oneshot;

use super::POLL;
use crate::cluster::catalog::{self, Collection};
use crate::control::across::ddl::Coordinator;
use crate::control::layout;
use crate::control::layout::{databases, laid_out, owners};
use crate::error::Result;
use crate::failpoint;
use crate::pair::ddl::request::{Created, Creation};

impl Coordinator {
    /// Makes a collection once its name and its database are free; another pair may have.
    ///
    /// `waits`: closed once the pair has met its drop.
    pub(super) async fn make(
        &self,
        pair: usize,
        collection: Collection,
        uuid: Uuid,
        waits: &oneshot::Sender<Result<Creation>>,
    ) -> Result<Creation> {
        let ns = &collection.ns;
        loop {
            let turn = self.take_turn().await?;
            let holder = {
                let state = self.state.lock();
                // What is dead may be forgotten by now (`control::across::forget`).
                if waits.is_closed() || state.known.dead.contains(&uuid) {
                    return Ok(Creation::Dropped);
                }
                state.known.names.get(ns).copied()
            };
            let is_free = match holder {
                // A shard creates a collection, too, when it gets the first chunk of it.
                Some(holder) if holder == uuid => {
                    owners::expect_same(self.laid_out().get(&uuid), &collection)?;
                    true
                }
                // The older collection of that name is still to be dropped.
                Some(_) => false,
                None if self.are_others_in_the_way(&collection).await? => false,
                None => {
                    self.lay_out(&collection, uuid).await?;
                    true
                }
            };
            if !is_free {
                drop(turn);
                tokio::time::sleep(POLL).await;
                continue;
            }
            let shard = &self.sides.target.shards[self.sides.pairs[pair]];
            let target_uuid = catalog::local_uuid(shard, ns).await?;
            failpoint::hit("creation-made");
            let mut state = self.state.lock();
            state
                .known
                .targets
                .extend(target_uuid.map(|target| (uuid, target)));
            let target_version = state.versions.get(&uuid).copied();
            // As it was laid out. Where a chunk has moved since, that shard does not own
            // it, and `watch` reports it.
            let collection = state
                .laid_out
                .get(&uuid)
                .map_or(collection, |laid_out| (**laid_out).clone());
            return Ok(Creation::Made(Box::new(Created {
                target_uuid,
                target_version,
                collection,
            })));
        }
    }

    /// Whether collections of its database, or of another spelling of it, are still to be
    /// dropped.
    ///
    /// # Errors
    /// `Refused`: what is in the way does not belong to the run.
    async fn are_others_in_the_way(&self, collection: &Collection) -> Result<bool> {
        // A database moves with all that is in it.
        if self.has_elsewhere(collection) {
            return Ok(true);
        }
        let (db, primary) = (&collection.ns.db, self.sides.pairs[collection.primary]);
        let in_the_way = databases::in_the_way(&self.sides.target, db, primary);
        match self.until_answered(&collection.ns, in_the_way).await? {
            Some(other) if !self.has_in(&other) => Err(databases::refused(db, &other)),
            other => Ok(other.is_some()),
        }
    }

    /// Makes a new collection on the target. The caller has the turn.
    async fn lay_out(&self, collection: &Collection, uuid: Uuid) -> Result<()> {
        let ns = &collection.ns;
        owners::expect_never_moved(collection)?;
        // A view of its name is one that the source has no longer.
        self.drop_view(ns).await?;
        // Before it is made: a drop that comes meanwhile must find it.
        {
            let mut state = self.state.lock();
            state.known.names.insert(ns.clone(), uuid);
            state.databases.insert(ns.db.clone());
        }
        // IMPORTANT: first. A wipe must know it, whatever ends this attempt before
        // the pairs have recorded it.
        self.runs.add_making(ns).await?;
        failpoint::hit("creation-noted");
        let made = layout::create_collection(&self.sides.target, collection, &self.sides.pairs);
        self.until_answered(ns, made).await?;
        let version = laid_out::version(&self.sides, collection).await?;
        let mut state = self.state.lock();
        // Else its drop was met meanwhile, and is only waiting for its turn.
        if !state.known.dead.contains(&uuid) {
            state
                .versions
                .extend(version.map(|version| (uuid, version)));
            state.laid_out.insert(uuid, Arc::new(collection.clone()));
        }
        Ok(())
    }

    /// Collections of its database are laid out with another primary.
    fn has_elsewhere(&self, collection: &Collection) -> bool {
        let state = self.state.lock();
        let mut others = state
            .laid_out
            .values()
            .filter(|other| other.ns.db == collection.ns.db);
        others.any(|other| other.primary != collection.primary)
    }
}
