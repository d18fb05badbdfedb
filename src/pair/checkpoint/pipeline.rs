//! The order of checkpoints (R7): a position is captured, then proven by a later majority
//! write of the same term, and only then recorded.
//!
//! | round | `begin` captures | its writes prove | and record |
//! |---|---|---|---|
//! | 1 | A | A | nothing |
//! | 2 | B | B | A |
//! | 3 | C | C | B |
//!
//! So the writes of one round do all three, and no capture is its own proof.
//!
//! Pure. What a round's writes are is `state::pair_store::checkpoint`'s. The simulation
//! drives the same code.

use crate::error::Result;
use crate::state::{Recorded, same_term};

/// Rounds, one after the other: `begin`, all writes that record `to_record`, `end`.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// Of the round under way. None: there is nothing to record any more.
    captured: Option<Recorded>,
    /// The capture of the round before.
    proven: Option<Recorded>,
}

impl Pipeline {
    /// A round begins. `captured`: what the gate shows now, before this round's first
    /// write.
    pub fn begin(&mut self, captured: Option<Recorded>) {
        self.captured = captured;
    }

    /// What this round's writes record: the round before proved it.
    pub fn to_record(&self) -> Option<&Recorded> {
        self.proven.as_ref()
    }

    /// A majority has acknowledged every write of the round, the last one in term
    /// `theirs`. Returns what is recorded by them. All data was written in term `ours`: so
    /// what was captured before them is durable.
    ///
    /// # Errors
    /// `Transient` if the terms differ: what was acknowledged since the last checkpoint
    /// may be gone.
    pub fn end(&mut self, ours: i64, theirs: i64) -> Result<Option<Recorded>> {
        same_term(ours, theirs)?;
        let recorded = self.proven.take();
        self.proven = self.captured.take();
        Ok(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Mark, Position};

    const TERM: i64 = 5;

    fn at(position: u64) -> Option<Recorded> {
        let mark = Mark {
            position: Position::from_raw(position),
            term: 1,
        };
        (0 < position).then(|| Recorded {
            resume: mark,
            applied: mark,
            settled: Vec::new(),
            duplicate_names: Vec::new(),
        })
    }

    /// Rounds as (captured, recorded by this round's writes); 0: nothing.
    #[test]
    fn a_capture_is_recorded_by_the_round_after_the_one_that_proved_it() {
        let rows: [&[(u64, u64)]; 4] = [
            &[(3, 0), (4, 3), (9, 4)],
            &[(3, 0), (3, 3)],
            // A gate that is closed shows nothing more.
            &[(3, 0), (0, 3), (0, 0)],
            &[(0, 0), (3, 0), (5, 3)],
        ];
        for rounds in rows {
            let mut pipeline = Pipeline::default();
            for (captured, recorded) in rounds {
                pipeline.begin(at(*captured));
                assert_eq!(pipeline.to_record(), at(*recorded).as_ref(), "{rounds:?}");
                assert_eq!(
                    pipeline.end(TERM, TERM).unwrap(),
                    at(*recorded),
                    "{rounds:?}"
                );
            }
        }
    }

    #[test]
    fn writes_of_another_term_prove_and_record_nothing() {
        let mut pipeline = Pipeline::default();
        pipeline.begin(at(3));
        pipeline.end(TERM, TERM).unwrap();
        pipeline.begin(at(4));
        assert!(pipeline.end(TERM, TERM + 1).is_err());
        assert_eq!(pipeline.to_record(), at(3).as_ref());
    }
}
