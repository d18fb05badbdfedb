//! What is unapplied: the watermark below it, what a checkpoint may record of it, and how
//! much of it waits.

use super::Gate;
use super::unit::{Unit, UnitState};
use crate::pair::gate::held::Held;
use crate::position::Position;
use crate::state::Recorded;

impl Gate {
    /// The watermark: a position below every op that is held, queued or in flight (R6).
    pub fn watermark(&self) -> Position {
        self.copying_units()
            .filter_map(Unit::below)
            .fold(self.applied(), Position::min)
    }

    /// Below every unapplied op that no unit being copied holds: all that counts
    /// if those units are given up.
    pub(super) fn applied(&self) -> Position {
        let held = self.holds().map(|held| held.below());
        let queued = self.lanes.iter().map(|lane| lane.oldest().before());
        let in_order = held.chain(queued).fold(self.passed, Position::min);
        // IMPORTANT: last, the count too. A refused op is doubtful before it leaves its lane.
        self.doubting()
            .map(|tracked| tracked.doubtful_oldest().before())
            .fold(in_order, Position::min)
    }

    /// What a checkpoint may record once it is proven (R6, R7). None once the gate is
    /// closed: ops dropped since then must not count as applied.
    pub fn capture(&mut self) -> Option<Recorded> {
        if self.closed {
            return None;
        }
        let (watermark, applied) = (self.watermark(), self.applied());
        let fences = self.fences();
        let mut duplicate_names = Vec::new();
        for collection in self.collections.values() {
            let tracked = &collection.tracked;
            if tracked.counts() && tracked.duplicate_names.capture() {
                duplicate_names.push(tracked.uuid);
            }
        }
        let recorded = self.ledger.capture(watermark, applied, fences, &self.lanes);
        Some(Recorded {
            duplicate_names,
            ..recorded
        })
    }

    /// Fence of the oldest range being copied, if any.
    pub fn oldest_fence(&self) -> Option<Position> {
        self.fences().into_iter().min()
    }

    /// What the oldest read in the order of the disk shows: all later ops on its collection
    /// wait for it.
    pub fn oldest_read(&self) -> Option<Position> {
        let reads = self.copying_units().filter_map(|unit| match &unit.state {
            UnitState::Rolling { rolling, .. } => rolling.oldest(),
            _ => None,
        });
        reads.min()
    }

    /// Fences that hold the resume position down: not that of a collection that is copied in
    /// the order of the disk, for it is read again from its beginning, and every read shows
    /// what was applied before (R6).
    pub(super) fn fences(&self) -> Vec<Position> {
        self.copying_units().filter_map(Unit::fence).collect()
    }

    fn copying_units(&self) -> impl Iterator<Item = &Unit> {
        self.copying
            .iter()
            .filter_map(|(uuid, unit)| Some(&self.collections.get(uuid)?.units[*unit]))
    }

    /// Ops held in memory, and their bytes.
    pub fn held(&self) -> (u64, u64) {
        self.all_held().fold((0, 0), |(ops, bytes), held| {
            (ops + held.count() as u64, bytes + held.bytes())
        })
    }

    /// Some ops wait, or soon may.
    pub fn is_holding(&self) -> bool {
        !(self.copying.is_empty() && self.holding.is_empty())
    }

    fn all_held(&self) -> impl Iterator<Item = &Held> {
        self.copying_units()
            .filter_map(Unit::held)
            .chain(self.holds())
    }

    /// What waits in collections that are held whole.
    fn holds(&self) -> impl Iterator<Item = &Held> {
        self.holding
            .iter()
            .filter_map(|uuid| self.collections.get(uuid)?.hold.as_ref())
    }
}
