//! Making a new collection on the target: when nothing older is in its way any more, and
//! once for all pairs that meet its creation.

use std::sync::Arc;

use bson::Uuid;
use tokio::sync::oneshot;

use crate::cluster::catalog::{self, Collection};
use crate::control::across::ddl::{Coordinator, POLL, State};
use crate::control::across::rendezvous::ToMake;
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
        waits: &mut oneshot::Sender<Result<Creation>>,
    ) -> Result<Creation> {
        loop {
            // IMPORTANT: before anything is looked at: what is freed from here on counts.
            let freed = self.freed.notified();
            let turn = self.take_turn().await?;
            // What is dead may be forgotten by now (`control::across::forget`).
            if waits.is_closed() {
                return Ok(Creation::Dropped);
            }
            match self.to_make(&collection, uuid) {
                ToMake::Dead => return Ok(Creation::Dropped),
                ToMake::NameTaken | ToMake::Awaited => {
                    drop(turn);
                    tokio::select! {
                        () = freed => {}
                        () = waits.closed() => {}
                    }
                    continue;
                }
                ToMake::Made if self.is_spread_since(&collection, uuid) => {
                    let shard = &self.sides.source.shards[collection.primary].id;
                    return Err(owners::sharded_in_place(&collection, shard));
                }
                // A shard creates a collection, too, when it gets the first chunk of it.
                ToMake::Made => owners::expect_same(self.laid_out().get(&uuid), &collection)?,
                ToMake::Free if self.are_others_in_the_way(&collection).await? => {
                    drop(turn);
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                ToMake::Free => self.lay_out(&collection, uuid).await?,
            }
            return self.made_for(pair, collection, uuid).await;
        }
    }

    fn to_make(&self, collection: &Collection, uuid: Uuid) -> ToMake {
        let state = self.state.lock();
        let Collection { ns, primary, .. } = collection;
        match state.rendezvous.to_make(ns, uuid, *primary) {
            // A database moves with all that is in it.
            ToMake::Free if state.has_elsewhere(collection) => ToMake::NameTaken,
            to_make => to_make,
        }
    }

    /// Sharded where it was, with chunks on other shards at once.
    fn is_spread_since(&self, now: &Collection, uuid: Uuid) -> bool {
        let before = self.laid_out().remove(&uuid);
        let is_elsewhere = |before: &Collection| {
            owners::is_sharded_in_place(before, now) && !owners::stays_in_place(before, now)
        };
        before.is_some_and(|before| is_elsewhere(&before))
    }

    /// What a pair is told of a collection that is made. The caller has the turn.
    async fn made_for(&self, pair: usize, collection: Collection, uuid: Uuid) -> Result<Creation> {
        let shard = &self.sides.target.shards[self.sides.pairs[pair]];
        let target_uuid = catalog::local_uuid(shard, &collection.ns).await?;
        failpoint::hit("creation-made");
        let mut state = self.state.lock();
        if let Some(target) = target_uuid {
            state.rendezvous.made(uuid, target);
        }
        let target_version = state.versions.get(&uuid).copied();
        // As it was laid out. Where a chunk has moved since, that shard does not own
        // it, and `watch` reports it.
        let collection = state
            .laid_out
            .get(&uuid)
            .map_or(collection, |laid_out| (**laid_out).clone());
        Ok(Creation::Made(Box::new(Created {
            target_uuid,
            target_version,
            collection,
        })))
    }

    /// Whether the target has its database elsewhere, or of another spelling, with
    /// collections that are still to be dropped.
    ///
    /// # Errors
    /// `Refused`: what is in the way does not belong to the run. `Unsupported`: it does, and
    /// stays.
    pub(super) async fn are_others_in_the_way(&self, collection: &Collection) -> Result<bool> {
        let (db, primary) = (&collection.ns.db, self.sides.pairs[collection.primary]);
        let in_the_way = databases::in_the_way(&self.sides.target, db, primary);
        match self.until_answered(&collection.ns, in_the_way).await? {
            Some(other) if other != *db && self.has_both(&other, db).await? => {
                let own = collection.ns.public().own(&self.sides.source.scope);
                Err(databases::both_spelled(&own, db, &other))
            }
            Some(other) if !self.has_in(&other) => Err(databases::refused(db, &other)),
            other => Ok(other.is_some()),
        }
    }

    /// What the source has belongs into both databases of the target. Where nothing is renamed
    /// no source has both spellings: what is in the way is on its way out.
    async fn has_both(&self, other: &str, db: &str) -> Result<bool> {
        let source = &self.sides.source;
        if source.scope.renames().are_none() {
            return Ok(false);
        }
        // IMPORTANT: `db`, in which something is being made, last: it was there before, too.
        Ok(catalog::holds_any(source, other).await? && catalog::holds_any(source, db).await?)
    }

    /// Makes a new collection on the target. The caller has the turn.
    async fn lay_out(&self, collection: &Collection, uuid: Uuid) -> Result<()> {
        let ns = &collection.ns;
        owners::expect_never_moved(collection)?;
        // A view of its name is one that the source has no longer.
        self.drop_view(&ns.public()).await?;
        {
            let mut state = self.state.lock();
            state.rendezvous.claim(ns, uuid);
            state.databases.insert(ns.db.clone());
        }
        // IMPORTANT: first. A wipe must know it, whatever ends this attempt before
        // the pairs have recorded it.
        self.runs.add_making(ns).await?;
        failpoint::hit("creation-noted");
        let ranges = collection.sharded.iter().flat_map(|sharded| &sharded.zones);
        self.join_zones(&ranges.cloned().collect::<Vec<_>>())
            .await?;
        let made = layout::create_collection(&self.sides.target, collection, &self.sides.pairs);
        self.until_answered(ns, made).await?;
        let version = laid_out::version(&self.sides, collection).await?;
        let mut state = self.state.lock();
        // Else its drop was met meanwhile, and is only waiting for its turn.
        if !state.rendezvous.is_dead(&uuid) {
            state
                .versions
                .extend(version.map(|version| (uuid, version)));
            state.laid_out.insert(uuid, Arc::new(collection.clone()));
        }
        Ok(())
    }
}

impl State {
    /// Collections of its database are laid out with another primary.
    pub(super) fn has_elsewhere(&self, collection: &Collection) -> bool {
        self.laid_out
            .values()
            .any(|other| other.ns.db == collection.ns.db && other.primary != collection.primary)
    }
}
