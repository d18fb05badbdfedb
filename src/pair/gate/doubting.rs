//! Finds the collections that have doubtful documents. There are mostly none, and a count
//! says so: that saves a walk over all collections at each look at the watermark.
//!
//! Knows nothing about why a document is doubtful (`doubts`).

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::pair::collection::Tracked;
use crate::pair::gate::Gate;

impl Gate {
    /// The collections that have doubtful documents.
    pub fn doubtful(&self) -> Vec<Arc<Tracked>> {
        self.doubting()
            .filter(|tracked| tracked.is_doubtful())
            .cloned()
            .collect()
    }

    /// Every collection if some have doubtful documents when this is called; else none.
    pub(super) fn doubting(&self) -> impl Iterator<Item = &Arc<Tracked>> {
        let are_some = 0 < self.doubting.load(SeqCst);
        self.collections
            .values()
            .filter(move |_| are_some)
            .map(|collection| &collection.tracked)
    }
}
