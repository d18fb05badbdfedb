//! Ops that wait, in the order in which they must be applied: in memory, or left to the
//! spool, which has them anyway and from which they are read again.
//!
//! Ops left to the spool form a stretch of whole entries, older than every op in memory.
//! While it is open, newer ops are left to it too. Once it is closed, so that a reader
//! can reach its end, newer ops are kept in memory again.

use crate::pair::op::Op;
use crate::position::Position;

#[derive(Debug)]
pub struct Held {
    ops: Vec<Op>,
    /// Bytes granted for the ops.
    bytes: u64,
    /// Oldest position in `ops`.
    oldest: Position,
    left: Option<Stretch>,
}

/// Entries of the spool, after one and up to and with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub after: Position,
    /// `MAX` while it is open.
    pub to: Position,
}

fn bytes_of(op: &Op) -> u64 {
    op.permit.as_ref().map_or(0, |permit| permit.bytes() as u64)
}

impl Default for Held {
    fn default() -> Self {
        Held {
            ops: Vec::new(),
            bytes: 0,
            oldest: Position::MAX,
            left: None,
        }
    }
}

impl Held {
    pub fn push(&mut self, op: Op) {
        debug_assert!(
            self.left.is_none_or(|left| left.to < op.position),
            "what is left to the spool is older"
        );
        self.oldest = self.oldest.min(op.position);
        self.bytes += bytes_of(&op);
        self.ops.push(op);
    }

    /// An op that comes now is left to the spool.
    pub fn is_open(&self) -> bool {
        self.left.is_some_and(|left| left.to == Position::MAX)
    }

    /// Forgets what memory holds. Returns how many ops the spool is left with.
    pub fn leave(&mut self) -> u64 {
        if self.ops.is_empty() {
            return 0;
        }
        self.leave_from(self.oldest)
    }

    /// Like `leave`, and from `position` on nothing more is kept in memory.
    pub fn leave_from(&mut self, position: Position) -> u64 {
        let left = Stretch {
            after: self.oldest.min(position).before(),
            to: Position::MAX,
        };
        // An older stretch goes on: no op of this place lies between the two.
        self.left = Some(self.left.map_or(left, |older| Stretch {
            to: left.to,
            ..older
        }));
        (self.bytes, self.oldest) = (0, Position::MAX);
        std::mem::take(&mut self.ops).len() as u64
    }

    /// The stretch that must be read before `take`, if any. An open one is closed
    /// at `passed`: the tail must be between two entries.
    pub fn to_read(&mut self, passed: Position) -> Option<Stretch> {
        if let Some(left) = self.left.as_mut().filter(|left| left.to == Position::MAX) {
            left.to = passed;
        }
        self.left
    }

    /// Ops in entries up to and including `position` were read back.
    pub fn read(&mut self, position: Position) {
        self.left = self
            .left
            .map(|left| Stretch {
                after: position,
                ..left
            })
            .filter(|left| left.after < left.to);
    }

    /// Takes the ops in memory.
    pub fn take(&mut self) -> Vec<Op> {
        assert!(self.left.is_none(), "what is left to the spool goes first");
        std::mem::take(self).ops
    }

    /// Takes the ops in memory at or before `position`; they come in order.
    pub fn take_up_to(&mut self, position: Position) -> Vec<Op> {
        debug_assert!(self.left.is_none(), "what is left to the spool goes first");
        let taken = self.ops.partition_point(|op| op.position <= position);
        let rest = self.ops.split_off(taken);
        let taken = std::mem::replace(&mut self.ops, rest);
        self.bytes -= taken.iter().map(bytes_of).sum::<u64>();
        self.oldest = self.ops.first().map_or(Position::MAX, |op| op.position);
        taken
    }

    /// A position below every op that waits; `MAX` if there is none.
    pub fn below(&self) -> Position {
        let kept = if self.ops.is_empty() {
            Position::MAX
        } else {
            self.oldest.before()
        };
        self.left.map_or(kept, |left| left.after)
    }

    /// Ops in memory.
    pub fn count(&self) -> usize {
        self.ops.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
