//! Views of the target: dropped where the source has none, made as the source has them.
//!
//! A view has no UUID, so its drop goes by name. IMPORTANT: the caller has the turn of
//! `ddl`, so that nobody makes a collection of that name meanwhile. The drop is sent
//! once, straight to the shard, over connections that carry the incarnation: a late one
//! would hit such a collection (R7).

use bson::rawdoc;
use mongodb::Client;

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::Shard;
use crate::codes;
use crate::control::layout;
use crate::control::sides::Sides;
use crate::error::Result;

pub struct Views {
    sides: Sides,
    /// By target shard, over the incarnation's connections.
    targets: Vec<Shard>,
}

impl Views {
    /// `targets`: by pair.
    pub fn new(sides: Sides, targets: Vec<Shard>) -> Self {
        let mut by_shard: Vec<(usize, Shard)> = sides.pairs.iter().copied().zip(targets).collect();
        by_shard.sort_by_key(|(shard, _)| *shard);
        let targets = by_shard.into_iter().map(|(_, target)| target).collect();
        Views { sides, targets }
    }

    /// The client of a target shard, which carries the incarnation.
    pub fn client(&self, shard: usize) -> &Client {
        &self.targets[shard].client
    }

    /// Whether something of this name is a view.
    pub async fn is_there(&self, ns: &Namespace) -> Result<bool> {
        let there = catalog::read_one(&self.sides.target, ns).await?;
        Ok(there.is_some_and(|there| there.kind == CollectionKind::View))
    }

    /// Drops the time series of this name, and its buckets with it.
    pub async fn drop_series(&self, series: &Namespace) -> Result<()> {
        let there = catalog::read_one(&self.sides.target, series).await?;
        match there.map(|there| there.kind) {
            Some(CollectionKind::TimeSeries) => self.drop(series).await,
            _ => Ok(()),
        }
    }

    /// Makes it as the source has it. None has its name.
    pub async fn make(&self, view: &Collection) -> Result<()> {
        layout::create_collection(&self.sides.target, view, &self.sides.pairs).await
    }

    /// Drops what has this name: a view (`is_there`).
    pub async fn drop(&self, ns: &Namespace) -> Result<()> {
        let Some(primary) = catalog::primary_of(&self.sides.target, &ns.db).await? else {
            return Ok(());
        };
        let command = rawdoc! { "drop": ns.coll.as_str(), "writeConcern": { "w": "majority" } };
        match admin::run_once(&self.targets[primary].client, &ns.db, &command).await {
            Err(e) if e.code != Some(codes::NAMESPACE_NOT_FOUND) => {
                Err(e.context(format_args!("dropping the view {ns} on the target")))
            }
            _ => {
                tracing::info!("the view {ns} is dropped on the target");
                Ok(())
            }
        }
    }
}
