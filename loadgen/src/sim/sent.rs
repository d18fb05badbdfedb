//! A write command under way to the target of a simulation: it runs statement by
//! statement, perhaps twice, and is answered in the term of its last one.

use std::sync::Arc;

use shardlift::pair::collection::Tracked;
use shardlift::state::same_term;

use crate::sim::body::Key;
use crate::sim::command::{Command, Write};
use crate::sim::pair::{Halt, Reach, Step, wrong};

pub(super) struct Sent {
    pub(super) command: Command,
    pub(super) collection: Arc<Tracked>,
    /// All of the command, to be sent once more if the shard does not know what it owns.
    all: Vec<Write>,
    /// The term its last statement ran in.
    term: i64,
}

/// One command in so many is sent again.
const RESENT: u64 = 30;

impl Sent {
    pub(super) fn new(command: Command, collection: Arc<Tracked>) -> Self {
        let all = command.writes.clone();
        Sent {
            command,
            collection,
            all,
            term: 0,
        }
    }

    /// Runs some of its statements. True once all are run, and one step later.
    pub(super) fn step(&mut self, reach: &mut Reach<'_>) -> Step<bool> {
        if self.command.writes.is_empty() {
            return Ok(!self.is_stale(reach));
        }
        let all = self.command.writes.len() as u64;
        let count = if reach.dice.below(4) == 0 {
            1 + reach.dice.below(all)
        } else {
            all
        };
        for _ in 0..count {
            if self.command.writes.is_empty() {
                break;
            }
            if !reach.target.run(&mut self.command, reach.dice) {
                self.command.writes.clear();
                if !self.collection.is_dead() {
                    return wrong(format!(
                        "a write to {}, which the target has no longer, or by another name",
                        self.collection.ns()
                    ));
                }
                break;
            }
        }
        self.term = reach.target.term;
        Ok(false)
    }

    /// As `Writer::run`: one whose shard did not know what it owns is sent again, though
    /// some of it took effect. Of an ordered one nothing has.
    fn is_stale(&mut self, reach: &mut Reach<'_>) -> bool {
        let may_be = !self.command.ordered && !self.command.at_once && !self.collection.is_dead();
        if !may_be || !reach.dice.one_in(RESENT) {
            return false;
        }
        reach.target.tally.resent += 1;
        self.command.writes.clone_from(&self.all);
        self.command.refused.clear();
        // What the first one removed the next does not find.
        self.command.must_find.clear();
        self.command.missed = 0;
        true
    }

    /// The document of its statement at `index`.
    pub(super) fn key(&self, index: usize) -> Key {
        self.all[index].key
    }

    /// What its reply is worth.
    pub(super) fn answered(&self, reach: &Reach<'_>) -> Step {
        let ours = reach.term;
        same_term(ours, self.term).map_err(|e| Halt::Attempt(e.message))
    }
}
