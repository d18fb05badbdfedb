//! Restores one collection from its recorded state at the start of an attempt: what its
//! units are to the gate, and whether anything of it still counts (R4, R6).
//!
//! Pure. Knows nothing about servers; the simulation drives the same code.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::cluster::catalog::EXPIRY;
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::pair::collection::names::Names;
use crate::pair::collection::{Tracked, Traits};
use crate::pair::gate::Gate;
use crate::position::Position;
use crate::scope::Scope;
use crate::state::{CollectionState, ScanOrder, UnitState};

/// Knowledge about the source at the start of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Index of the pair's source shard.
    pub shard: usize,
    pub shard_name: &'a str,
    /// The source's.
    pub scope: &'a Scope,
    /// The source's clock: the target may show anything up to there (R3).
    pub clock: Position,
    /// The source shard no longer has the UUID: the tail will meet its drop.
    pub gone: bool,
}

/// Admits a collection to the gate as it was left. If it still counts
/// (`Tracked::counts`), its unsettled units must be scanned.
///
/// # Errors
/// `Unsupported` for ownership or options that cannot be read; `Internal` if what is
/// recorded contradicts itself.
pub fn restore(gate: &mut Gate, state: &CollectionState, now: Now<'_>) -> Result<Arc<Tracked>> {
    let tracked = track(state, now)?;
    let is_lost =
        |unit: &UnitState| matches!(unit, UnitState::Copying(fence) if *fence < gate.begun());
    let lives_here = state.collection().lives_on(now.shard);
    // In the order of the disk it is read again from its beginning, which makes up for all
    // before the resume position.
    let has_fences = state.order == ScanOrder::Id;
    let matters = has_fences && !state.dead && !now.gone && lives_here;
    if matters && state.units.iter().any(is_lost) {
        // Its held ops would be missing. This should not happen: every start is recorded
        // before anything passes its fence, and no start outlives its incarnation. Only
        // dropped collections are passed. An older release may have recorded it.
        let found = format!(
            "a range of {} is recorded as started before the resume position",
            state.ns
        );
        return Err(Error::internal(found).remedy(format!(
            "copy the collection again with `shardlift recopy --shard {} --ns {}` with the same --source and \
             --target, then run the same `shardlift migrate` again; if the run was begun by this release, please \
             report it with the log",
            now.shard_name, state.ns
        )));
    }
    tracked.raise_horizon(now.clock);
    gate.admit(tracked.clone(), &state.bounds, &state.units);
    if state.dead {
        // Through the gate: a unit of it that was being copied would keep the
        // resume position at its fence for ever.
        gate.kill(&state.uuid);
    } else if !lives_here {
        tracked.leave_to_other_shards();
    } else if now.gone {
        gate.discard(&state.uuid);
    }
    Ok(tracked)
}

fn track(state: &CollectionState, now: Now<'_>) -> Result<Arc<Tracked>> {
    let names = Names::new(state.ns.clone(), state.renamed_at);
    let tracked = Tracked::called(state.uuid, names, Traits::of(&state.options))
        .in_database(state.ns.own(now.scope).db)
        .scanned(state.order)
        .planned(state.planned_at);
    if let Some(sharded) = &state.sharded {
        tracked.own(Ownership::of(sharded, now.shard)?);
    }
    if state.options.get(EXPIRY)?.is_some() {
        tracked.expires.store(true, SeqCst);
    }
    if state.duplicate_names {
        tracked.duplicate_names.were_recorded();
    }
    if let Some(target_uuid) = state.target_uuid {
        tracked.bind(target_uuid);
    }
    Ok(Arc::new(tracked))
}
