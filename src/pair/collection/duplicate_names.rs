//! Which documents of a collection were seen with a field name twice: those are
//! written one by one (`delicate`). There are hardly ever any.
//!
//! Knows nothing about how they are written.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use bson::RawDocument;
use parking_lot::Mutex;

use crate::bson::identity::IdKey;
use crate::bson::locate::{self, Look};
use crate::cluster::catalog::Namespace;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Default)]
pub struct DuplicateNames {
    seen: Mutex<HashSet<IdKey>>,
    any_seen: AtomicBool,
    /// An earlier incarnation saw such, nobody knows which: each may be one.
    before: AtomicBool,
    /// That there are some is in a capture.
    captured: AtomicBool,
}

impl DuplicateNames {
    /// Looks at a document of `ns`, and remembers it if a field name occurs twice in it.
    ///
    /// # Errors
    /// `Server` if it does and has no `_id`.
    pub fn note(&self, document: &RawDocument, ns: &Namespace) -> Result<Look> {
        let look = locate::look(document);
        if look.duplicate_names {
            let nameless = || {
                Error::new(
                    Kind::Server,
                    format!("a document of {ns} came without `_id`"),
                )
            };
            let id = locate::id_of(document).ok_or_else(nameless)?;
            self.remember(IdKey::new(id));
        }
        Ok(look)
    }

    /// A field name occurs twice in the document.
    pub fn remember(&self, id: IdKey) {
        self.seen.lock().insert(id);
        self.any_seen.store(true, SeqCst);
    }

    /// The document was seen with a field name twice, or may have been.
    pub fn may_be_in(&self, id: &IdKey) -> bool {
        self.before.load(Relaxed) || self.were_seen() && self.saw(id)
    }

    /// This incarnation saw some.
    pub fn were_seen(&self) -> bool {
        self.any_seen.load(Relaxed)
    }

    /// This incarnation saw the document with a field name twice.
    pub fn saw(&self, id: &IdKey) -> bool {
        self.seen.lock().contains(id)
    }

    /// The store already says that there are some.
    pub fn were_recorded(&self) {
        self.before.store(true, SeqCst);
        self.captured.store(true, SeqCst);
    }

    /// True once, after the first such document was seen, if that is not recorded yet.
    pub fn capture(&self) -> bool {
        self.any_seen.load(SeqCst) && !self.captured.swap(true, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawBsonRef, RawDocumentBuf, rawdoc};

    #[test]
    fn what_was_seen_is_captured_once_and_what_was_recorded_never() {
        let (one, two) = (
            IdKey::of(RawBsonRef::Int32(1)),
            IdKey::of(RawBsonRef::Int32(2)),
        );
        let twice =
            RawDocumentBuf::from_bytes(b"\x13\0\0\0\x10a\0\0\0\0\0\x10a\0\0\0\0\0\0".to_vec())
                .unwrap();
        let names = DuplicateNames::default();
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        names.note(&rawdoc! { "_id": 2, "a": 1 }, &ns).unwrap();
        assert!(!names.may_be_in(&two) && !names.capture());
        assert!(names.note(&twice, &ns).is_err(), "it has no `_id`");
        names.remember(one.clone());
        assert!(names.may_be_in(&one) && !names.may_be_in(&two));
        assert!(names.capture() && !names.capture());

        let recorded = DuplicateNames::default();
        recorded.were_recorded();
        recorded.remember(one);
        assert!(recorded.may_be_in(&two) && !recorded.capture());
        assert!(recorded.were_seen() && !recorded.saw(&two));
    }
}
