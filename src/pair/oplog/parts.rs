//! Where the transactions begin whose parts may have to be read again. If the ops of a
//! commit are held or queued, the commit is after the resume position. Its parts may be
//! before that, and the source may have rolled over by then.
//!
//! Pure. Open transactions pin nothing (R5): the source keeps their entries until they
//! end.

use std::collections::BTreeMap;

use crate::position::Position;

#[derive(Debug, Default)]
pub struct Parts {
    /// First part by the position of the commit. Bounded: two neighbours are one when
    /// there are `COMMITS_MAX`, which keeps more than is needed.
    first: BTreeMap<Position, Position>,
}

const COMMITS_MAX: usize = 4_096;

impl Parts {
    /// The transaction that takes effect at `commit` begins at `part`, or before it.
    pub fn met(&mut self, commit: Position, part: Position) {
        self.first
            .entry(commit)
            .and_modify(|first| *first = part.min(*first))
            .or_insert(part);
        if COMMITS_MAX < self.first.len() {
            let all: Vec<_> = std::mem::take(&mut self.first).into_iter().collect();
            let joined = |two: &[(Position, Position)]| {
                let first = two.iter().map(|(_, first)| *first).min();
                two.last().map(|(commit, _)| *commit).zip(first)
            };
            self.first = all.chunks(2).filter_map(joined).collect();
        }
    }

    /// Position from which entries are still needed, if a restart would resume at
    /// `recorded`.
    pub fn needed(&mut self, recorded: Position) -> Position {
        self.first.retain(|commit, _| recorded < *commit);
        self.first.values().copied().fold(recorded, Position::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_needed_until_their_commit_is_passed() {
        let at = Position::from_raw;
        let mut parts = Parts::default();
        assert_eq!(parts.needed(at(5)), at(5));
        parts.met(at(20), at(9));
        parts.met(at(30), at(25));
        assert_eq!(
            parts.needed(at(7)),
            at(7),
            "all of it is after the resume position"
        );
        assert_eq!(parts.needed(at(19)), at(9));
        assert_eq!(parts.needed(at(20)), at(20));
        assert_eq!(parts.needed(at(29)), at(25));
        assert_eq!(parts.needed(at(31)), at(31));
    }

    #[test]
    fn many_commits_are_joined_and_none_loses_its_parts() {
        let at = Position::from_raw;
        let mut parts = Parts::default();
        let commits = 3 * COMMITS_MAX as u64;
        // Each begins 5 before its commit; met from the last part back.
        for commit in (10..10 + 10 * commits).step_by(10) {
            parts.met(at(commit), at(commit - 1));
            parts.met(at(commit), at(commit - 5));
        }
        assert!(parts.first.len() <= COMMITS_MAX);
        for recorded in [0, 7, 10, 12, 5_000, 10 * commits - 1] {
            let commit = (recorded / 10 + 1) * 10;
            assert!(
                parts.needed(at(recorded)) <= at(recorded.min(commit - 5)),
                "{recorded}"
            );
        }
        assert_eq!(parts.needed(at(10 * commits)), at(10 * commits));
    }
}
