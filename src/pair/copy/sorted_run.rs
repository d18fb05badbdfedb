//! A run: what several replies of a scan in the order of the disk gave, sorted by `_id`. The
//! target's index on it then meets each of its pages once for many documents.
//!
//! Talks to no server.

use bytes::Bytes;

use crate::bson::view::View;
use crate::bson::{locate, order};
use crate::error::Result;
use crate::pair::budget::Permit;
use crate::pair::gate::rolling::Read;
use crate::wire::cursor::{self, Batch};

/// Documents that were read, in the order they came.
#[derive(Debug, Default)]
pub(in crate::pair) struct Run {
    documents: Vec<Bytes>,
    bytes: usize,
    /// Their memory, until they are written.
    permits: Vec<Permit>,
    reads: Vec<Read>,
}

/// A run whose documents are in the order of `_id`.
#[derive(Debug)]
pub(in crate::pair) struct SortedRun {
    pub(in crate::pair) documents: Vec<Bytes>,
    pub(in crate::pair) reads: Vec<Read>,
    _permits: Vec<Permit>,
}

impl Run {
    /// # Errors
    /// `Server` if the reply is malformed.
    pub(in crate::pair) fn add(&mut self, read: Read, batch: Batch, permit: Permit) -> Result<()> {
        self.reads.push(read);
        self.bytes += batch.bytes();
        let items = batch.into_items(0)?;
        for document in cursor::documents(&items) {
            self.documents.push(items.slice_ref(document?.as_bytes()));
        }
        self.permits.push(permit);
        Ok(())
    }

    pub(in crate::pair) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::pair) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// Takes long: tens of ms.
    pub(in crate::pair) fn sorted(self) -> SortedRun {
        SortedRun {
            documents: sorted(&self.documents),
            reads: self.reads,
            _permits: self.permits,
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
        .map(|(_, _, document)| (*document).clone())
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
}
