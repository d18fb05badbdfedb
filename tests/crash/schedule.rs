//! How each life of an engine is to end: a list for each migration, in the order
//! in which a run passes the failpoints.
//!
//! Knows nothing about processes.

use std::time::Duration;

use loadgen::layout::dice::Dice;
use shardlift::failpoint;

use crate::moves::Side;

/// Places a migration comes to only where the source rolled over, by another command, or
/// where the load changes no options: tests of their own visit them (`tests/resume.rs`,
/// `tests/anew.rs`, `tests/anew/whole.rs`, `tests/ddl_changes.rs`).
const ELSEWHERE: [&str; 17] = [
    "units-marked",
    "unit-emptied",
    "units-waiting",
    "anew-marked",
    "anew-emptied",
    "anew-listed",
    "whole-marked",
    "whole-dropped",
    "whole-made",
    "whole-recorded",
    "renamed",
    "rename-recorded",
    "modified",
    "views-followed",
    "reverse-planned",
    "reverse-begun",
    "reverse-held",
];
/// Of the list of failpoints, a migration visits one in so many.
const STRIDE: usize = 3;
/// After so many failpoints a kill at a random moment.
const FAILPOINTS_PER_RANDOM: usize = 3;
/// Places that a migration comes to once it is bound to end well.
const BEYOND_RETURN: [&str; 4] = [
    "cutover-finishing",
    "cutover-expiries",
    "cutover-balancers",
    "cutover-removed",
];
/// Migrations in which a chunk is moved, one on each side.
const MOVES_MAX: usize = 4;
const RANDOM_MS_MAX: u64 = 2_500;

/// What ends a life of the engine.
#[derive(Debug, Clone)]
pub(crate) enum Blow {
    /// Nothing: it is to come to its end.
    None,
    Failpoint {
        name: &'static str,
        /// The n-th time it is reached.
        n: u64,
    },
    Random {
        after: Duration,
    },
    /// Somebody moves a chunk: it is to stop, or to call every cutover off.
    Move {
        side: Side,
        /// Counts on over all migrations.
        number: usize,
    },
}

impl Blow {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Blow::None => "none",
            Blow::Failpoint { name, .. } => name,
            Blow::Random { .. } => "random",
            Blow::Move { .. } => "a moved chunk",
        }
    }

    /// True if it can only come, or nothing is left to wait for, in a cutover.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Blow::None | Blow::Move { .. }) || self.name().starts_with("cutover")
    }
}

/// The blows of one migration after the other, until the kills are spent.
pub(crate) struct Schedule {
    /// 0 or 1: two schedules side by side visit different failpoints first.
    offset: usize,
    round: usize,
    kills_left: usize,
    /// Whether chunks are moved too: where there are some.
    sharded: bool,
}

impl Schedule {
    pub(crate) fn new(offset: usize, kills: usize, sharded: bool) -> Schedule {
        Schedule {
            offset,
            round: 0,
            kills_left: kills,
            sharded,
        }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }
}

impl Iterator for Schedule {
    type Item = Vec<Blow>;

    fn next(&mut self) -> Option<Vec<Blow>> {
        if self.kills_left == 0 {
            return None;
        }
        let mut dice = Dice::new(&[self.offset as u64, self.round as u64, 0xC4A5]);
        let first = (self.offset + self.round) % STRIDE;
        let mut blows = Vec::new();
        let names = failpoint::NAMES
            .iter()
            .filter(|name| !ELSEWHERE.contains(name));
        for (index, name) in names.skip(first).step_by(STRIDE).enumerate() {
            if index % FAILPOINTS_PER_RANDOM == 1 && !name.starts_with("cutover") {
                let after = Duration::from_millis(dice.below(RANDOM_MS_MAX));
                blows.push(Blow::Random { after });
            }
            let again = name.starts_with("unit")
                || name.starts_with("checkpoint")
                || name.starts_with("flush");
            blows.push(Blow::Failpoint {
                name,
                n: 1 + if again { dice.below(4) } else { 0 },
            });
        }
        blows.truncate(self.kills_left);
        self.kills_left -= blows.len();
        // As late as may be: what was copied until then is begun anew. After a crash beyond the
        // point of no return nothing waits for a move any more.
        if self.sharded && self.round < MOVES_MAX {
            let is_beyond = |blow: &Blow| BEYOND_RETURN.contains(&blow.name());
            let last = blows.iter().position(is_beyond).unwrap_or(blows.len());
            let moves = [Side::Target, Side::Source].into_iter().enumerate();
            let moves = moves.map(|(i, side)| Blow::Move {
                side,
                number: 2 * self.round + i,
            });
            blows.splice(last..last, moves);
        }
        self.round += 1;
        Some(blows)
    }
}
