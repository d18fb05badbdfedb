//! A run: a bucket of a scan in the order of the disk, sorted by `_id`.
//!
//! Talks to no server.

use bytes::Bytes;

use crate::bson::identity::IdKey;
use crate::bson::view::View;
use crate::bson::{locate, order};
use crate::pair::budget::Permit;
use crate::pair::collection::duplicate_names::DuplicateNames;
use crate::pair::origin::Kept;

/// A run to be written.
#[derive(Debug)]
pub(in crate::pair) struct SortedRun {
    /// In the order of `_id`.
    pub(in crate::pair) plain: Vec<Bytes>,
    /// What an insert would not store as it is, and what has a field name twice: hardly ever
    /// any.
    pub(in crate::pair) delicate: Vec<Bytes>,
    pub(in crate::pair) duplicate_names: bool,
    /// Their memory, until they are written.
    permit: Option<Permit>,
}

/// Bytes that a document costs besides its own, while it is sorted or in its lane.
pub(in crate::pair) const DOCUMENT_OVERHEAD_BYTES: usize = 200;

impl SortedRun {
    pub(in crate::pair) fn of(documents: Vec<Bytes>, permit: Option<Permit>) -> Self {
        let (mut plain, mut delicate, mut duplicate_names) = (Vec::new(), Vec::new(), false);
        for document in documents {
            let look = locate::look(locate::raw(&document));
            duplicate_names |= look.duplicate_names;
            if look.needs_literal || look.duplicate_names {
                delicate.push(document);
            } else {
                plain.push(document);
            }
        }
        SortedRun {
            plain: sorted(&plain),
            delicate,
            duplicate_names,
            permit,
        }
    }

    /// Lanes write those, too, of which they may be writing what has a name twice: between two
    /// commands on such a document nobody else may make it (`write::delicate`).
    pub(in crate::pair) fn set_apart(&mut self, names: &DuplicateNames) {
        if !names.were_seen() {
            return;
        }
        let id = |document: &Bytes| locate::id_of(locate::raw(document)).map(IdKey::new);
        let plain = std::mem::take(&mut self.plain).into_iter();
        let (apart, plain): (Vec<_>, _) =
            plain.partition(|document| id(document).is_some_and(|id| names.saw(&id)));
        self.plain = plain;
        self.delicate.extend(apart);
    }

    /// A copy, for it is one of many in a piece of memory; with a part of the permit.
    pub(in crate::pair) fn keep(&mut self, document: &[u8]) -> Kept {
        let bytes = document.len() + DOCUMENT_OVERHEAD_BYTES;
        let permit = self.permit.as_mut().map(|permit| permit.split(bytes));
        Kept {
            body: Bytes::copy_from_slice(document),
            permit,
        }
    }
}

pub(in crate::pair) fn sorted(documents: &[Bytes]) -> Vec<Bytes> {
    let mut places: Vec<(u128, View<'_>, &Bytes)> = documents
        .iter()
        .map(|document| {
            let id = locate::id_of(locate::raw(document));
            let id = id.map_or(View::Undefined, |id| id.view());
            (order::place(&id), id, document)
        })
        .collect();
    places.sort_unstable_by(|(place, id, _), (other_place, other, _)| {
        let by_place = place.cmp(other_place);
        by_place.then_with(|| order::compare_views(id, other))
    });
    places
        .iter()
        .map(|(_, _, document)| Bytes::clone(document))
        .collect()
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, rawdoc};

    use super::*;

    #[test]
    fn documents_are_in_the_order_of_the_index() {
        let long = |end: &str| RawBson::String(format!("{}{end}", "x".repeat(30)));
        let ascending = [
            RawBson::Double(-1.5),
            RawBson::Int64(7),
            long("a"),
            long("b"),
            RawBson::Boolean(true),
        ];
        let document =
            |id: &RawBson| Bytes::from(rawdoc! { "a": 1, "_id": id.clone() }.into_bytes());
        let wanted: Vec<Bytes> = ascending.iter().map(document).collect();
        let mut mixed = wanted.clone();
        mixed.rotate_left(2);
        mixed.swap(0, 3);
        assert_eq!(sorted(&mixed), wanted);
    }

    #[test]
    fn what_a_lane_has_to_write_is_apart() {
        let zero = bson::Timestamp {
            time: 0,
            increment: 0,
        };
        let documents = [rawdoc! { "_id": 2 }, rawdoc! { "_id": 1, "at": zero }];
        let [plain, literal] = documents.map(|document| Bytes::from(document.into_bytes()));
        let run = SortedRun::of(vec![plain.clone(), literal.clone()], None);
        assert_eq!((run.plain, run.delicate), (vec![plain], vec![literal]));
        assert!(!run.duplicate_names);
    }

    #[test]
    fn what_a_lane_may_be_writing_in_two_steps_is_apart_too() {
        let documents = [1, 2, 3].map(|id| Bytes::from(rawdoc! { "_id": id }.into_bytes()));
        let run = || SortedRun::of(documents.to_vec(), None);
        let names = DuplicateNames::default();
        let mut of_none = run();
        of_none.set_apart(&names);
        assert_eq!((of_none.plain.len(), of_none.delicate.len()), (3, 0));

        names.remember(IdKey::of(bson::RawBsonRef::Int32(2)));
        let mut run = run();
        run.set_apart(&names);
        let [one, two, three] = documents;
        assert_eq!((run.plain, run.delicate), (vec![one, three], vec![two]));
    }
}
