//! The rolling hold of a collection that is copied in the order of the disk (R2): an op waits
//! only for the reads that may not show it, and whose documents are not all written yet.
//!
//! Pure. Knows nothing about documents, nor about what orders them.

use std::collections::BTreeMap;

use crate::pair::gate::held::Held;
use crate::pair::op::Op;
use crate::position::Position;

/// A read of the source: a `find`, or a `getMore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Read {
    number: u64,
    /// Newest entry of which any op was classified as it was begun: the server has reached it
    /// before it is asked.
    pub at: Position,
    /// All of its documents show what is at or before it, and every op at or before it was
    /// classified as it was begun.
    pub shows: Position,
}

impl Read {
    #[cfg(test)]
    pub(in crate::pair) fn numbered(number: u64) -> Read {
        Read {
            number,
            ..Read::default()
        }
    }

    /// That of its documents, as if ops had written them: above all that they surely show, and
    /// no later than any op that waits for the read.
    pub fn position(&self) -> Position {
        self.shows.next()
    }
}

/// Reads that are begun and not written yet, and the ops that wait for them.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    begun: u64,
    /// By number, what each shows.
    open: BTreeMap<u64, Position>,
    pub(super) held: Held,
}

impl Rolling {
    /// `at`: the newest entry of which any op was classified; `passed`: the newest of which all
    /// were. `before`: the read of the same cursor before this one, which must not have ended
    /// yet.
    ///
    /// IMPORTANT: ops of an entry that is half classified wait with the rest of it, though the
    /// read shows them: a lane must not come to a document beside the scan (`write::delicate`).
    ///
    /// IMPORTANT: a server may give the last document it read with the next reply, where it
    /// did not fit into this one. So all of a reply may only show what the read before it was
    /// begun at.
    pub(super) fn begin(&mut self, at: Position, passed: Position, before: Option<&Read>) -> Read {
        debug_assert!(
            before.is_none_or(|before| self.open.contains_key(&before.number)),
            "ops that wait for this read would have passed"
        );
        self.begun += 1;
        let shows = before.map_or(at, |before| before.at);
        let is_whole = shows <= passed;
        let read = Read {
            number: self.begun,
            at,
            shows: if is_whole { shows } else { shows.before() },
        };
        self.open.insert(read.number, read.shows);
        read
    }

    /// All documents of these reads are written. Returns the ops that wait no longer.
    pub(super) fn end(&mut self, reads: &[Read]) -> Vec<Op> {
        for read in reads {
            self.open.remove(&read.number);
        }
        self.held.take_up_to(self.shown())
    }

    /// An op at `position` waits: a document that is still to be written may not show it.
    pub(super) fn holds(&self, position: Position) -> bool {
        self.shown() < position
    }

    /// A position below every op that waits, and shown by every read under way: a document of
    /// one may be refused yet, and is doubtful from there on.
    pub(super) fn below(&self) -> Position {
        self.held.below().min(self.shown())
    }

    /// What the oldest read under way shows.
    pub(super) fn oldest(&self) -> Option<Position> {
        self.open.first_key_value().map(|(_, shows)| *shows)
    }

    /// No read is under way.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// All reads under way show it: the oldest of them shows least.
    fn shown(&self) -> Position {
        self.oldest().unwrap_or(Position::MAX)
    }
}
