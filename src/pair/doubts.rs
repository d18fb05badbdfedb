//! The doubtful documents of one collection: those of which the target refused
//! a write (R3). Their ops are dropped until they are read again.
//!
//! Knows nothing about servers; `doubtful` reads them again.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use parking_lot::Mutex;

use crate::bson::identity::IdKey;
use crate::pair::position::Position;

#[derive(Debug)]
pub struct Doubts {
    /// Each with the position of its first refused op.
    documents: Mutex<HashMap<IdKey, Position>>,
    /// Oldest of those positions; `MAX` if there is none, which is what a look
    /// costs in a run without refusals. Changed under the lock.
    oldest: AtomicU64,
}

impl Default for Doubts {
    fn default() -> Self {
        Doubts { documents: Mutex::default(), oldest: AtomicU64::new(Position::MAX.raw()) }
    }
}

impl Doubts {
    /// The op at `position` on this document was refused.
    pub fn add(&self, id: &IdKey, position: Position) {
        let mut documents = self.documents.lock();
        let first = documents.entry(id.clone()).or_insert(position);
        *first = position.min(*first);
        self.oldest.fetch_min(position.raw(), SeqCst);
    }

    pub fn contains(&self, id: &IdKey) -> bool {
        !self.is_empty() && self.documents.lock().contains_key(id)
    }

    pub fn is_empty(&self) -> bool {
        self.oldest() == Position::MAX
    }

    pub fn len(&self) -> usize {
        self.documents.lock().len()
    }

    /// `MAX` if there is none.
    pub fn oldest(&self) -> Position {
        Position::from_raw(self.oldest.load(SeqCst))
    }

    pub fn ids(&self) -> Vec<IdKey> {
        self.documents.lock().keys().cloned().collect()
    }

    /// These are on the target as they were on the source at one position.
    pub fn forget(&self, ids: &[IdKey]) {
        let mut documents = self.documents.lock();
        for id in ids {
            documents.remove(id);
        }
        let oldest = documents.values().min().copied().unwrap_or(Position::MAX);
        self.oldest.store(oldest.raw(), SeqCst);
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
}
