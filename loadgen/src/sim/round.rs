//! Checkpoints of the simulation: the engine's rounds, and its writes of each, between
//! which anything can happen. Checks that nothing is recorded that could still be taken
//! back.

use shardlift::pair::checkpoint::pipeline::Pipeline;
use shardlift::state::Recorded;
use shardlift::state::pair_store::checkpoint::{Write, writes};

use crate::sim::pair::{Halt, Pair, Reach, Step, Wait, wrong};
use crate::sim::store::StoreWrite;

#[derive(Default)]
pub(super) struct Rounds {
    pub(super) pipeline: Pipeline,
    pub(super) round: Round,
    captures: Vec<Capture>,
    /// Rounds that came to their end.
    pub(super) done: u64,
}

/// How far the round is.
#[derive(Default, Clone, Copy)]
pub(super) enum Round {
    #[default]
    Idle,
    /// The write of this number is the next.
    Writing { next: usize },
    /// So many are made; the last one is not acknowledged yet.
    Waiting { made: usize, wait: Wait },
}

/// What a capture rests on: all the target had taken by then.
struct Capture {
    recorded: Recorded,
    written: u64,
    lost: bool,
}

impl Rounds {
    /// An election left the target with `written` writes.
    pub(super) fn elected(&mut self, written: u64) {
        self.captures
            .iter_mut()
            .filter(|c| written < c.written)
            .for_each(|c| c.lost = true);
    }

    pub(super) fn wait(&self) -> Option<Wait> {
        match self.round {
            Round::Waiting { wait, .. } => Some(wait),
            _ => None,
        }
    }

    fn check(&self, recorded: &Recorded, committed: u64) -> Step {
        let mut same = self.captures.iter().filter(|c| c.recorded == *recorded);
        if same.any(|capture| !capture.lost && capture.written <= committed) {
            Ok(())
        } else {
            wrong(format!(
                "{:?} is recorded before what lies below is durable",
                recorded.resume
            ))
        }
    }
}

impl Pair {
    /// A step of a round, as `Checkpointer::round` and `PairStore::checkpoint`.
    pub(super) fn checkpoint(&mut self, reach: &mut Reach<'_>) -> Step {
        let committed = reach.target.committed();
        self.rounds.round = match self.rounds.round {
            Round::Idle => self.capture(reach)?,
            Round::Writing { next } => self.record(next, reach)?,
            Round::Waiting { made, wait } if wait.number <= committed => {
                let all = writes(self.rounds.pipeline.to_record()).len();
                if made < all {
                    Round::Writing { next: made }
                } else {
                    let ended = self.rounds.pipeline.end(self.term, wait.term);
                    ended.map_err(|e| Halt::Attempt(e.message))?;
                    self.rounds.done += 1;
                    Round::Idle
                }
            }
            waiting => waiting,
        };
        Ok(())
    }

    fn capture(&mut self, reach: &Reach<'_>) -> Step<Round> {
        let captured = self.gate.capture();
        if let Some(recorded) = captured.clone() {
            self.check_settled(&recorded.settled)?;
            self.rounds.captures.push(Capture {
                recorded,
                written: reach.target.written(),
                lost: false,
            });
        }
        self.rounds.pipeline.begin(captured);
        Ok(Round::Writing { next: 0 })
    }

    fn record(&mut self, next: usize, reach: &mut Reach<'_>) -> Step<Round> {
        let target = &mut *reach.target;
        if let Some(recorded) = self.rounds.pipeline.to_record() {
            self.rounds.check(recorded, target.committed())?;
        }
        let write = store_write(&self.rounds.pipeline, next, self.incarnation);
        let number = target
            .store(write)
            .ok_or_else(|| Halt::Attempt("another incarnation began".to_owned()))?;
        let wait = Wait {
            number,
            term: target.term,
        };
        Ok(Round::Waiting {
            made: next + 1,
            wait,
        })
    }
}

/// A write of the round under way.
pub(super) fn store_write(pipeline: &Pipeline, number: usize, incarnation: i64) -> StoreWrite {
    match writes(pipeline.to_record())[number] {
        Write::DuplicateNames(_) => unreachable!("no document has a name twice"),
        Write::Settled(units) => StoreWrite::Settled(units.to_vec()),
        Write::Marks(marks) => StoreWrite::Touch(incarnation, marks),
    }
}
