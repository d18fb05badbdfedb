//! Both sides of a range in `_id` order, walked side by side.
//!
//! Knows nothing about what is made of a difference.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::locate::id_of;
use crate::bson::order;
use crate::error::Result;
use crate::verify::part::{Counted, Part, Reader};
use crate::verify::range::Range;
use crate::verify::read::{self, Documents};

/// The documents with one `_id`: on the source, on the target, or both.
pub enum Met<'a> {
    Source(&'a RawDocument),
    Target(&'a RawDocument),
    Both(&'a RawDocument, &'a RawDocument),
}

/// Tells `meet` of every `_id` of a range, in order, until it breaks. Only for parts
/// whose order is that of `_id`.
pub async fn side_by_side(
    part: &Part,
    range: &Range,
    mut meet: impl FnMut(Met<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let (mut source, mut target) = tokio::try_join!(
        Walk::open(part, &part.source, range),
        Walk::open(part, &part.target, range)
    )?;
    loop {
        let (met, order) = match (source.current(), target.current()) {
            (None, None) => return Ok(()),
            (Some(ours), None) => (Met::Source(ours), Ordering::Less),
            (None, Some(theirs)) => (Met::Target(theirs), Ordering::Greater),
            (Some(ours), Some(theirs)) => match compare_ids(ours, theirs) {
                Ordering::Less => (Met::Source(ours), Ordering::Less),
                Ordering::Greater => (Met::Target(theirs), Ordering::Greater),
                Ordering::Equal => (Met::Both(ours, theirs), Ordering::Equal),
            },
        };
        if meet(met).is_break() {
            return Ok(());
        }
        if order.is_le() {
            source.advance().await?;
        }
        if order.is_ge() {
            target.advance().await?;
        }
    }
}

fn compare_ids(a: &RawDocument, b: &RawDocument) -> Ordering {
    if a.as_bytes() == b.as_bytes() {
        return Ordering::Equal;
    }
    // By their bytes: those that are no UTF-8 have their place too.
    match (id_of(a), id_of(b)) {
        (Some(a), Some(b)) => order::compare_views(&a.view(), &b.view()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// One side of a range, document by document. Copies what it holds, a batch.
pub(super) struct Walk<'a> {
    reader: &'a Reader,
    documents: Option<Documents>,
    pending: VecDeque<RawDocumentBuf>,
}

impl<'a> Walk<'a> {
    pub(super) async fn open(part: &Part, reader: &'a Reader, range: &Range) -> Result<Self> {
        let documents = match reader.counted {
            Counted::Nothing => None,
            _ => {
                let command = read::find(part, reader, range);
                Some(Documents::open(reader, &part.ns, command, range.batch_documents).await?)
            }
        };
        let mut walk = Walk {
            reader,
            documents,
            pending: VecDeque::new(),
        };
        walk.fill().await?;
        Ok(walk)
    }

    pub(super) fn current(&self) -> Option<&RawDocument> {
        self.pending.front().map(|d| &**d)
    }

    pub(super) async fn advance(&mut self) -> Result<()> {
        self.pending.pop_front();
        self.fill().await
    }

    /// Reads batches until one holds a document that counts, or the end.
    async fn fill(&mut self) -> Result<()> {
        while self.pending.is_empty()
            && let Some(documents) = &mut self.documents
        {
            match documents.next().await? {
                Some(batch) => {
                    let counted = batch.iter().filter(|d| self.reader.counted.counts(d));
                    self.pending.extend(counted.map(RawDocument::to_owned));
                }
                None => self.documents = None,
            }
        }
        Ok(())
    }
}
