//! Collections that are sharded where they are: the target's is sharded so by its router, and all
//! of it stays on the shard that has it. Found by the watch over owners, as refined keys are
//! (`refining`, which has the steps).
//!
//! Only once the pair that has it would resume beyond that: entries from before are of what was
//! not sharded, and what they say of moved documents counts (`pair::gate::replay`).

use std::sync::Arc;

use bson::Uuid;

use super::refining::{OrNotYet, is_same_key, lacking, refusal, renamed_there, unlisted};
use crate::cluster::catalog::{self, Collection, Sharded};
use crate::control::across::ddl::Coordinator;
use crate::control::layout;
use crate::control::layout::laid_out::Made;
use crate::control::layout::owners;
use crate::error::Result;
use crate::failpoint;
use crate::pair::run::Pair;

impl Coordinator {
    /// Shards a collection of the target as the source's is by now. Returns why it cannot be
    /// done yet. May be repeated.
    ///
    /// # Errors
    /// `Unsupported` if part of it is on another shard then.
    pub async fn shard_in_place(&self, uuid: Uuid, pairs: &[Arc<Pair>]) -> Result<Option<String>> {
        let _turn = self.take_turn().await?;
        let Some((laid_out, made)) = self.laid_out_with(uuid) else {
            return Ok(None);
        };
        if laid_out.sharded.is_some() {
            return Ok(None);
        }
        let ns = &laid_out.ns;
        // IMPORTANT: in the turn, as for a refined key.
        let Some(now) = self.map_on_source(uuid, ns).await? else {
            return Ok(Some(renamed_there()));
        };
        let wanted = Collection {
            sharded: Some(now.clone()),
            ..(*laid_out).clone()
        };
        if !owners::stays_in_place(&laid_out, &wanted) {
            // The watch finds what it is.
            return Ok(Some("it was changed again meanwhile".to_owned()));
        }
        let there = match self.shard_on_target(&wanted, &now, made).await? {
            Ok(there) => there,
            Err(why) => return Ok(Some(why)),
        };
        let primary = self.sides.pairs[wanted.primary];
        let is_whole = there.chunks.iter().all(|chunk| chunk.shard == primary);
        if !is_whole || !is_same_key(&now.key, &there.key) || now.unique != there.unique {
            let shard = &self.sides.source.shards[wanted.primary].id;
            return Err(owners::sharded_in_place(&wanted, shard));
        }
        let sharded = Collection {
            key_index: self.key_index(ns, made.uuid, &there).await?,
            ..wanted
        };
        self.sharded_anew(uuid, sharded, there.version, pairs)
            .await?;
        tracing::info!("{ns} is sharded on the target as on the source");
        Ok(None)
    }

    async fn shard_on_target(
        &self,
        wanted: &Collection,
        now: &Sharded,
        made: Made,
    ) -> Result<OrNotYet<Sharded>> {
        let (ns, target) = (&wanted.ns, &self.sides.target);
        if self.map_on_target(ns, made.uuid).await?.is_some() {
            // By an earlier attempt, and the source's key may be refined since.
            return self.refine_on_target(ns, made, &now.key).await;
        }
        let primary = self.sides.pairs[wanted.primary];
        let shard = &target.shards[primary];
        if catalog::local_uuid(shard, ns).await? != Some(made.uuid) {
            return Ok(Err(unlisted()));
        }
        // IMPORTANT: a router would make one of its own for a collection without documents.
        let carries = self.carries(ns, made.uuid, (primary, &now.key)).await?;
        if carries.is_none() && !layout::is_by_id(&now.key) {
            return Ok(Err(lacking(&shard.id)));
        }
        self.join_zones(&now.zones).await?;
        let sharding = layout::shard_in_place(target, wanted, primary);
        // By its name alone it could make one anew.
        let sent = self.until_answered(ns, sharding).await;
        if let Some(why) = refusal(sent)? {
            return Ok(Err(why));
        }
        failpoint::hit("sharded");
        let there = self.map_on_target(ns, made.uuid).await?;
        Ok(there.ok_or_else(unlisted))
    }
}
