//! Ops on their way through a lane, in the order in which they must be applied.
//!
//! Kept in pieces: a single list would be moved each time it grows, into memory that is
//! fresh each time (benches/log.md).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::pair::collection::Tracked;
use crate::pair::op::Op;

/// An op on its way through a lane.
#[derive(Debug)]
pub struct Queued {
    pub op: Op,
    pub collection: Arc<Tracked>,
}

#[derive(Debug, Default)]
pub struct Queue {
    /// None is empty.
    pieces: VecDeque<VecDeque<Queued>>,
}

/// Ops in a piece: some 40 KB, which the allocator has at hand.
const PIECE: usize = 256;

impl Queue {
    pub fn push(&mut self, queued: Queued) {
        match self.pieces.back_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push_back(queued),
            None => {
                let mut piece = VecDeque::with_capacity(PIECE);
                piece.push_back(queued);
                self.pieces.push_back(piece);
            }
        }
    }

    pub fn peek(&self) -> Option<&Queued> {
        self.pieces.front()?.front()
    }

    pub fn pop(&mut self) -> Option<Queued> {
        let piece = self.pieces.front_mut()?;
        let first = piece.pop_front();
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        first
    }

    pub fn len(&self) -> usize {
        self.pieces.iter().map(VecDeque::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.pieces.iter().flatten()
    }
}

impl FromIterator<Queued> for Queue {
    fn from_iter<T: IntoIterator<Item = Queued>>(all: T) -> Self {
        let mut queue = Queue::default();
        all.into_iter().for_each(|queued| queue.push(queued));
        queue
    }
}
