//! A run: what several replies of a scan in the order of the disk gave, sorted by `_id`. The
//! target's index on it then meets each of its pages once for many documents.
//!
//! Talks to no server.

use std::time::Instant;

use bytes::Bytes;

use crate::bson::identity::IdKey;
use crate::bson::view::View;
use crate::bson::{locate, order};
use crate::error::Result;
use crate::pair::budget::Permit;
use crate::pair::collection::duplicate_names::DuplicateNames;
use crate::pair::gate::rolling::Read;
use crate::pair::origin::Kept;
use crate::wire::cursor::{self, Batch};

/// Documents that were read, in the order they came.
#[derive(Debug, Default)]
pub(in crate::pair) struct Run {
    documents: Vec<Bytes>,
    /// What they take while they are sorted.
    bytes: usize,
    /// Their memory, until they are written.
    permits: Vec<Permit>,
    reads: Vec<Read>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// A run to be written.
#[derive(Debug)]
pub(in crate::pair) struct SortedRun {
    /// In the order of `_id`.
    pub(in crate::pair) plain: Vec<Bytes>,
    /// What an insert would not store as it is, and what has a field name twice: hardly ever
    /// any.
    pub(in crate::pair) delicate: Vec<Bytes>,
    pub(in crate::pair) duplicate_names: bool,
    pub(in crate::pair) reads: Vec<Read>,
    permits: Vec<Permit>,
}

/// Bytes that a document costs besides its own, while it is sorted or in its lane.
pub(in crate::pair) const DOCUMENT_OVERHEAD_BYTES: usize = 200;

impl Run {
    /// `permit`: of one reply; what is not needed of it is given back.
    ///
    /// # Errors
    /// `Server` if the reply is malformed.
    pub(in crate::pair) fn add(
        &mut self,
        read: Read,
        batch: Batch,
        mut permit: Permit,
    ) -> Result<()> {
        self.since.get_or_insert_with(Instant::now);
        self.reads.push(read);
        let (before, reply_bytes) = (self.documents.len(), batch.bytes());
        let items = batch.into_items(0)?;
        for document in cursor::documents(&items) {
            self.documents.push(items.slice_ref(document?.as_bytes()));
        }
        let bytes = reply_bytes + (self.documents.len() - before) * DOCUMENT_OVERHEAD_BYTES;
        permit.shrink_to(bytes);
        self.permits.push(permit);
        self.bytes += bytes;
        Ok(())
    }

    /// Bytes it takes, while it is sorted.
    pub(in crate::pair) fn bytes(&self) -> usize {
        self.bytes
    }

    /// None while it is empty.
    pub(in crate::pair) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes long: tens of ms.
    pub(in crate::pair) fn sorted(self) -> SortedRun {
        let (mut plain, mut delicate, mut duplicate_names) = (Vec::new(), Vec::new(), false);
        for document in self.documents {
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
            reads: self.reads,
            permits: self.permits,
        }
    }
}

impl SortedRun {
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

    /// A copy, for it may be one document of a reply; with a part of the reply's permit.
    pub(in crate::pair) fn keep(&mut self, document: &[u8]) -> Kept {
        let bytes = document.len() + DOCUMENT_OVERHEAD_BYTES;
        let mut permits = self.permits.iter_mut();
        let permit = permits.find(|permit| bytes <= permit.bytes());
        Kept {
            body: Bytes::copy_from_slice(document),
            permit: permit.map(|permit| permit.split(bytes)),
        }
    }
}

fn sorted(documents: &[Bytes]) -> Vec<Bytes> {
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
    use bson::{RawArrayBuf, RawBson, rawdoc};

    use super::*;
    use crate::pair::budget::Share;

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

    #[tokio::test]
    async fn what_each_document_costs_beside_its_bytes_is_granted() {
        let share = Share::new(0);
        let documents: RawArrayBuf = (0..100).map(|id| rawdoc! { "_id": id }).collect();
        let cursor = rawdoc! { "id": 0i64, "ns": "d.c", "firstBatch": documents };
        let batch = Batch::read(&rawdoc! { "ok": 1, "cursor": cursor }).expect("a reply");
        let mut run = Run::default();
        let permit = share.reserve_reply().await;
        run.add(Read::default(), batch, permit)
            .expect("it is whole");
        let granted = share.used();
        assert!(100 * DOCUMENT_OVERHEAD_BYTES < granted && granted == run.bytes());

        let mut run = run.sorted();
        let all = std::mem::take(&mut run.plain);
        let kept: Vec<Kept> = all.iter().map(|document| run.keep(document)).collect();
        assert!(
            kept.iter().all(|kept| kept.permit.is_some()),
            "in its lane, too"
        );
        drop((run, kept));
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn what_a_lane_has_to_write_is_apart() {
        let zero = bson::Timestamp {
            time: 0,
            increment: 0,
        };
        let documents = [rawdoc! { "_id": 2 }, rawdoc! { "_id": 1, "at": zero }];
        let [plain, literal] = documents.map(|document| Bytes::from(document.into_bytes()));
        let run = Run {
            documents: vec![plain.clone(), literal.clone()],
            ..Run::default()
        };
        let run = run.sorted();
        assert_eq!((run.plain, run.delicate), (vec![plain], vec![literal]));
        assert!(!run.duplicate_names);
    }

    #[test]
    fn what_a_lane_may_be_writing_in_two_steps_is_apart_too() {
        let documents = [1, 2, 3].map(|id| Bytes::from(rawdoc! { "_id": id }.into_bytes()));
        let run = || Run {
            documents: documents.to_vec(),
            ..Run::default()
        };
        let names = DuplicateNames::default();
        let mut of_none = run().sorted();
        of_none.set_apart(&names);
        assert_eq!((of_none.plain.len(), of_none.delicate.len()), (3, 0));

        names.remember(IdKey::of(bson::RawBsonRef::Int32(2)));
        let mut run = run().sorted();
        run.set_apart(&names);
        let [one, two, three] = documents;
        assert_eq!((run.plain, run.delicate), (vec![one, three], vec![two]));
    }
}
