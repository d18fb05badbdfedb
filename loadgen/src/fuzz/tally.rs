//! What was done, and what became of it.
//!
//! Knows nothing about what it counts.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Ops of which the source took something, by kind.
    pub ops: BTreeMap<&'static str, u64>,
    /// Commands that the source refused, whole or in part.
    pub refused: u64,
    /// Commands whose connection went before the answer.
    pub lost: u64,
    pub kills: u64,
    pub elections: u64,
    pub engine_runs: u64,
    /// Refusals by kind of op and code.
    pub refusals: BTreeMap<(&'static str, i32), u64>,
}

/// What became of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// Some of its statements only; in a transaction none.
    Partly,
    /// With the server's code.
    Refused(i32),
    Lost,
}

impl Tally {
    pub(super) fn note(&mut self, kind: &'static str, answers: &[Answer]) {
        for answer in answers {
            match answer {
                Answer::Done | Answer::Partly => {}
                Answer::Refused(code) => {
                    self.refused += 1;
                    *self.refusals.entry((kind, *code)).or_default() += 1;
                }
                Answer::Lost => self.lost += 1,
            }
        }
        if answers.contains(&Answer::Done) || answers.contains(&Answer::Partly) {
            *self.ops.entry(kind).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Tally) {
        for (kind, count) in &other.ops {
            *self.ops.entry(kind).or_default() += count;
        }
        for (refusal, count) in &other.refusals {
            *self.refusals.entry(*refusal).or_default() += count;
        }
        self.refused += other.refused;
        self.lost += other.lost;
        self.kills += other.kills;
        self.elections += other.elections;
        self.engine_runs += other.engine_runs;
    }
}
