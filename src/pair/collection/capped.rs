//! What is known in an attempt of the target's collection, if it is capped, by what ops that
//! come again find there (`write::in_order`).

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

#[derive(Debug, Default)]
pub struct Capped {
    /// The last insert made a document.
    pub inserts_make: AtomicBool,
    /// It is to be emptied, and copied anew.
    given_up: AtomicBool,
}

impl Capped {
    /// Nothing more is written to it. Whoever calls this makes a document of it doubtful, so
    /// that nothing of it counts as applied.
    pub fn give_up(&self) {
        self.given_up.store(true, SeqCst);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(SeqCst)
    }
}
