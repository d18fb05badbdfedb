//! The doubtful documents of one collection: those of which the target refused
//! a write (R3). Their ops are dropped until they are read again.
//!
//! Knows nothing about servers; `doubtful` reads them again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use parking_lot::Mutex;

use crate::bson::identity::IdKey;
use crate::position::Position;

#[derive(Debug)]
pub struct Doubts {
    documents: Mutex<Documents>,
    /// Oldest position in `documents`; `MAX` if there is none, so that in a run without
    /// refusals a look costs one load. Changed under the lock.
    oldest: AtomicU64,
}

#[derive(Debug, Default)]
struct Documents {
    /// Each with the position of its first refused op.
    refused: HashMap<IdKey, Position>,
    /// Collections of the pair that have any, this one included. None until the gate
    /// has the collection.
    doubting: Option<Arc<AtomicUsize>>,
}

impl Default for Doubts {
    fn default() -> Self {
        Doubts {
            documents: Mutex::default(),
            oldest: AtomicU64::new(Position::MAX.raw()),
        }
    }
}

impl Doubts {
    /// From now on `doubting` counts the collection while it has doubtful documents. Its
    /// gate must call this before it lets any op of the collection through.
    pub fn count_in(&self, doubting: &Arc<AtomicUsize>) {
        let mut documents = self.documents.lock();
        assert!(
            documents.doubting.is_none() && documents.refused.is_empty(),
            "a collection has one gate, from the first"
        );
        documents.doubting = Some(doubting.clone());
    }

    /// Makes the document doubtful: its op at `position` was refused.
    ///
    /// IMPORTANT: when this returns the collection is counted, even if others add to it
    /// at the same time, since counting happens under the lock. The op leaves its lane
    /// only afterwards, so whoever sees the lane without the op also sees the count.
    pub fn add(&self, id: &IdKey, position: Position) {
        let mut documents = self.documents.lock();
        let is_first = documents.refused.is_empty();
        let first = documents.refused.entry(id.clone()).or_insert(position);
        *first = position.min(*first);
        self.oldest.fetch_min(position.raw(), SeqCst);
        if is_first {
            documents.enter();
        }
    }

    pub fn contains(&self, id: &IdKey) -> bool {
        !self.is_empty() && self.documents.lock().refused.contains_key(id)
    }

    pub fn is_empty(&self) -> bool {
        self.oldest() == Position::MAX
    }

    pub fn len(&self) -> usize {
        self.documents.lock().refused.len()
    }

    /// Oldest position of a doubtful document; `MAX` if there is none.
    pub fn oldest(&self) -> Position {
        Position::from_raw(self.oldest.load(SeqCst))
    }

    pub fn ids(&self) -> Vec<IdKey> {
        self.documents.lock().refused.keys().cloned().collect()
    }

    /// These are on the target as they were on the source at one position.
    pub fn forget(&self, ids: &[IdKey]) {
        let mut documents = self.documents.lock();
        let were_some = !documents.refused.is_empty();
        for id in ids {
            documents.refused.remove(id);
        }
        let oldest = documents
            .refused
            .values()
            .min()
            .copied()
            .unwrap_or(Position::MAX);
        self.oldest.store(oldest.raw(), SeqCst);
        // Only where the last is gone: in between it must not look as if there were none.
        if were_some && documents.refused.is_empty() {
            documents.leave();
        }
    }
}

impl Documents {
    fn enter(&self) {
        if let Some(doubting) = &self.doubting {
            doubting.fetch_add(1, SeqCst);
        }
    }

    fn leave(&self) {
        if let Some(doubting) = &self.doubting {
            doubting.fetch_sub(1, SeqCst);
        }
    }
}

/// A collection that is gone is counted no more.
impl Drop for Documents {
    fn drop(&mut self) {
        if !self.refused.is_empty() {
            self.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::RawBsonRef::{Double, Int32};

    #[test]
    fn the_oldest_refused_position_stands_until_its_document_is_forgotten() {
        let doubts = Doubts::default();
        let at = Position::from_raw;
        let [one, two] = [1, 2].map(|id| IdKey::of(Int32(id)));
        doubts.add(&one, at(7));
        doubts.add(&two, at(5));
        doubts.add(&IdKey::of(Double(1.0)), at(9));
        assert_eq!((doubts.len(), doubts.oldest()), (2, at(5)));
        assert!(doubts.contains(&IdKey::of(Double(2.0))) && !doubts.contains(&IdKey::of(Int32(3))));
        doubts.forget(&[two]);
        assert_eq!(doubts.oldest(), at(7));
        doubts.forget(&[one]);
        assert!(doubts.is_empty());
    }

    #[test]
    fn a_collection_is_counted_from_its_first_doubt_until_its_last_is_gone() {
        let count = Arc::<AtomicUsize>::default();
        let [a, b] = [(); 2].map(|()| {
            let doubts = Doubts::default();
            doubts.count_in(&count);
            doubts
        });
        let [one, two] = [1, 2].map(|id| IdKey::of(Int32(id)));
        let counted = || count.load(SeqCst);
        a.forget(std::slice::from_ref(&one));
        assert_eq!(counted(), 0);
        a.add(&one, Position::from_raw(7));
        a.add(&one, Position::from_raw(8));
        a.add(&two, Position::from_raw(5));
        b.add(&two, Position::from_raw(5));
        assert_eq!(counted(), 2);
        a.forget(std::slice::from_ref(&two));
        a.forget(std::slice::from_ref(&two));
        assert_eq!(counted(), 2, "one of its two is doubtful still");
        a.forget(&[one, two]);
        assert_eq!(counted(), 1);
        drop(b);
        assert_eq!(counted(), 0);
    }
}
