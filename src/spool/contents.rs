//! The contents of a log as its readers see them: its segments, the newest blocks in
//! memory, where it begins and ends. Pure: says where a block is, and reads none.
//!
//! Knows nothing about open files.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::Cache;
use super::segment::{Block, Label};
use crate::error::{Error, Result};
use crate::position::{Mark, Position};

/// A segment with at least one block.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Last position before its first block.
    pub(super) follows: Position,
    pub(super) first: Mark,
    pub(super) last: Mark,
    pub(super) bytes: u64,
}

impl Segment {
    /// One that begins with the block of this label.
    pub(super) fn new(number: u64, path: PathBuf, label: &Label) -> Self {
        Segment {
            number,
            path,
            follows: label.follows,
            first: label.first,
            last: label.last,
            bytes: 0,
        }
    }
}

/// Where a reader finds its next block.
#[derive(Debug)]
pub(super) enum Place {
    Memory(Arc<Block>),
    /// In this segment, and not in memory.
    Disk {
        number: u64,
        path: PathBuf,
    },
    /// Not appended yet.
    Nowhere,
}

#[derive(Debug)]
pub(super) struct Contents {
    /// Grows at each reset: an older reader must not go on in other contents.
    pub(super) generation: u64,
    segments: VecDeque<Segment>,
    cache: Cache,
    /// Position all blocks are above; zero if nothing is known to lie below.
    begin: Position,
    /// Last position ever appended; zero in an empty log.
    end: Position,
}

impl Contents {
    pub(super) fn new(segments: Vec<Segment>, cache_bytes: usize) -> Self {
        let begin = segments
            .first()
            .map_or(Position::default(), |oldest| oldest.follows);
        let end = segments
            .last()
            .map_or(Position::default(), |newest| newest.last.position);
        Contents {
            generation: 0,
            segments: segments.into(),
            cache: Cache::new(cache_bytes, end),
            begin,
            end,
        }
    }

    pub(super) fn range(&self) -> Option<(Mark, Mark)> {
        Some((self.segments.front()?.first, self.segments.back()?.last))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// True if every entry above `position` that the log's end knows of is
    /// here. The end itself is covered: nothing is missing above it.
    pub(super) fn covers(&self, position: Position) -> bool {
        let Some((first, last)) = self.range() else {
            return false;
        };
        let begun = first.position <= position
            || (Position::default() < self.begin && self.begin <= position);
        begun && position <= last.position
    }

    /// A block was written; `end` is where it ends in its segment. Returns the
    /// bytes the log grew by.
    pub(super) fn push(
        &mut self,
        number: u64,
        path: PathBuf,
        label: &Label,
        end: u64,
        block: Arc<Block>,
    ) -> u64 {
        if self
            .segments
            .back()
            .is_none_or(|newest| newest.number != number)
        {
            self.segments.push_back(Segment::new(number, path, label));
        }
        let newest = self
            .segments
            .back_mut()
            .expect("it was pushed if there was none");
        let grown = end - newest.bytes;
        (newest.last, newest.bytes) = (label.last, end);
        self.end = label.last.position;
        self.cache.push(block);
        grown
    }

    /// Where the block with the first entry above `after` is.
    pub(super) fn place(&self, after: Position, generation: u64) -> Result<Place> {
        if generation != self.generation || after < self.begin {
            let found = format!(
                "the spool was asked for entries above {after}, it begins above {}",
                self.begin
            );
            return Err(Error::internal(found));
        }
        if self.cache.reaches(after) {
            return Ok(self
                .cache
                .first_above(after)
                .map_or(Place::Nowhere, Place::Memory));
        }
        let segment = self
            .segments
            .iter()
            .find(|segment| after < segment.last.position);
        let segment = segment.expect("what is above a position and not in memory is in a segment");
        Ok(Place::Disk {
            number: segment.number,
            path: segment.path.clone(),
        })
    }

    /// The oldest segment, if all its entries are below `below`. Never the
    /// newest: it is the one that is written.
    pub(super) fn oldest_below(&self, below: Position) -> Option<&Segment> {
        self.segments
            .front()
            .filter(|oldest| 1 < self.segments.len() && oldest.last.position < below)
    }

    pub(super) fn oldest(&self) -> Option<&Segment> {
        self.segments.front()
    }

    /// The oldest segment is gone from the disk. Returns its bytes.
    pub(super) fn pop_oldest(&mut self) -> u64 {
        let Some(oldest) = self.segments.pop_front() else {
            return 0;
        };
        self.begin = oldest.last.position;
        oldest.bytes
    }

    /// All segments are gone: the next block may begin anywhere.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        (self.begin, self.end) = (Position::default(), Position::default());
        self.cache.clear(self.end);
        self.generation += 1;
    }
}
