//! Collections that are copied again from their beginning are planned anew: how they were to
//! be scanned may be why.
//!
//! They are marked as being emptied in the same write; `emptying` does the rest.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::deployment::Shard;
use crate::control::layout::prepare;
use crate::control::recorded::emptying;
use crate::error::{Kind, Result};
use crate::pair::copy::units::{Cut, WHOLE_READS_MAX};
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, ScanOrder, UnitState};

/// Collections planned side by side.
const CONCURRENCY: usize = 8;

/// What is going to be read whole again has no unique indexes meanwhile: ops that pass would
/// be refused for as long (R10). What was read whole too often, and never to its end, is to be
/// read by `_id`. Returns a warning for each of these. To be called before
/// `emptying::finish_wipes`, as that is.
pub async fn take_up_whole_reads(
    source: &Shard,
    (target, store): (&Shard, &PairStore),
    cut: Cut,
) -> Result<Vec<String>> {
    if !store.has_whole_reads().await? {
        return Ok(Vec::new());
    }
    let Some(state) = store.load().await? else {
        return Ok(Vec::new());
    };
    let is_begun = |c: &&CollectionState| {
        let is_copying = |unit: &UnitState| matches!(unit, UnitState::Copying(_));
        !c.dead && c.order == ScanOrder::Natural && c.units.iter().any(is_copying)
    };
    let begun: Vec<&CollectionState> = state.collections.iter().filter(is_begun).collect();
    for collection in &begun {
        if let Some(uuid) = collection.target_uuid {
            emptying::drop_unique_indexes(target, collection, uuid).await?;
        }
    }
    let is_lost = |c: &&CollectionState| WHOLE_READS_MAX <= c.whole_reads;
    let lost: Vec<&CollectionState> = begun.into_iter().filter(is_lost).collect();
    let order = Some(ScanOrder::Id);
    mark(source, store, &lost, (Cut { order, ..cut }, None)).await?;
    let told = |c: &&CollectionState| {
        format!(
            "{}: {WHOLE_READS_MAX} reads in the order of the disk were interrupted; it is emptied on the target, and \
             copied in the order of `_id`, of which each range counts",
            c.ns
        )
    };
    Ok(lost.iter().map(told).collect())
}

/// Marks these as being emptied, planned anew. `at`: their entries up to there are passed
/// from now on, since whatever reads them shows it; None: as before.
pub async fn mark(
    source: &Shard,
    store: &PairStore,
    collections: &[&CollectionState],
    (cut, at): (Cut, Option<Position>),
) -> Result<()> {
    let planned: Vec<CollectionState> = stream::iter(collections)
        .map(|state| planned(source, state, (cut, at.unwrap_or(state.planned_at))))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    store.replan(&planned).await.map(drop)
}

/// One that is renamed or dropped at the moment keeps its ranges: they are hints.
async fn planned(
    source: &Shard,
    state: &CollectionState,
    (cut, planned_at): (Cut, Position),
) -> Result<CollectionState> {
    let collection = state.collection();
    let planned = match prepare::planned(cut, source, &collection, true).await {
        Err(e) if e.kind == Kind::Server => CollectionState {
            order: ScanOrder::Id,
            ..state.clone()
        },
        planned => planned?,
    };
    Ok(CollectionState {
        planned_at,
        ..planned
    })
}
