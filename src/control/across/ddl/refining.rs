//! Refined shard keys: made on the target by its router, once each of its shards that has the
//! collection has the index that carries the key. No entry of any log tells of one: the watch
//! over owners finds it (`control::across::watch`).
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | the target's router refines the key | the watch finds both sides refined alike |
//! | all pairs record it | the same: what is recorded twice is the same |
//! | it is laid out so | done |
//!
//! Nothing of the target is dropped or hidden by it, so no one waits for an answer that is lost:
//! the next look finds what became of it. A name is all that a router takes. One that is late,
//! and hits a namesake, makes the watch stop the run.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, Uuid};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, MapVersion, Namespace, Sharded, index, versions};
use crate::cluster::deployment::Side;
use crate::control::across::ddl::Coordinator;
use crate::control::layout::laid_out::Made;
use crate::control::layout::owners::{self, changed};
use crate::control::layout::refined;
use crate::error::{Kind, Result};
use crate::failpoint;
use crate::pair::run::Pair;

/// What the target has of a collection, or why it cannot have it yet.
pub(super) type OrNotYet<T> = std::result::Result<T, String>;

impl Coordinator {
    /// Refines the key of a collection on the target, as it is on the source by now. Returns
    /// why it cannot be done yet. May be repeated.
    ///
    /// # Errors
    /// `Unsupported` if the target has other owners then.
    pub async fn refine(&self, uuid: Uuid, pairs: &[Arc<Pair>]) -> Result<Option<String>> {
        let _turn = self.take_turn().await?;
        let Some((laid_out, made)) = self.laid_out_with(uuid) else {
            return Ok(None);
        };
        let Some(before) = &laid_out.sharded else {
            return Ok(None);
        };
        // IMPORTANT: in the turn: a rename that is followed later takes over the map's epoch then,
        // one that was met before is in it.
        let now = self.map_on_source(uuid, &laid_out.ns).await?;
        let now = match still_refined(before, now) {
            Ok(now) => now,
            Err(why) => return Ok(Some(why)),
        };
        let there = match self.refine_on_target(&laid_out.ns, made, &now.key).await? {
            Ok(there) => there,
            Err(why) => return Ok(Some(why)),
        };
        let mapped = owners::mapped(before, &self.sides.pairs);
        let is_refined = refined::is_refined((&before.key, &mapped), made.version, &there);
        if !is_refined || !is_same_key(&now.key, &there.key) {
            let what = format!("owners of {} changed", laid_out.ns);
            return Err(changed(Side::Target, &what));
        }
        let sharded = Collection {
            sharded: Some(now),
            key_index: self.key_index(&laid_out.ns, made.uuid, &there).await?,
            ..(*laid_out).clone()
        };
        self.sharded_anew(uuid, sharded, there.version, pairs)
            .await?;
        let ns = &laid_out.ns;
        tracing::info!("the shard key of {ns} is refined on the target as on the source");
        Ok(None)
    }

    /// As it is laid out, and what was made of it; None if it is dropped, or being made.
    pub(super) fn laid_out_with(&self, uuid: Uuid) -> Option<(Arc<Collection>, Made)> {
        let laid_out = self.laid_out().remove(&uuid)?;
        let made = self.made().remove(&uuid)?;
        Some((laid_out, made))
    }

    /// Has the pairs record how a collection is sharded by now. The caller has the turn.
    pub(super) async fn sharded_anew(
        &self,
        uuid: Uuid,
        sharded: Collection,
        target_version: Option<MapVersion>,
        pairs: &[Arc<Pair>],
    ) -> Result<()> {
        for pair in pairs {
            pair.sharded_anew(&sharded, target_version).await?;
        }
        failpoint::hit("sharded-recorded");
        let mut state = self.state.lock();
        let Some(laid_out) = state.laid_out.get_mut(&uuid) else {
            return Ok(());
        };
        // Its options may have changed meanwhile.
        let laid_out = Arc::make_mut(laid_out);
        laid_out.sharded = sharded.sharded;
        laid_out.key_index = sharded.key_index;
        let version = target_version.map(|version| (uuid, version));
        state.versions.extend(version);
        Ok(())
    }

    pub(super) async fn refine_on_target(
        &self,
        ns: &Namespace,
        made: Made,
        key: &RawDocument,
    ) -> Result<OrNotYet<Sharded>> {
        let Some(there) = self.map_on_target(ns, made.uuid).await? else {
            return Ok(Err(unlisted()));
        };
        if is_same_key(key, &there.key) {
            return Ok(Ok(there));
        }
        if let Some(shard) = self.lacks_index(ns, made.uuid, (&there, key)).await? {
            return Ok(Err(lacking(shard)));
        }
        let sent = admin::refine_shard_key(&self.sides.target.entry, ns, key).await;
        if let Some(why) = refusal(sent)? {
            return Ok(Err(why));
        }
        failpoint::hit("refined");
        let there = self.map_on_target(ns, made.uuid).await?;
        Ok(there.ok_or_else(unlisted))
    }

    /// None if no sharded collection of this UUID has the name.
    pub(super) async fn map_on_target(
        &self,
        ns: &Namespace,
        made: Uuid,
    ) -> Result<Option<Sharded>> {
        let rows = versions::sharded(&self.sides.target, Some(ns)).await?;
        let row = rows.into_iter().find(|row| row.uuid == made);
        Ok(row.map(|row| row.sharded))
    }

    /// A shard of the target that has chunks of the collection, but no index that carries `key`.
    async fn lacks_index(
        &self,
        ns: &Namespace,
        made: Uuid,
        (there, key): (&Sharded, &RawDocument),
    ) -> Result<Option<&str>> {
        for (at, shard) in self.sides.target.shards.iter().enumerate() {
            if there.is_on(at) && self.carries(ns, made, (at, key)).await?.is_none() {
                return Ok(Some(&shard.id));
            }
        }
        Ok(None)
    }

    /// The index that carries the key of what is there.
    pub(super) async fn key_index(
        &self,
        ns: &Namespace,
        made: Uuid,
        there: &Sharded,
    ) -> Result<Option<RawDocumentBuf>> {
        let Some(chunk) = there.chunks.first() else {
            return Ok(None);
        };
        self.carries(ns, made, (chunk.shard, &there.key)).await
    }

    /// The index by which a shard of the target carries a key; none that is still being built.
    pub(super) async fn carries(
        &self,
        ns: &Namespace,
        made: Uuid,
        (shard, key): (usize, &RawDocument),
    ) -> Result<Option<RawDocumentBuf>> {
        let shard = &self.sides.target.shards[shard];
        let listed = catalog::indexes_of(shard, &ns.own(&shard.scope).db, made).await?;
        Ok(listed.and_then(|specs| index::of_shard_key(&specs, key)))
    }
}

/// The map of the source as it is recorded, by what is laid out and what was just read.
pub(super) fn still_refined(before: &Sharded, now: Option<Sharded>) -> OrNotYet<Sharded> {
    let Some(now) = now else {
        return Err(renamed_there());
    };
    if refined::is_of(before, &now) {
        return Ok(now);
    }
    // The watch finds what it is.
    Err("it was changed again meanwhile".to_owned())
}

/// Each is the begin of the other.
pub(super) fn is_same_key(a: &RawDocument, b: &RawDocument) -> bool {
    refined::is_begin(a, b) && refined::is_begin(b, a)
}

pub(super) fn renamed_there() -> String {
    "it has another name on the source by now, or is dropped: that is followed first".to_owned()
}

pub(super) fn unlisted() -> String {
    "the target's router does not list it now".to_owned()
}

pub(super) fn lacking(shard: &str) -> String {
    format!(
        "target shard {shard} has no index yet that carries the key; it is built once the collection is copied"
    )
}

/// What a router says to a change that it did not make.
///
/// # Errors
/// What tells nothing about it: the next look finds whether it was made.
pub(super) fn refusal(sent: Result<()>) -> Result<Option<String>> {
    match sent {
        Ok(()) => Ok(None),
        Err(e) if e.kind == Kind::Transient => Err(e),
        // An index that once held an array is one of arrays for good.
        Err(e) => Ok(Some(format!(
            "the target's router refuses it: {}; if this stays, drop the index that carries the key on the target's shards: it is built anew",
            e.message
        ))),
    }
}
