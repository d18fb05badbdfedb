//! Resolves a `create` entry of one source shard: asks the source about the new
//! collection, as soon as the source can tell.
//!
//! Asks the source only; making it on the target is `ddl`'s.

use std::time::{Duration, Instant};

use bson::Uuid;

use crate::cluster::catalog::{self, Collection, Namespace, versions};
use crate::cluster::deployment::Topology;
use crate::control::across::ddl::{Coordinator, POLL};
use crate::control::layout::being_made;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::oplog::proven;

/// How long a shard may have a collection that no router shows and no router is making. A
/// router creates the database first. It shows a collection as soon as that is made, or
/// holds a critical section until then.
const UNSHOWN_MAX: Duration = Duration::from_secs(60);

/// How routers show a collection that a shard has.
enum Shown {
    AsIs(Box<Collection>),
    /// A command that makes it is under way.
    NotYet,
    Nowhere,
}

impl Coordinator {
    /// The new collection as the source has it; None if it is gone again. Waits while the
    /// source cannot tell: the metadata of a sharded one appears after its `create`
    /// entries.
    ///
    /// # Errors
    /// `Unsupported` if it was made on the shard itself.
    pub(super) async fn resolve(
        &self,
        pair: usize,
        ns: &Namespace,
        uuid: Uuid,
    ) -> Result<Option<Collection>> {
        let unshown_max = failpoint::wait("unshown", UNSHOWN_MAX);
        let mut nowhere_since = None;
        loop {
            if self.is_dead(&uuid) || self.is_gone(pair, ns, uuid).await? {
                return Ok(None);
            }
            let list = || self.listed(pair, ns, uuid);
            match list().await? {
                // Notes are for what may count.
                Shown::AsIs(_) => {
                    if let Shown::AsIs(found) = proven::read(&self.listers, ns, list).await?.value {
                        return Ok(Some(*found));
                    }
                }
                Shown::NotYet => nowhere_since = None,
                Shown::Nowhere => {
                    let since = *nowhere_since.get_or_insert_with(Instant::now);
                    if unshown_max < since.elapsed() {
                        self.expect_no_stray(pair, ns, uuid).await?;
                        nowhere_since = None;
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The new collection, as far as the source can tell.
    async fn listed(&self, pair: usize, ns: &Namespace, uuid: Uuid) -> Result<Shown> {
        let being_made = being_made::is_made(&self.sides.source, pair, ns).await?;
        let found = self.on_source(pair, ns, uuid).await?;
        let looks_unsharded = found.as_ref().is_some_and(|found| found.sharded.is_none());
        let being_renamed = looks_unsharded && self.is_being_renamed(uuid).await?;
        Ok(match found {
            _ if being_made || being_renamed => Shown::NotYet,
            Some(found) if found.sharded.is_some() || found.primary == pair => {
                Shown::AsIs(Box::new(found))
            }
            _ => Shown::Nowhere,
        })
    }

    /// Of a collection that looks unsharded: its shards have another name for it by now than its
    /// metadata, or an older one.
    async fn is_being_renamed(&self, uuid: Uuid) -> Result<bool> {
        let source = &self.sides.source;
        let is_possible =
            source.topology == Topology::Sharded && !source.dialect.catalog.ddl_by_locks;
        Ok(is_possible && versions::has(source, uuid).await?)
    }

    /// The collection of this UUID, under the name of its creation: it may have another by
    /// now.
    async fn on_source(
        &self,
        pair: usize,
        ns: &Namespace,
        uuid: Uuid,
    ) -> Result<Option<Collection>> {
        let source = &self.sides.source;
        let is_it = |found: &Collection| found.uuid == Some(uuid);
        if let Some(found) = catalog::read_one(source, ns).await?.filter(is_it) {
            return Ok(Some(found));
        }
        let (shard, db) = (&source.shards[pair], ns.own(&source.scope).db);
        let Some(coll) = catalog::name_of(&shard.client, &db, uuid).await? else {
            return Ok(None);
        };
        let now = Namespace::named(&source.scope, &db, &coll)?;
        let found = catalog::read_one(source, &now).await?;
        Ok(found.filter(is_it).map(|found| Collection {
            ns: ns.clone(),
            ..found
        }))
    }

    /// # Errors
    /// `Unsupported` if the shard's primary still has it by this name, and nothing is under
    /// way on any shard that would show it.
    async fn expect_no_stray(&self, pair: usize, ns: &Namespace, uuid: Uuid) -> Result<()> {
        let source = &self.sides.source;
        if source.topology == Topology::ReplicaSet {
            return Ok(());
        }
        for shard in 0..source.shards.len() {
            if being_made::is_made(source, shard, ns).await? {
                return Ok(());
            }
        }
        let shard = &source.shards[pair];
        if catalog::local_uuid(shard, ns).await? != Some(uuid) {
            return Ok(());
        }
        // IMPORTANT: last. What was under way when it was listed may be over by now.
        if !matches!(self.listed(pair, ns, uuid).await?, Shown::Nowhere) {
            return Ok(());
        }
        let own = ns.own(&source.scope);
        let found = format!(
            "{own} was created directly on shard {} of the source: no router shows it",
            shard.id
        );
        let remedy = format!(
            "make sure that no movePrimary of database {} is under way, and that no router shows the collection; then drop it on that shard, and run the same command",
            own.db
        );
        Err(Error::new(Kind::Unsupported, found).remedy(remedy))
    }

    /// The source shard, whose oplog had the creation, no longer knows the UUID, or by a name
    /// only that is out of the run. Its majority view holds the creation: the tail read it
    /// with that concern.
    async fn is_gone(&self, pair: usize, ns: &Namespace, uuid: Uuid) -> Result<bool> {
        let shard = &self.sides.source.shards[pair];
        catalog::is_out(shard, &ns.own(&shard.scope).db, uuid).await
    }
}
