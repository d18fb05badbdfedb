//! Collections that are laid out otherwise on the source by now, though no document changed its
//! owner (`owners::is_relaid`): the target's are laid out so, too.
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | the target's collection is sharded, or its key refined | the next attempt finds it so, and records it |
//! | every pair that holds it has recorded it | the same: what one has recorded, the others come to |
//! | it counts as laid out so | done: pairs that wait for its creation are told |
//!
//! To be done once everything before the change is applied: the target's documents then have
//! the key, and its indexes carry it.

use std::sync::Arc;

use bson::Uuid;

use crate::cluster::catalog::{self, Collection};
use crate::control::across::ddl::Coordinator;
use crate::control::layout::{self, laid_out, owners};
use crate::error::{Kind, Result};
use crate::failpoint;
use crate::pair::run::Pair;

impl Coordinator {
    /// Nothing if it is not laid out otherwise any more, or is about to be dropped or renamed.
    ///
    /// # Errors
    /// `Unsupported` if the target's cannot be laid out so with what it holds.
    pub async fn lay_out_again(&self, uuid: Uuid, pairs: &[Arc<Pair>]) -> Result<()> {
        let _turn = self.take_turn().await?;
        let Some(before) = self.laid_out().remove(&uuid) else {
            return Ok(());
        };
        let ns = &before.ns;
        let now = catalog::read_one(&self.sides.source, ns).await?;
        let is_it = |now: &Collection| now.uuid == Some(uuid) && owners::is_relaid(&before, now);
        let Some(now) = now.filter(is_it) else {
            return Ok(());
        };
        let made = self.made().get(&uuid).map(|made| made.uuid);
        let there = catalog::read_one(&self.sides.target, ns).await?;
        if there.is_none_or(|there| made.is_none() || there.uuid != made) {
            return Ok(());
        }
        // Its options are followed by themselves.
        let now = Collection {
            options: before.options.clone(),
            ..now
        };
        self.lay_out_as(&before, &now).await?;
        failpoint::hit("relaid");
        let version = laid_out::version(&self.sides, &now).await?;
        for pair in pairs {
            pair.relaid(&now, version).await?;
        }
        failpoint::hit("relaid-recorded");
        let mut state = self.state.lock();
        if !state.rendezvous.is_dead(&uuid) {
            state
                .versions
                .extend(version.map(|version| (uuid, version)));
            state.laid_out.insert(uuid, Arc::new(now));
        }
        drop(state);
        self.freed.notify_waiters();
        tracing::info!("{ns} is laid out on the target as it is on the source by now");
        Ok(())
    }

    /// The caller has the turn.
    async fn lay_out_as(&self, before: &Collection, now: &Collection) -> Result<()> {
        let (ns, target) = (&now.ns, &self.sides.target);
        self.expect_movable(now)?;
        let ranges = now.sharded.iter().flat_map(|sharded| &sharded.zones);
        self.join_zones(&ranges.cloned().collect::<Vec<_>>())
            .await?;
        if before.sharded.is_some() {
            return layout::refine(target, now).await;
        }
        let over_others = || {
            let shard = &self.sides.source.shards[before.primary].id;
            owners::sharded_over_others(ns, shard)
        };
        let of_others = |shard: usize| shard != before.primary && now.lives_on(shard);
        let spreads = (0..self.sides.source.shards.len()).any(of_others);
        // What it holds is its old primary's alone, and no chunk with documents is ever moved.
        if spreads && layout::holding(target, ns).await?.is_some() {
            return Err(over_others());
        }
        let made = layout::create_collection(target, now, &self.sides.pairs);
        let made = self.until_answered(ns, made).await;
        made.map_err(|e| match e.kind {
            Kind::Refused if spreads => over_others(),
            _ => e,
        })
    }
}
