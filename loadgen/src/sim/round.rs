//! Checkpoints of the simulation: the steps of `Checkpointer::round` and of the
//! writes it makes, between which anything can happen. Checks that nothing is
//! recorded that could still be taken back.

use bson::Uuid;
use shardlift::pair::checkpoint::Pipeline;
use shardlift::state::Recorded;
use shardlift::state::same_term;

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

#[derive(Default)]
pub(super) enum Round {
    #[default]
    Idle,
    Captured(Option<Recorded>),
    Settling(Option<Recorded>, Wait),
    Settled(Option<Recorded>),
    Touching(Option<Recorded>, Wait),
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
        match &self.round {
            Round::Settling(_, wait) | Round::Touching(_, wait) => Some(*wait),
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
    pub(super) fn checkpoint(&mut self, reach: &mut Reach<'_>) -> Step {
        let target = &mut *reach.target;
        self.rounds.round = match std::mem::take(&mut self.rounds.round) {
            Round::Idle => {
                let captured = self.gate.capture();
                if let Some(recorded) = captured.clone() {
                    self.check_settled(&recorded.settled)?;
                    self.rounds.captures.push(Capture {
                        recorded,
                        written: target.written(),
                        lost: false,
                    });
                }
                Round::Captured(captured)
            }
            Round::Captured(captured) => match self.rounds.pipeline.to_record() {
                Some(recorded) if !recorded.settled.is_empty() => {
                    self.rounds.check(recorded, target.committed())?;
                    let settled: Vec<(Uuid, usize)> = recorded.settled.clone();
                    let number = target
                        .store(StoreWrite::Settled(settled))
                        .expect("never refused");
                    Round::Settling(
                        captured,
                        Wait {
                            number,
                            term: target.term,
                        },
                    )
                }
                _ => Round::Settled(captured),
            },
            Round::Settling(captured, wait) if wait.number <= target.committed() => {
                Round::Settled(captured)
            }
            Round::Settled(captured) => {
                let recorded = self.rounds.pipeline.to_record();
                recorded.map_or(Ok(()), |recorded| {
                    self.rounds.check(recorded, target.committed())
                })?;
                let marks = recorded.map(|recorded| (recorded.resume, recorded.applied));
                let touch = target.store(StoreWrite::Touch(self.incarnation, marks));
                let number =
                    touch.ok_or_else(|| Halt::Attempt("another incarnation began".to_owned()))?;
                Round::Touching(
                    captured,
                    Wait {
                        number,
                        term: target.term,
                    },
                )
            }
            Round::Touching(captured, wait) if wait.number <= target.committed() => {
                same_term(self.term, wait.term).map_err(|e| Halt::Attempt(e.message))?;
                self.rounds.pipeline.acknowledged(captured);
                self.rounds.done += 1;
                Round::Idle
            }
            waiting => waiting,
        };
        Ok(())
    }
}
