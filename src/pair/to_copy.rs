//! What of a pair is still to be copied as an attempt begins: ranges that were begun
//! before, then those of the largest collections.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bson::Uuid;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::catalog::{self, Namespace};
use crate::cluster::deployment::Shard;
use crate::error::{Kind, Result};
use crate::observe::counters::Totals;
use crate::pair::collection::Tracked;
use crate::pair::copy::scan::BATCH_BYTES;
use crate::pair::copy::scan_unit::ScanUnit;
use crate::pair::copy::sorted_run::DOCUMENT_OVERHEAD_BYTES;
use crate::pair::copy::units::Size;
use crate::pair::ddl::{capped, vanished};
use crate::pair::restore::{Now, restore};
use crate::pair::run::Pair;
use crate::position::Position;
use crate::state::{CollectionState, ScanOrder, UnitState};

/// Commands under way at a time.
const ROOMS_AT_ONCE: usize = 8;

/// A pair as it was left, and its source shard as the attempt finds it.
pub(super) struct Left<'a> {
    /// Index of the source shard.
    pub(super) index: usize,
    pub(super) source: &'a Shard,
    /// The source's clock as the attempt begins.
    pub(super) clock: Position,
    /// Dropped on the source meanwhile: the tail will come to it.
    pub(super) gone: &'a HashSet<Uuid>,
    /// Names on the source now, by UUID.
    pub(super) called: &'a HashMap<Uuid, Namespace>,
    pub(super) collections: &'a [CollectionState],
}

/// Units in the order they are to be scanned in.
#[derive(Default)]
struct Queue {
    /// An earlier attempt began them.
    begun: Vec<ScanUnit>,
    /// Of one collection each, with its size in bytes.
    waiting: Vec<(u64, Vec<ScanUnit>)>,
    totals: Totals,
    /// Collections of which nothing is to be scanned.
    copied: Vec<Arc<Tracked>>,
    capped: Vec<Arc<Tracked>>,
}

/// Admits every collection to the gate as it was left.
pub(super) async fn admit(pair: &Pair, left: &Left<'_>) -> Result<VecDeque<ScanUnit>> {
    let mut queue = Queue::default();
    for state in left.collections {
        let gone = left.gone.contains(&state.uuid);
        let now = Now {
            shard: left.index,
            shard_name: &left.source.id,
            scope: &left.source.scope,
            clock: left.clock,
            gone,
        };
        let tracked = restore(&mut pair.gate.lock(), state, now)?;
        if gone && !state.dead {
            let source = left.source.clone();
            vanished::expect_drop(source, &pair.gate, &pair.chores, &tracked);
        } else if tracked.counts() {
            if tracked.traits.capped {
                queue.capped.push(tracked.clone());
            }
            let size = size(left, &state.uuid).await?;
            let is_copied = queue.add(&tracked, state, size);
            if is_copied {
                queue.copied.push(tracked);
            }
        }
    }
    // IMPORTANT: before the first op.
    let target = &pair.indexer.target;
    let rooms = queue.capped.iter();
    let rooms = rooms.map(|tracked| capped::make_room(target, tracked));
    stream::iter(rooms)
        .buffer_unordered(ROOMS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    for tracked in queue.copied {
        check_indexes(pair, tracked);
    }
    pair.metrics.plan(queue.totals);
    queue.waiting.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let mut units = VecDeque::from(queue.begun);
    for (_, waiting) in queue.waiting {
        units.extend(waiting);
    }
    Ok(units)
}

impl Queue {
    /// Returns true if nothing of the collection is to be scanned.
    fn add(&mut self, tracked: &Arc<Tracked>, state: &CollectionState, size: Size) -> bool {
        let mut waiting = Vec::new();
        let mut settled = 0;
        for (unit, left) in scan_units(tracked, state, size).zip(&state.units) {
            match left {
                UnitState::Settled => settled += 1,
                UnitState::Waiting => waiting.push(unit),
                UnitState::Copying(_) => self.begun.push(unit),
            }
        }
        let units = state.units.len();
        self.totals.add(size.documents, size.bytes, units, settled);
        tracked.copied.begin_at(size.bytes, units, settled);
        self.waiting.push((size.bytes, waiting));
        settled == units
    }
}

/// Brings the indexes of a collection that is copied up to date, and options that making room
/// may have switched off.
fn check_indexes(pair: &Pair, tracked: Arc<Tracked>) {
    let (indexer, of) = (pair.indexer.clone(), tracked.clone());
    let check = async move {
        if of.traits.capped {
            indexer.mend(&of).await
        } else {
            indexer.reconcile(&of).await
        }
    };
    tracked.as_logged(|ns| pair.chores.add("checking indexes of", ns, check));
}

/// None if the source would not say: it may be renamed just now.
async fn size(left: &Left<'_>, uuid: &Uuid) -> Result<Size> {
    let nothing = Size {
        documents: 0,
        bytes: 0,
    };
    let Some(ns) = left.called.get(uuid) else {
        return Ok(nothing);
    };
    match catalog::estimate(left.source, ns).await {
        Ok(estimate) => Ok(Size {
            documents: estimate.document_count,
            bytes: estimate.bytes,
        }),
        Err(e) if e.kind == Kind::Server => {
            tracing::debug!("{ns} is of unknown size: {e}");
            Ok(nothing)
        }
        Err(e) => Err(e),
    }
}

fn scan_units(
    tracked: &Arc<Tracked>,
    state: &CollectionState,
    size: Size,
) -> impl Iterator<Item = ScanUnit> {
    let average = size.bytes / size.documents.max(1);
    let each = match state.order {
        ScanOrder::Id => average.max(64),
        ScanOrder::Natural => average + DOCUMENT_OVERHEAD_BYTES as u64,
    };
    let batch_documents = (BATCH_BYTES / each).clamp(1, 50_000) as i32;
    let bounds = &state.bounds;
    (0..=bounds.len()).map(move |index| ScanUnit {
        tracked: tracked.clone(),
        index,
        lower: index.checked_sub(1).map(|before| bounds[before].clone()),
        upper: bounds.get(index).cloned(),
        batch_documents,
        written: Default::default(),
        whole_reads: AtomicUsize::new(state.whole_reads),
    })
}
