//! How an attempt takes up one collection as it was recorded: what its units
//! are to the gate, and whether anything of it still counts (R4, R6).
//!
//! Pure. Knows nothing about servers; the simulation drives the same code.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::cluster::catalog::EXPIRY;
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::pair::collection::{Tracked, Traits};
use crate::pair::gate::Gate;
use crate::position::Position;
use crate::state::{CollectionState, UnitState};

/// What an attempt knows of the source as it begins.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Index of the pair's source shard.
    pub shard: usize,
    pub shard_name: &'a str,
    /// The source's clock: the target may show anything up to there (R3).
    pub clock: Position,
    /// The source shard no longer has the UUID: the tail will come to its drop.
    pub gone: bool,
}

/// Admits a collection to the gate as it was left. Its unsettled units are to be
/// scanned if it still counts (`Tracked::counts`).
///
/// # Errors
/// `Unsupported` for ownership or options that cannot be read; `Internal` if what is
/// recorded contradicts itself.
pub fn restore(gate: &mut Gate, state: &CollectionState, now: Now<'_>) -> Result<Arc<Tracked>> {
    let tracked = track(state, now.shard)?;
    let is_lost =
        |unit: &UnitState| matches!(unit, UnitState::Copying(fence) if *fence < gate.begun());
    let lives_here = state.collection().lives_on(now.shard);
    let matters = !state.dead && !now.gone && lives_here;
    if matters && state.units.iter().any(is_lost) {
        // Its held ops would be missing. Every start is recorded before anything
        // passes its fence, and none comes later than its incarnation; only what is
        // dropped is passed. An older release may have recorded it so.
        let found = format!(
            "a range of {} is recorded as begun before the resume position",
            state.ns
        );
        return Err(Error::internal(found).remedy(format!(
            "let the run copy the collection anew by `shardlift restart --shard {} --ns {}` with the same --source and \
             --target, and give the same `shardlift migrate` again; if the run was begun by this release, please \
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

fn track(state: &CollectionState, shard: usize) -> Result<Arc<Tracked>> {
    let tracked = Tracked::new(state.uuid, state.ns.clone(), Traits::of(&state.options));
    if let Some(sharded) = &state.sharded {
        tracked.own(Ownership::of(sharded, shard)?);
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
