//! The newest blocks of a log in memory, so that a reader right behind needs
//! neither disk nor decompression. Bounded by payload bytes.
//!
//! Knows nothing about files.

use std::collections::VecDeque;
use std::sync::Arc;

use super::segment::Block;
use crate::position::Position;

/// Blocks without a gap up to the log's end.
#[derive(Debug)]
pub(super) struct Cache {
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
    bytes_max: usize,
    /// Everything above this is in here.
    after: Position,
}

impl Cache {
    /// For a log that ends at `after`.
    pub(super) fn new(bytes_max: usize, after: Position) -> Self {
        Cache {
            blocks: VecDeque::new(),
            bytes: 0,
            bytes_max,
            after,
        }
    }

    pub(super) fn push(&mut self, block: Arc<Block>) {
        self.bytes += block.payload.len();
        self.blocks.push_back(block);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.blocks.pop_front() else {
                break;
            };
            self.bytes -= oldest.payload.len();
            self.after = oldest.last.position;
        }
    }

    /// Whether everything above `after` is in the cache, even if that is nothing yet.
    pub(super) fn reaches(&self, after: Position) -> bool {
        self.after <= after
    }

    /// The block that holds the first entry above `after`.
    pub(super) fn first_above(&self, after: Position) -> Option<Arc<Block>> {
        let at = self
            .blocks
            .partition_point(|block| block.last.position <= after);
        self.blocks.get(at).cloned()
    }

    pub(super) fn clear(&mut self, after: Position) {
        *self = Cache::new(self.bytes_max, after);
    }
}
