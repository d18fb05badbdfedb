//! The entries of one source oplog, in order, whatever happens to the source's
//! servers: a lost cursor is opened again at the last entry that came.

use std::time::Duration;

use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use crate::cluster::retry::{Retry, within};
use crate::error::Result;
use crate::pair::entry::Entry;
use crate::pair::oplog::Oplog;
use crate::pair::position::Mark;

pub struct Feed {
    oplog: Oplog,
    /// The newest entry that came; the cursor is opened at it.
    at: Mark,
    cursor: Option<RawBatchCursor>,
    retry: Retry,
    /// How long the source may take to answer.
    patience: Duration,
}

impl Feed {
    /// `at` is an entry the oplog must still hold. `away_max`: how long the
    /// source may be away.
    pub fn new(oplog: Oplog, at: Mark, away_max: Duration, patience: Duration) -> Self {
        Feed { oplog, at, cursor: None, retry: Retry::new(away_max), patience }
    }

    /// The next reply, perhaps an empty one at the oplog's end. Its first entries
    /// may have come before.
    ///
    /// # Errors
    /// `Unsupported` if the oplog no longer holds the last entry that came;
    /// `Parked` if the source was away for too long.
    pub async fn next(&mut self) -> Result<RawBatch> {
        loop {
            match self.try_next().await {
                Ok(batch) => {
                    self.retry.worked();
                    return Ok(batch);
                }
                Err(cause) => {
                    self.cursor = None;
                    self.retry.pause(cause).await?;
                }
            }
        }
    }

    async fn try_next(&mut self) -> Result<RawBatch> {
        let opened = self.cursor.is_none();
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => none.insert(within(self.patience, "the source's oplog", self.oplog.tail(self.at.position)).await?),
        };
        let batch = within(self.patience, "the source's oplog", self.oplog.next(cursor)).await?;
        let mut entries = batch.doc_slices()?.into_iter();
        if opened && let Some(first) = entries.next() {
            self.oplog.check_first(self.at, Entry::read(document(first?)?)?.mark())?;
        }
        if let Some(last) = batch.doc_slices()?.into_iter().last() {
            self.at = Entry::read(document(last?)?)?.mark();
        }
        Ok(batch)
    }
}

fn document(value: bson::RawBsonRef<'_>) -> Result<&bson::RawDocument> {
    value.as_document().ok_or_else(|| crate::error::Error::internal("an oplog entry is no document"))
}
