//! Whether a collection matters to one pair of one attempt: a single state that only goes
//! forward. Whoever looks sees one of its steps, never two flags that disagree.
//!
//! | from | to | goes back |
//! |---|---|---|
//! | `Ours` | any | |
//! | `OtherShards` | `DropExpected`, `Dead` | no: no chunk moves while a run is on (R8) |
//! | `DropExpected` | `Dead` | no: a drop that is rolled back ends the attempt, and the next one begins with a new state |
//! | `Dead` | | never: it is recorded, for every attempt to come (R4) |
//!
//! IMPORTANT: steps are set from several tasks, and not all under the gate's lock. So one is
//! set by the maximum of what is there and what comes: the chore that learns that a
//! collection is another shard's may be later than the tail that meets its drop, and must
//! not bring it back to life.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;

/// What a collection is to a pair. Ordered: a later step stands against an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// Its documents matter here. So every collection begins.
    Ours,
    /// The shard has the collection but no chunk of it: nothing of it counts here, save
    /// that it takes part in its drop (R4). Set by `restore`, and by the chore of a
    /// creation, which holds no lock of the gate.
    OtherShards,
    /// The source shows it no longer, or other pairs have met its drop; the tail of this
    /// one has not. Set by `Gate::discard`.
    DropExpected,
    /// Dropped on the source. Set by `Gate::kill`: when the tail meets the drop, or for what
    /// is recorded as dead.
    Dead,
}

const STEPS: [Life; 4] = [
    Life::Ours,
    Life::OtherShards,
    Life::DropExpected,
    Life::Dead,
];

/// The step that a collection has come to.
#[derive(Debug, Default)]
pub struct LifeNow(AtomicU8);

impl LifeNow {
    pub fn get(&self) -> Life {
        STEPS[usize::from(self.0.load(SeqCst))]
    }

    /// Nothing where it has come further already.
    pub fn advance(&self, to: Life) {
        self.0.fetch_max(to as u8, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_undoes_a_later_one() {
        for (first, first_step) in STEPS.into_iter().enumerate() {
            assert_eq!(first, first_step as usize, "read back as it was set");
            for second in STEPS {
                let now = LifeNow::default();
                now.advance(first_step);
                assert_eq!(now.get(), first_step);
                now.advance(second);
                assert_eq!(now.get(), first_step.max(second));
            }
        }
    }
}
