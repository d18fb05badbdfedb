//! Where the parts of transactions begin that may have to be read again: a commit
//! whose ops are held or queued lies after the resume position, its parts may lie
//! before it, and the source may have rolled over by then.
//!
//! Pure. Transactions that are open pin nothing (R5): the source keeps what is theirs.

use std::collections::BTreeMap;

use crate::pair::position::Position;

#[derive(Debug, Default)]
pub struct Parts {
    /// First part by the position of the commit.
    first: BTreeMap<Position, Position>,
}

impl Parts {
    /// The transaction that takes effect at `commit` begins at `first`.
    pub fn met(&mut self, commit: Position, first: Position) {
        self.first.insert(commit, first);
    }

    /// Nothing below this is read again, once `recorded` is where a restart resumes.
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
        assert_eq!(parts.needed(at(7)), at(7), "all of it is after the resume position");
        assert_eq!(parts.needed(at(19)), at(9));
        assert_eq!(parts.needed(at(20)), at(20));
        assert_eq!(parts.needed(at(29)), at(25));
        assert_eq!(parts.needed(at(31)), at(31));
    }
}
