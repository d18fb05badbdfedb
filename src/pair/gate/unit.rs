//! One unit as the gate knows it: how far its copy is, and what that makes of an op.
//!
//! Pure. Knows nothing about its collection, nor about where held ops go.

use bson::RawBson;

use crate::pair::collection::Tracked;
use crate::pair::gate::held::Held;
use crate::pair::gate::rolling::Rolling;
use crate::position::Position;
use crate::state::{self, ScanOrder};

/// A range of `_id`s, up to the next unit's lower bound.
#[derive(Debug)]
pub(super) struct Unit {
    /// None: from the very first.
    pub(super) lower: Option<RawBson>,
    pub(super) state: UnitState,
}

#[derive(Debug)]
pub(super) enum UnitState {
    /// Its scan has not begun. Set when planned; left by `start`.
    Waiting,
    /// Its scan reads at or after the fence. Set by `start`, or by `admit` where an
    /// earlier incarnation had started it; left by `finish`. Ops up to `seen` are not
    /// needed.
    ///
    /// IMPORTANT: `seen` is the fence only where nothing of the unit is on the target: it
    /// starts for the first time, or it is capped and was emptied. A unit that is resumed
    /// needs every op from the resume position on: an attempt before may have applied ops
    /// below the fence, and the scan leaves their documents alone.
    Copying {
        fence: Position,
        seen: Position,
        held: Held,
        again: bool,
    },
    /// As `Copying`, of a collection that is copied in the order of the disk: its only unit,
    /// and its fence holds nothing down. Ops that no read under way may lack are applied.
    Rolling {
        fence: Position,
        seen: Position,
        rolling: Rolling,
        again: bool,
    },
    /// Its last held op was handed to the lanes. Set by `finish`; final. `shown`: newest
    /// source position that a document of it may show by its scan, or by an earlier attempt.
    Copied { shown: Position },
}

/// What becomes of an op, as far as its unit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Drop,
    /// It waits with the unit.
    Hold,
    /// It is applied; where the whole collection is held, it waits with that.
    Pass,
}

/// How the units of a collection are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ById,
    /// By `_id`, and emptied before it is scanned again.
    Emptied,
    /// In the order of the disk.
    Rolling,
}

impl Way {
    pub(super) fn of(tracked: &Tracked) -> Self {
        match (tracked.traits.capped, tracked.order) {
            (true, _) => Way::Emptied,
            (false, ScanOrder::Id) => Way::ById,
            (false, ScanOrder::Natural) => Way::Rolling,
        }
    }

    /// Of a unit that starts for the first time.
    pub(super) fn start(self, fence: Position) -> UnitState {
        self.copying(fence, fence, false)
    }

    /// Of a unit that an earlier attempt had begun with this fence.
    fn begun(self, fence: Position, resume: Position) -> UnitState {
        let emptied = self == Way::Emptied;
        let seen = if emptied { fence } else { resume };
        self.copying(fence, seen, true)
    }

    fn copying(self, fence: Position, seen: Position, again: bool) -> UnitState {
        if self == Way::Rolling {
            let rolling = Rolling::default();
            return UnitState::Rolling {
                fence,
                seen,
                rolling,
                again,
            };
        }
        let held = Held::default();
        UnitState::Copying {
            fence,
            seen,
            held,
            again,
        }
    }
}

impl Unit {
    /// `resume`: everything up to there is applied. `shown`: nothing newer is on the target.
    pub(super) fn restored(
        lower: Option<RawBson>,
        state: state::UnitState,
        (resume, shown): (Position, Position),
        way: Way,
    ) -> Self {
        let state = match state {
            state::UnitState::Waiting => UnitState::Waiting,
            state::UnitState::Copying(fence) => way.begun(fence, resume),
            state::UnitState::Settled => UnitState::Copied { shown },
        };
        Unit { lower, state }
    }

    pub(super) fn is_copying(&self) -> bool {
        matches!(
            self.state,
            UnitState::Copying { .. } | UnitState::Rolling { .. }
        )
    }

    /// The ops that wait with it, while it is being copied.
    pub(super) fn held(&self) -> Option<&Held> {
        match &self.state {
            UnitState::Copying { held, .. } => Some(held),
            UnitState::Rolling { rolling, .. } => Some(&rolling.held),
            UnitState::Waiting | UnitState::Copied { .. } => None,
        }
    }

    pub(super) fn held_mut(&mut self) -> Option<&mut Held> {
        match &mut self.state {
            UnitState::Copying { held, .. } => Some(held),
            UnitState::Rolling { rolling, .. } => Some(&mut rolling.held),
            UnitState::Waiting | UnitState::Copied { .. } => None,
        }
    }

    /// The position that it keeps the watermark at, while it is being copied.
    pub(super) fn below(&self) -> Option<Position> {
        match &self.state {
            UnitState::Copying { held, .. } => Some(held.below()),
            UnitState::Rolling { rolling, .. } => Some(rolling.below()),
            UnitState::Waiting | UnitState::Copied { .. } => None,
        }
    }

    /// The fence, where it holds the resume position down.
    pub(super) fn fence(&self) -> Option<Position> {
        match self.state {
            UnitState::Copying { fence, .. } => Some(fence),
            _ => None,
        }
    }

    /// What becomes of an op at `position` on a document of the unit (R2).
    ///
    /// | unit | op | it is | because |
    /// |---|---|---|---|
    /// | waiting | any | dropped | its scan starts later, and reads at or after it |
    /// | copying | up to `seen` | dropped | its scan reads at or after it |
    /// | copying | later | held, in order | its scan may have seen it, or not |
    /// | rolling | up to `seen` | dropped | every read of its scan shows it |
    /// | rolling | later | held while a read is under way that may lack it, else passed | what is read later shows it |
    /// | copied | any | passed | its last held op is with the lanes |
    pub(super) fn decide(&self, position: Position) -> Decision {
        match &self.state {
            UnitState::Waiting => Decision::Drop,
            UnitState::Copying { seen, .. } if position <= *seen => Decision::Drop,
            UnitState::Copying { .. } => Decision::Hold,
            UnitState::Rolling { seen, .. } if position <= *seen => Decision::Drop,
            UnitState::Rolling { rolling, .. } if rolling.holds(position) => Decision::Hold,
            UnitState::Rolling { .. } => Decision::Pass,
            UnitState::Copied { .. } => Decision::Pass,
        }
    }

    /// Whether a document of the copied unit may show what is at `position`.
    pub(super) fn may_show(&self, position: Position) -> bool {
        match self.state {
            UnitState::Copied { shown } => position <= shown,
            UnitState::Waiting | UnitState::Copying { .. } | UnitState::Rolling { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copying(fence: u64, seen: u64) -> UnitState {
        UnitState::Copying {
            fence: Position::from_raw(fence),
            seen: Position::from_raw(seen),
            held: Held::default(),
            again: false,
        }
    }

    fn copied() -> UnitState {
        let shown = Position::from_raw(5);
        UnitState::Copied { shown }
    }

    #[test]
    fn a_copied_unit_may_show_what_its_scan_or_an_earlier_attempt_saw() {
        let unit = Unit {
            lower: None,
            state: copied(),
        };
        let shows = |position| unit.may_show(Position::from_raw(position));
        assert!(shows(5) && !shows(6));
    }

    #[test]
    fn ops_are_dropped_held_or_passed_by_the_state_of_their_unit() {
        for (state, position, expect) in [
            (UnitState::Waiting, 1, Decision::Drop),
            (UnitState::Waiting, 9, Decision::Drop),
            (copying(5, 5), 4, Decision::Drop),
            (copying(5, 5), 5, Decision::Drop),
            (copying(5, 5), 6, Decision::Hold),
            // Taken up again: ops below its fence are needed too.
            (copying(5, 2), 2, Decision::Drop),
            (copying(5, 2), 3, Decision::Hold),
            (copied(), 1, Decision::Pass),
            (copied(), 9, Decision::Pass),
        ] {
            let unit = Unit { lower: None, state };
            let decision = unit.decide(Position::from_raw(position));
            assert_eq!(decision, expect, "{unit:?}, op at {position}");
        }
    }

    #[test]
    fn what_a_restart_finds_of_a_unit_says_which_ops_it_needs() {
        let at = Position::from_raw;
        let (resume, fence) = (at(3), at(7));
        let copying = state::UnitState::Copying(fence);
        for (recorded, way, position, expect) in [
            (state::UnitState::Waiting, Way::ById, 9, Decision::Drop),
            (copying, Way::ById, 3, Decision::Drop),
            (copying, Way::ById, 4, Decision::Hold),
            // Emptied, it is begun as if for the first time.
            (copying, Way::Emptied, 7, Decision::Drop),
            (copying, Way::Emptied, 8, Decision::Hold),
            (copying, Way::Rolling, 3, Decision::Drop),
            (copying, Way::Rolling, 4, Decision::Pass),
            (state::UnitState::Settled, Way::ById, 4, Decision::Pass),
        ] {
            let unit = Unit::restored(None, recorded, (resume, fence), way);
            let decision = unit.decide(at(position));
            assert_eq!(decision, expect, "{recorded:?}, op at {position}");
        }
    }
}
