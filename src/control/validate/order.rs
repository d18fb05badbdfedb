//! In which order collections are going to be read: told, and no more.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::catalog::{Catalog, CollectionKind};
use crate::cluster::deployment::Deployment;
use crate::config::{Config, ScanOrderMode};
use crate::control::layout::prepare;
use crate::control::validate::{Check, listed};
use crate::error::Result;
use crate::state::ScanOrder;

const NAME: &str = "order of the copy";
/// Collections looked at side by side.
const CONCURRENCY: usize = 8;

pub(super) async fn check(config: &Config, source: &Deployment, catalog: &Catalog) -> Check {
    let all_log_diffs = source.shards.iter().all(|shard| shard.writes.logs_diffs);
    if config.scan_order == ScanOrderMode::Natural && !all_log_diffs {
        return Check::warn(
            NAME,
            "that of `_id`, though scan_order is natural",
            "a source logs updates in a form that it needs from the feature compatibility version 5.0 on: leave scan_order out",
        );
    }
    Check::answered(NAME, looked_at(config, source, catalog).await)
}

async fn looked_at(config: &Config, source: &Deployment, catalog: &Catalog) -> Result<Check> {
    let cut = prepare::cut(config);
    let plain = catalog.collections.iter();
    let plain = plain.filter(|collection| collection.kind == CollectionKind::Plain);
    let places = plain.flat_map(|collection| {
        let shards = source.shards.iter().enumerate();
        shards
            .filter(move |(index, _)| collection.lives_on(*index))
            .map(move |(_, shard)| (shard, collection))
    });
    let orders: Vec<_> = stream::iter(places)
        .map(|(shard, collection)| async move {
            let order = prepare::order(cut, shard, collection).await?;
            Ok::<_, crate::error::Error>((order, collection.ns.to_string()))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let natural = orders.into_iter();
    let natural = natural.filter(|(order, _)| *order == ScanOrder::Natural);
    let mut natural: Vec<String> = natural.map(|(_, ns)| ns).collect();
    natural.dedup();
    if natural.is_empty() {
        return Ok(Check::pass(NAME, "that of `_id`"));
    }
    let found = format!("that of the disk: {}; else that of `_id`", listed(&natural));
    Ok(Check::pass(NAME, found).naming(&natural))
}
