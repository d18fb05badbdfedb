//! A range that is copied as one: what the source is asked for it, and how far it is read.
//!
//! Talks to no server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use bson::raw::cstr;
use bson::{RawBson, RawBsonRef, RawDocumentBuf, rawdoc};

use crate::bson::locate;
use crate::cluster::dialect::ReadForms;
use crate::cluster::ranges::{between, id_hint, key};
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::wire::cursor::Batch;

/// A range of one collection that is copied as one.
#[derive(Debug)]
pub struct ScanUnit {
    pub tracked: Arc<Tracked>,
    /// Its number within the collection, as the gate counts.
    pub index: usize,
    /// None: from the very first.
    pub lower: Option<RawBson>,
    /// Exclusive. None: up to the highest `_id`.
    pub upper: Option<RawBson>,
    /// Documents per server batch.
    pub batch_documents: i32,
    /// Documents and bytes of it that are written.
    pub written: Written,
    /// How often it was read from its first document in the order of the disk, in all attempts.
    pub whole_reads: AtomicUsize,
}

#[derive(Debug, Default)]
pub struct Written {
    pub(in crate::pair) documents: AtomicU64,
    pub(in crate::pair) bytes: AtomicU64,
}

/// How far a unit was read by all its cursors: `{_id: …}` of the last document of a
/// reply. Stays None where the client cannot compare `_id`s as the index does; the unit
/// then starts over with each cursor.
#[derive(Debug, Default, Clone, PartialEq)]
pub(in crate::pair) struct ReadTo(Option<RawDocumentBuf>);

/// The scan is bound to the UUID, in index order with `min`/`max` (comparison
/// operators would match one type bracket only). Sent to a server that has reached
/// the fence it is never older: a majority view only moves on, for every reply of
/// the cursor.
///
/// Where a clustered collection takes no such hint it holds buckets of time series, whose
/// `_id`s are of one type: there an operator will do.
pub(in crate::pair) fn finds(
    unit: &ScanUnit,
    reached: &ReadTo,
    forms: ReadForms,
) -> Vec<RawDocumentBuf> {
    let uuid = bson::Binary::from(unit.tracked.uuid);
    let mut head = rawdoc! {
        "find": uuid,
        "readConcern": { "level": "majority" },
        "batchSize": unit.batch_documents,
        "noCursorTimeout": true,
    };
    let by_id = forms.clustered_hint || !unit.tracked.traits.clustered;
    let is_whole = unit.tracked.one_unit() && reached.is_nothing();
    head.append(cstr!("hint"), id_hint(by_id && !is_whole));
    if let (false, Some(last)) = (by_id, reached.last()) {
        head.append(cstr!("filter"), rawdoc! { "_id": { "$gte": last } });
        return vec![head];
    }
    let lower = reached.0.clone().or_else(|| unit.lower.as_ref().map(key));
    between(head, lower, unit.upper.as_ref().map(key))
}

impl ReadTo {
    /// `_id` of the last document.
    fn last(&self) -> Option<RawBsonRef<'_>> {
        self.0.as_ref()?.get("_id").ok().flatten()
    }

    pub(in crate::pair) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// The last document of a reply is the last that was read: replies come in the order
    /// of `_id`, of a clustered collection too.
    pub(in crate::pair) fn note(&mut self, unit: &ScanUnit, batch: &Batch) -> Result<()> {
        if !unit.tracked.in_order()
            && let Some(last) = batch.iter().last().transpose()?
        {
            self.0 = locate::id_query(last).or_else(|| self.0.take());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::Uuid;

    use super::*;
    use crate::cluster::catalog::Namespace;
    use crate::cluster::dialect::Dialect;
    use crate::pair::collection::Traits;

    #[test]
    fn a_scan_goes_on_at_the_last_document_that_came() {
        let ns = || Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let clustered = Traits {
            clustered: true,
            ..Traits::default()
        };
        for (traits, lower, first) in [
            (
                Traits::default(),
                Some(RawBson::Int32(5)),
                (rawdoc! { "_id": 1 }, Some(rawdoc! { "_id": 5 })),
            ),
            (clustered, None, (rawdoc! { "$natural": 1 }, None)),
        ] {
            let tracked = Arc::new(Tracked::new(Uuid::from_bytes([1; 16]), ns(), traits));
            let written = Written::default();
            let unit = ScanUnit {
                tracked,
                index: 0,
                lower,
                upper: None,
                batch_documents: 10,
                written,
                whole_reads: AtomicUsize::new(0),
            };
            let asked = |reached: &ReadTo| {
                let find = finds(&unit, reached, Dialect::newest().reads).swap_remove(0);
                let part = |name| find.get_document(name).ok().map(ToOwned::to_owned);
                (part("hint").expect("it has one"), part("min"))
            };
            assert_eq!(asked(&ReadTo::default()), first);
            let at = rawdoc! { "_id": 9 };
            assert_eq!(
                asked(&ReadTo(Some(at.clone()))),
                (rawdoc! { "_id": 1 }, Some(at))
            );
        }
    }

    #[test]
    fn where_no_index_can_be_named_buckets_are_read_on_by_an_operator() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "system.buckets.c".to_owned(),
        };
        let traits = Traits {
            clustered: true,
            ..Traits::default()
        };
        let unit = ScanUnit {
            tracked: Arc::new(Tracked::new(Uuid::from_bytes([1; 16]), ns, traits)),
            index: 0,
            lower: None,
            upper: None,
            batch_documents: 10,
            written: Written::default(),
            whole_reads: AtomicUsize::new(0),
        };
        let forms = ReadForms {
            clustered_hint: false,
            ..Dialect::newest().reads
        };
        let finds = finds(&unit, &ReadTo(Some(rawdoc! { "_id": 9 })), forms);
        let part = |name| finds[0].get_document(name).unwrap().to_owned();
        assert_eq!(part("hint"), rawdoc! { "$natural": 1 });
        assert_eq!(part("filter"), rawdoc! { "_id": { "$gte": 9 } });
        assert_eq!(finds.len(), 1);
    }
}
