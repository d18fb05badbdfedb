//! Where each pair resumes in an attempt: at its resume position. If that rolled off the
//! source and the spool does not have it, or parts of a transaction did that would be read
//! again, the pair resumes at the position up to which everything else is applied. It then
//! gives up the units that were in flight: their ranges are emptied and they wait again (R6).
//!
//! Moves no document. The simulation drives the pure parts.

use std::fmt;

use bson::Uuid;

use crate::cluster::deployment::Shard;
use crate::control::recorded::emptying;
use crate::control::run::Run;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::oplog::feed::Feed;
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, PairState, UnitState};

/// Brings `state` to where the attempt begins, and records that. `target` and
/// `store` are of the new incarnation; nothing of the pair runs yet.
///
/// # Errors
/// `RolledOff` if what the pair needs is neither on the source nor in the spool.
pub async fn choose_start(
    target: &Shard,
    store: &PairStore,
    feed: &Feed,
    state: &mut PairState,
    run: &Run,
) -> Result<()> {
    let (resume, applied) = (state.resume.position, state.applied.position);
    // On the way back the target's own documents are there, too: nothing is emptied.
    let may_give_up = resume < applied && !run.is_way_back();
    let lacks = if !feed.holds(resume).await? {
        Some(format!("position {resume}, where its copy would resume"))
    } else if may_give_up && feed.lacks_parts(resume, applied).await? {
        Some(format!(
            "parts of a transaction that would take effect after {resume}, where its copy would resume"
        ))
    } else {
        None
    };
    if let Some(lacks) = lacks {
        if !may_give_up || !feed.holds(applied).await? {
            return Err(lost_whole(feed, state).await?);
        }
        let lost = lost_units(state);
        run.warn(format!(
            "target shard {}: the source's oplog no longer holds {lacks}; it resumes at {applied}, and what was written in \
             between is lost to {lost}",
            target.id
        ));
        give_up(target, store, state).await?;
        state.resume = state.applied;
    }
    state.applied = state.resume;
    // IMPORTANT: before anything is applied, and after the units given up wait: once
    // it is past their fences, their scans could no longer be made good.
    store.go_on_at(state.resume).await?;
    failpoint::hit("position-taken");
    Ok(())
}

async fn give_up(target: &Shard, store: &PairStore, state: &mut PairState) -> Result<()> {
    let lost: Vec<(Uuid, usize)> = units_in_flight(state)
        .map(|(collection, unit)| (collection.uuid, unit))
        .collect();
    emptying::wipe_units(target, store, &lost).await?;
    failpoint::hit("units-waiting");
    wait_anew(state, &lost);
    Ok(())
}

/// Sets the units to waiting, as the store does once they are emptied.
pub fn wait_anew(state: &mut PairState, units: &[(Uuid, usize)]) {
    for collection in &mut state.collections {
        let lost = units.iter().filter(|(uuid, _)| *uuid == collection.uuid);
        lost.for_each(|(_, unit)| collection.units[*unit] = UnitState::Waiting);
    }
}

/// Units whose scan or held ops are not all applied, wherever their fences are. A resumed
/// unit replays ops from its attempt's resume position on. Those that were handed over
/// since the last checkpoint have set its documents back below the applied position.
pub fn units_in_flight(state: &PairState) -> impl Iterator<Item = (&CollectionState, usize)> {
    let alive = state.collections.iter().filter(|c| !c.dead);
    alive.flat_map(|collection| {
        let units = collection.units.iter().enumerate();
        let lost = units.filter(|(_, unit)| matches!(unit, UnitState::Copying(_)));
        lost.map(move |(index, _)| (collection, index))
    })
}

/// How many collections a message names.
const NAMED_MAX: usize = 20;

struct Lost(Vec<String>, usize);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost(named, units) = self;
        if *units == 0 {
            return write!(f, "no range");
        }
        let left_out = named.len().saturating_sub(NAMED_MAX);
        write!(
            f,
            "{units} ranges in flight ({}",
            named[..named.len().min(NAMED_MAX)].join("; ")
        )?;
        if 0 < left_out {
            write!(f, "; and {left_out} more collections")?;
        }
        write!(f, "), which are emptied on the target and copied again")
    }
}

fn lost_units(state: &PairState) -> Lost {
    let mut named: Vec<(String, Vec<String>)> = Vec::new();
    let mut count = 0;
    for (collection, unit) in units_in_flight(state) {
        count += 1;
        let name = collection.ns.to_string();
        let number = format!("{} of {}", unit + 1, collection.units.len());
        match named.last_mut().filter(|(last, _)| *last == name) {
            Some((_, units)) => units.push(number),
            None => named.push((name, vec![number])),
        }
    }
    Lost(
        named
            .into_iter()
            .map(|(name, units)| format!("{name}: {}", units.join(", ")))
            .collect(),
        count,
    )
}

async fn lost_whole(feed: &Feed, state: &PairState) -> Result<Error> {
    let (applied, oldest) = (
        state.applied.position,
        feed.oldest_on_source().await?.unwrap_or(Position::MAX),
    );
    let seconds = oldest.seconds().saturating_sub(applied.seconds());
    let place = if state.resume.position < applied {
        "even without the ranges in flight its copy needs it from there"
    } else {
        "its copy needs it from there"
    };
    Ok(feed.rolled_off(format!(
        "the source's oplog no longer holds position {applied}, and the spool does not reach from there to what it \
         holds: {place}, but the oplog begins at {oldest}, {seconds} s later; what was written in between is lost to this run"
    )))
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, RawDocumentBuf};

    use super::*;
    use crate::cluster::catalog::Namespace;
    use crate::position::Mark;

    #[test]
    fn all_units_in_flight_are_lost_wherever_their_fences_lie() {
        let at = |raw| Mark {
            position: Position::from_raw(raw),
            term: 1,
        };
        let copying = |raw| UnitState::Copying(Position::from_raw(raw));
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let collection = CollectionState {
            dead: false,
            options: RawDocumentBuf::new(),
            bounds: (0..4).map(RawBson::Int32).collect(),
            units: vec![
                copying(5),
                UnitState::Waiting,
                copying(9),
                copying(10),
                UnitState::Settled,
            ],
            ..CollectionState::dead(Uuid::new(), &ns)
        };
        let dead = CollectionState {
            units: vec![copying(1)],
            ..CollectionState::dead(Uuid::new(), &ns)
        };
        let collections = vec![collection, dead];
        let state = PairState {
            resume: at(4),
            applied: at(10),
            catalog_position: Position::default(),
            collections,
        };
        assert_eq!(
            units_in_flight(&state)
                .map(|(_, unit)| unit)
                .collect::<Vec<_>>(),
            [0, 2, 3]
        );
        assert_eq!(
            lost_units(&state).to_string(),
            "3 ranges in flight (d.c: 1 of 5, 3 of 5, 4 of 5), which are emptied on the target and copied again"
        );
    }
}
