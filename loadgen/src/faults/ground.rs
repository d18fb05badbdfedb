//! Which members are in the hands of a fault, or have not come back from one,
//! and so which others may be hit.
//!
//! Knows nothing about servers; decides on numbers.

use crate::faults::plan::Side;

/// One member: side, set, index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) side: Side,
    pub(super) set: usize,
    pub(super) index: usize,
}

/// Members with a fault on them, and whether that takes them from their set.
#[derive(Debug, Default)]
pub(super) struct Ground(Vec<(Member, bool)>);

impl Ground {
    /// True if `member`, of a set of `members`, may be hit: nothing else is on
    /// it, and its set keeps a majority.
    pub(super) fn allows(&self, member: Member, members: usize, down: bool) -> bool {
        if self.0.iter().any(|(hit, _)| *hit == member) {
            return false;
        }
        let same_set = |hit: &Member| (hit.side, hit.set) == (member.side, member.set);
        let down_now = self
            .0
            .iter()
            .filter(|(hit, down)| *down && same_set(hit))
            .count();
        !down || down_now < members.saturating_sub(1) / 2
    }

    pub(super) fn hit(&mut self, member: Member, down: bool) {
        self.0.push((member, down));
    }

    pub(super) fn release(&mut self, member: Member) {
        self.0.retain(|(hit, _)| *hit != member);
    }

    /// Faults in force or not recovered from.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_its_majority() {
        let member = |set, index| Member {
            side: Side::Source,
            set,
            index,
        };
        let mut ground = Ground::default();
        assert!(!ground.allows(member(0, 0), 1, true) && ground.allows(member(0, 0), 1, false));
        assert!(ground.allows(member(0, 0), 3, true));
        ground.hit(member(0, 0), true);
        assert!(!ground.allows(member(0, 1), 3, true) && ground.allows(member(0, 1), 5, true));
        assert!(ground.allows(member(0, 1), 3, false) && ground.allows(member(1, 0), 3, true));
        assert!(!ground.allows(member(0, 0), 3, false));
        ground.release(member(0, 0));
        assert!(ground.allows(member(0, 1), 3, true) && ground.len() == 0);
    }
}
