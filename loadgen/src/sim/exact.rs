//! Bringing a collection of the simulation to an exact state, as `shardlift::pair::mend::doubtful`
//! does it, and what is done then: a unique index is built, or nothing more.
//!
//! By hand: when to hold, what to read again and when to try once more. The gate and the
//! doubts are the engine's.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use shardlift::pair::collection::Tracked;
use shardlift::pair::gate::Place;
use shardlift::position::Position;
use shardlift::state::same_term;

use crate::sim::checks::check_equal;
use crate::sim::command::Command;
use crate::sim::pair::{Halt, Pair, Reach, Step, Wait, wrong};
use crate::sim::replay::Replay;
use crate::sim::reread::{Outcome, Reread};

/// What the exact state is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Its doubtful documents are read again.
    Reread,
    /// The same, and all is compared, and a unique index is built if the source has one.
    Build,
}

pub(super) struct Exact {
    pub(super) aim: Aim,
    state: State,
}

enum State {
    Wanted,
    /// Held at this position; its lanes may have something left.
    Held(Position),
    Rereading(Position, Reread),
    /// The index is made, and not durable yet.
    Indexing(Wait),
    /// Its ops go on; then all of it again, if that is to be.
    Releasing {
        replay: Replay,
        again: bool,
    },
}

impl Exact {
    pub(super) fn new(aim: Aim) -> Self {
        Exact {
            aim,
            state: State::Wanted,
        }
    }

    pub(super) fn wait(&self) -> Option<Wait> {
        match &self.state {
            State::Indexing(wait) => Some(*wait),
            _ => None,
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        matches!(&self.state, State::Rereading(_, reread) if reread.is_sent())
    }

    /// What may still run once nobody waits for it.
    pub(super) fn into_command(self) -> Option<Command> {
        match self.state {
            State::Rereading(_, reread) => reread.into_command(),
            _ => None,
        }
    }
}

impl Pair {
    /// One step; None once it is done.
    pub(super) fn exact(
        &mut self,
        tracked: &Arc<Tracked>,
        exact: Exact,
        reach: &mut Reach<'_>,
    ) -> Step<Option<Exact>> {
        let Exact { aim, state } = exact;
        let next = match state {
            State::Wanted if !tracked.counts() => None,
            State::Wanted => Some(self.try_hold(tracked)),
            State::Releasing { mut replay, again } => match replay.step(self, reach) {
                Some(_) => again.then_some(State::Wanted),
                None => Some(State::Releasing { replay, again }),
            },
            _ if !tracked.counts() => Some(release(tracked, false)),
            State::Held(_) if 0 < tracked.in_lanes.load(SeqCst) => Some(state),
            State::Held(position) => {
                let ids = tracked.doubts.ids();
                if ids.is_empty() {
                    Some(self.on_exact(aim, tracked, position, true, reach)?)
                } else {
                    let reread = Reread::new(ids, reach);
                    Some(State::Rereading(position, reread))
                }
            }
            State::Rereading(position, mut reread) => {
                match reread.step(tracked, position, self, reach)? {
                    Outcome::UnderWay => Some(State::Rereading(position, reread)),
                    Outcome::Stopped => Some(release(tracked, true)),
                    Outcome::Resolved => {
                        let is_sure = tracked.horizon() <= position;
                        Some(self.on_exact(aim, tracked, position, is_sure, reach)?)
                    }
                }
            }
            State::Indexing(wait) if wait.number <= reach.target.committed() => {
                same_term(self.term, wait.term).map_err(|e| Halt::Attempt(e.message))?;
                Some(release(tracked, false))
            }
            State::Indexing(_) => Some(state),
        };
        Ok(next.map(|state| Exact { aim, state }))
    }

    fn try_hold(&mut self, tracked: &Tracked) -> State {
        if self.gate.is_past_horizon(tracked) && self.gate.hold(&tracked.uuid) {
            State::Held(self.gate.passed())
        } else {
            State::Wanted
        }
    }

    /// It is exact at the position; not sure, if documents may have been read ahead of it.
    fn on_exact(
        &mut self,
        aim: Aim,
        tracked: &Tracked,
        position: Position,
        is_sure: bool,
        reach: &mut Reach<'_>,
    ) -> Step<State> {
        if aim == Aim::Reread {
            return Ok(release(tracked, false));
        }
        let source = &reach.source.collections[&tracked.uuid];
        // In another term the attempt is about to end.
        let is_sure = is_sure && reach.target.term == self.term;
        if is_sure {
            check_equal(tracked, position, source, reach.target)?;
        }
        if !source.unique {
            return Ok(release(tracked, false));
        }
        match reach.target.build_unique(tracked.target_uuid()) {
            Some(number) => {
                reach.target.tally.unique += 1;
                let term = reach.target.term;
                Ok(State::Indexing(Wait { number, term }))
            }
            None if is_sure => wrong(format!("a unique index of {} fails", tracked.ns())),
            None => Ok(release(tracked, true)),
        }
    }
}

fn release(tracked: &Tracked, again: bool) -> State {
    let uuid = tracked.uuid;
    State::Releasing {
        replay: Replay::new(Place { uuid, unit: None }),
        again,
    }
}
