//! Verification ahead of the cutover, while the source still writes. The cutover then has
//! to compare only what was touched since, however much data there is.
//!
//! **Protocol**, for a range of a copied collection, or for single documents of it:
//! 1. The gate keeps the `_id` of every document it lets an op through to, each with
//!    the position of its last op ([`crate::pair::gate::touched`]); since before
//! 2. a position P is read under the gate's lock, at or above everything that was
//!    decided on, and all that the collection's documents may show.
//! 3. The watermark reaches P: all up to P is applied and acknowledged.
//! 4. Both sides are read at majority: the source after P, the target after a time
//!    taken now.
//! 5. Documents that differ are put to the touched ones; then the range is verified. Of
//!    single documents that are equal, those leave whose last op is at or below P.
//!
//! **Proof.** At the cutover everything is applied and nobody writes. Take a document of
//! a verified range that is not among the touched ones. It had no op after the P of its
//! last comparison: such an op is kept until a comparison with a greater P. So on the
//! source it is what it was at P, and the source was read after P. On the target,
//! whatever wrote it was acknowledged when the comparison began (3), and read (4): it was
//! read as it is now. The two were equal, or it would be touched (5). What was read at
//! majority is not rolled back. Another term of the target ends the attempt, which the
//! cutover makes sure of before it believes any of this (`Pair::record_all`).
//!
//! The proof rests on nobody else writing to the target. Such a write is found if it came
//! before its range was compared, or to a document that is compared again. `verify =
//! full` reads everything inside the cutover.
//!
//! All of it is in memory and belongs to one attempt; the next one starts over. A
//! collection is known by its source UUID, and the gate forgets one that is dropped; so a
//! recreated namesake is unverified.
//!
//! Reads and decides nothing itself: [`sweeper`] fills it, the cutover takes it.

mod books;
pub mod sweeper;
mod touched;

use std::collections::HashMap;
use std::sync::Arc;

use bson::Uuid;
use parking_lot::Mutex;

use crate::pair::run::Pair;
use crate::position::Position;
use crate::verify::range::Range;
use crate::verify::sweep::Swept;
use crate::verify::{self, Verified};

/// A collection on one pair: source shard and source UUID.
type Key = (usize, Uuid);

#[derive(Debug, Default)]
pub struct Ahead {
    parts: Mutex<HashMap<Key, Coverage>>,
}

#[derive(Debug)]
struct Coverage {
    /// The round that the gate gave. Once that is over, nothing here is valid.
    round: u64,
    /// Together they hold every `_id`.
    ranges: Vec<Covered>,
}

#[derive(Debug)]
struct Covered {
    range: Range,
    /// Documents and bytes, as counted when it was verified.
    verified: Option<(u64, u64)>,
}

impl Ahead {
    /// Everything that a comparison need not read again. A collection with nothing
    /// verified is left out.
    pub fn so_far(&self, pairs: &[Arc<Pair>]) -> Verified {
        // IMPORTANT: first what is verified, then what was touched: a range turns
        // verified when what differed in it is among the touched ones.
        let covered: Vec<_> = self
            .parts
            .lock()
            .iter()
            .filter_map(|(key, c)| Some((*key, c.round, c.ahead()?)))
            .collect();
        let with_touched = covered
            .into_iter()
            .filter_map(|((shard, uuid), round, ahead)| {
                let touched = |pair: &Arc<Pair>| {
                    pair.with_gate(|gate| gate.touched_of(&uuid, round, Position::MAX, usize::MAX))
                };
                let touched = pairs.get(shard).and_then(touched)?;
                Some(((shard, uuid), verify::VerifiedPart { touched, ..ahead }))
            });
        with_touched.collect()
    }

    /// A round has begun; nothing of the part is verified.
    fn begin(&self, key: Key, round: u64, ranges: Vec<Range>) {
        let ranges = ranges
            .into_iter()
            .map(|range| Covered {
                range,
                verified: None,
            })
            .collect();
        self.parts.lock().insert(key, Coverage { round, ranges });
    }

    fn round(&self, key: &Key) -> Option<u64> {
        self.parts.lock().get(key).map(|coverage| coverage.round)
    }

    /// The first range that is not verified: its round and index.
    fn first_open(&self, key: &Key) -> Option<(u64, usize, Range)> {
        let parts = self.parts.lock();
        let coverage = parts.get(key)?;
        let index = coverage
            .ranges
            .iter()
            .position(|covered| covered.verified.is_none())?;
        Some((coverage.round, index, coverage.ranges[index].range.clone()))
    }

    /// Marks a range as verified. What differed in it must be among the touched documents
    /// already.
    fn verified(&self, key: &Key, round: u64, index: usize, swept: &Swept) {
        let mut parts = self.parts.lock();
        if let Some(coverage) = parts
            .get_mut(key)
            .filter(|coverage| coverage.round == round)
        {
            coverage.ranges[index].verified = Some((swept.documents, swept.bytes));
        }
    }

    /// Lets go of the parts whose round is over; returns them.
    fn let_go(&self, is_on: impl Fn(&Key, u64) -> bool) -> Vec<Key> {
        let mut parts = self.parts.lock();
        let over: Vec<Key> = parts
            .iter()
            .filter(|(key, c)| !is_on(key, c.round))
            .map(|(key, _)| *key)
            .collect();
        over.iter().for_each(|key| drop(parts.remove(key)));
        over
    }

    /// Every range of it is verified.
    fn is_covered(&self, key: &Key) -> bool {
        let parts = self.parts.lock();
        parts.get(key).is_some_and(|coverage| {
            coverage
                .ranges
                .iter()
                .all(|covered| covered.verified.is_some())
        })
    }

    /// Documents in verified ranges of a pair.
    fn documents(&self, shard: usize) -> u64 {
        let parts = self.parts.lock();
        let of_pair = parts.iter().filter(|((of, _), _)| *of == shard);
        of_pair
            .filter_map(|(_, coverage)| coverage.ahead())
            .map(|ahead| ahead.documents)
            .sum()
    }
}

impl Coverage {
    /// What is verified ahead, with `touched` left empty. None if nothing is verified.
    fn ahead(&self) -> Option<verify::VerifiedPart> {
        let mut ahead = verify::VerifiedPart::default();
        for covered in &self.ranges {
            match covered.verified {
                Some((documents, bytes)) => {
                    ahead.documents += documents;
                    ahead.bytes += bytes;
                }
                None => ahead.open.push(covered.range.clone()),
            }
        }
        (ahead.open.len() < self.ranges.len()).then_some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (0, Uuid::from_bytes([1; 16]));

    fn range(batch_documents: u32) -> Range {
        Range {
            min: None,
            max: None,
            batch_documents,
        }
    }

    fn swept(documents: u64) -> Swept {
        Swept {
            documents,
            bytes: 10 * documents,
            ..Swept::default()
        }
    }

    #[test]
    fn ranges_are_verified_one_by_one_and_the_rest_is_left_open() {
        let ahead = Ahead::default();
        ahead.begin(KEY, 7, vec![range(1), range(2)]);
        let known = |ahead: &Ahead| ahead.parts.lock()[&KEY].ahead();
        assert!(known(&ahead).is_none() && !ahead.is_covered(&KEY));
        let (round, index, open) = ahead.first_open(&KEY).unwrap();
        assert_eq!((round, index, open.batch_documents), (7, 0, 1));
        ahead.verified(&KEY, round, index, &swept(3));
        let half = known(&ahead).unwrap();
        assert_eq!((half.documents, half.bytes, half.open.len()), (3, 30, 1));
        ahead.verified(&KEY, 7, 1, &swept(4));
        assert!(ahead.is_covered(&KEY) && ahead.first_open(&KEY).is_none());
        assert_eq!((ahead.documents(0), ahead.documents(1)), (7, 0));
    }

    #[test]
    fn a_round_that_is_over_verifies_nothing() {
        let ahead = Ahead::default();
        ahead.begin(KEY, 7, vec![range(1)]);
        ahead.begin(KEY, 8, vec![range(1)]);
        ahead.verified(&KEY, 7, 0, &swept(3));
        assert!(!ahead.is_covered(&KEY));
        assert_eq!(ahead.let_go(|_, round| round == 8), []);
        assert_eq!(ahead.let_go(|_, round| round == 7), [KEY]);
        assert!(ahead.round(&KEY).is_none() && !ahead.is_covered(&KEY));
    }
}
