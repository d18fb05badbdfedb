//! Transactions that span several entries. They take effect at their last one (R5).
//! Nothing of an open transaction is kept. When it commits, its parts are read back along
//! `prevOpTime`, however far back they are; recent ones come from a small cache.

use std::collections::{HashMap, VecDeque};

use bson::RawDocumentBuf;

use crate::error::{Error, Result};
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::feed::Feed;
use crate::pair::oplog::meaning::Meaning;
use crate::position::Position;

/// Parts kept so that short transactions need no second read, bytes.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The transactions of one oplog, as the tail meets their entries.
#[derive(Debug, Default)]
pub struct Transactions {
    /// Sessions (raw `lsid`) with parts but no end yet, and their number.
    open: HashMap<Vec<u8>, i64>,
    recent: HashMap<Position, RawDocumentBuf>,
    recent_order: VecDeque<Position>,
    recent_bytes: usize,
}

impl Transactions {
    /// A part was read: its transaction is open.
    pub fn part(&mut self, entry: &Entry<'_>, raw: &bson::RawDocument) {
        if let Some((lsid, number)) = entry.session {
            self.open.insert(lsid.to_vec(), number);
        }
        self.recent_bytes += raw.as_bytes().len();
        self.recent.insert(entry.position, raw.to_owned());
        self.recent_order.push_back(entry.position);
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent_order.pop_front() else {
                break;
            };
            self.recent_bytes -= self
                .recent
                .remove(&oldest)
                .map_or(0, |raw| raw.as_bytes().len());
        }
    }

    /// A transaction ended, or its session went on to a later number.
    pub fn ended(&mut self, entry: &Entry<'_>) {
        if self.open.is_empty() {
            return;
        }
        let Some((lsid, number)) = entry.session else {
            return;
        };
        if self.open.get(lsid).is_some_and(|open| *open <= number) {
            self.open.remove(lsid);
        }
    }

    /// Transactions with parts read and no end yet.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Positions of the parts of a transaction that takes effect at `commit`, first
    /// to last, found by walking back from `last`.
    pub async fn chain(
        &self,
        feed: &Feed,
        last: Position,
        commit: Position,
    ) -> Result<Vec<Position>> {
        let mut positions = vec![last];
        let mut previous = Some(last);
        while let Some(position) = previous {
            feed.keep(commit, position);
            let raw = self.fetch(feed, position).await?;
            previous = Entry::read(&raw)?.previous;
            positions.extend(previous);
        }
        positions.reverse();
        Ok(positions)
    }

    /// One part of a transaction.
    pub async fn fetch(&self, feed: &Feed, position: Position) -> Result<RawDocumentBuf> {
        if let Some(raw) = self.recent.get(&position) {
            return Ok(raw.clone());
        }
        let gone = || {
            feed.rolled_off(format!(
                "the part of a transaction at {position} is no longer in the source's oplog"
            ))
        };
        let raw = feed.at(position).await?.ok_or_else(gone)?;
        match Entry::read(&raw)?.meaning()? {
            Meaning::Part => Ok(raw),
            _ => Err(Error::internal(format!(
                "the entry at {position} is not part of a transaction"
            ))),
        }
    }
}
