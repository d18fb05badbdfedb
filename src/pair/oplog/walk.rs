//! The walk over what takes effect at a command entry of the oplog. The tail and the replay
//! go by it, and differ in what they do with the operations.
//!
//! | entry | operations, in this order |
//! |---|---|
//! | `applyOps` by itself: a user's own, or a transaction in one entry | its own |
//! | the last of an unprepared transaction | of the parts before it, first to last; its own |
//! | the commit of a prepared transaction | of its parts, first to last |
//! | a part, an abort | none |
//! | any other command | none: it is given back as it is (`Command::Other`) |
//!
//! All of them take effect at the position of the entry that is walked, wherever they lie
//! (R5). Parts are read back one at a time: who walks has memory for each before the next.

use std::vec::IntoIter;

use bson::{RawDocument, RawDocumentBuf};

use crate::error::Result;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::feed::Feed;
use crate::pair::oplog::meaning::Meaning;
use crate::pair::oplog::transactions::Transactions;
use crate::position::Position;

/// What a command entry is to who follows the oplog.
pub enum Command<'a> {
    /// Operations take effect at it.
    Operations(Walk),
    /// Its own take effect at another entry, or never.
    Nothing,
    /// No command about operations.
    Other(Meaning<'a>),
}

/// What is left of a walk.
#[derive(Debug)]
pub struct Walk {
    /// Where the parts lie that are not walked yet.
    parts: IntoIter<Position>,
    /// The entry holds operations itself, which come last.
    itself: bool,
    /// It is the commit of a prepared transaction.
    prepared: bool,
}

/// Where the next operations lie: in an `applyOps`, whose `Entry::operations` they are.
#[derive(Debug, PartialEq)]
pub enum Holder {
    /// A part, read back.
    Part(RawDocumentBuf),
    /// The entry that is walked.
    Itself,
}

impl Walk {
    /// Begins at `entry`, which is `raw`; `transactions` are told what it means for them.
    ///
    /// # Errors
    /// `Unsupported` for a command that cannot be read, or a part that neither spool nor
    /// source has.
    pub async fn begin<'a>(
        entry: &Entry<'a>,
        raw: &RawDocument,
        transactions: &mut Transactions,
        feed: &Feed,
    ) -> Result<Command<'a>> {
        let (last_part, itself) = match entry.meaning()? {
            Meaning::Apply => (None, true),
            Meaning::ApplyChain { previous } => (Some(previous), true),
            Meaning::Commit { previous } => (Some(previous), false),
            Meaning::Part => {
                transactions.part(entry, raw);
                return Ok(Command::Nothing);
            }
            Meaning::Abort => {
                transactions.ended(entry);
                return Ok(Command::Nothing);
            }
            other => return Ok(Command::Other(other)),
        };
        let parts = match last_part {
            Some(last) => transactions.chain(feed, last, entry.position).await?,
            None => Vec::new(),
        };
        transactions.ended(entry);
        Ok(Command::Operations(Walk {
            parts: parts.into_iter(),
            itself,
            prepared: !itself,
        }))
    }

    /// A part of the transaction that is walked.
    ///
    /// # Errors
    /// Those of `Entry::read`.
    pub fn part<'a>(&self, raw: &'a RawDocument) -> Result<Entry<'a>> {
        Ok(Entry {
            prepared: self.prepared,
            ..Entry::read(raw)?
        })
    }

    /// The next that holds operations; None at the end.
    ///
    /// # Errors
    /// As `begin`.
    pub async fn next(
        &mut self,
        transactions: &Transactions,
        feed: &Feed,
    ) -> Result<Option<Holder>> {
        if let Some(part) = self.parts.next() {
            let raw = transactions.fetch(feed, part).await?;
            return Ok(Some(Holder::Part(raw)));
        }
        let itself = std::mem::take(&mut self.itself);
        Ok(itself.then_some(Holder::Itself))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bson::{Timestamp, rawdoc};
    use mongodb::Client;
    use mongodb::options::ClientOptions;

    use super::*;
    use crate::cluster::direct::Direct;
    use crate::pair::oplog::cursor::Oplog;
    use crate::spool::log::{Limits, OplogLog};
    use crate::spool::quota::Quota;
    use crate::wire::way::Way;

    /// A feed of nothing: recent parts are at hand without it.
    fn feed(spool: &std::path::Path) -> Feed {
        let limits = Limits {
            bytes_max: 1 << 20,
            segment_bytes: 1 << 20,
            cache_bytes: 0,
            stored_bytes: 0,
        };
        let log = OplogLog::open(spool, limits, Arc::new(Quota::new(1 << 20))).unwrap();
        let options = ClientOptions::builder().build();
        let client = Client::with_options(options.clone()).unwrap();
        let direct = Direct::new(client.clone(), Way::new(&options).unwrap(), 1);
        let none = Duration::ZERO;
        Feed::new(Oplog::new(client, "a", none), direct, log, none, none)
    }

    fn ts(time: u32) -> Timestamp {
        Timestamp { time, increment: 0 }
    }

    /// A command of transaction 1 at `time`; `previous` is where the entry before it lies.
    fn entry(time: u32, o: RawDocumentBuf, previous: u32) -> RawDocumentBuf {
        let lsid = rawdoc! { "id": 1 };
        rawdoc! {
            "ts": ts(time), "t": 1i64, "op": "c", "ns": "admin.$cmd", "o": o, "lsid": lsid,
            "txnNumber": 1i64, "prevOpTime": { "ts": ts(previous), "t": 1i64 },
        }
    }

    /// Times of the entries whose operations take effect at the last of `entries`, and how
    /// many transactions are open after it. None: it is another command.
    async fn walked(entries: &[RawDocumentBuf]) -> Option<(Vec<u32>, usize)> {
        let spool = tempfile::tempdir().unwrap();
        let feed = feed(spool.path());
        let mut transactions = Transactions::default();
        let mut command = Command::Nothing;
        for raw in entries {
            let entry = Entry::read(raw).unwrap();
            let walk = Walk::begin(&entry, raw, &mut transactions, &feed);
            command = walk.await.unwrap();
        }
        let mut found = Vec::new();
        let last = entries.last().unwrap();
        match command {
            Command::Nothing => {}
            Command::Other(_) => return None,
            Command::Operations(mut walk) => {
                while let Some(holder) = walk.next(&transactions, &feed).await.unwrap() {
                    let raw = match holder {
                        Holder::Part(raw) => raw,
                        Holder::Itself => last.clone(),
                    };
                    found.push(Entry::mark_of(&raw).unwrap().position.seconds() as u32);
                }
            }
        }
        Some((found, transactions.open_count()))
    }

    #[tokio::test]
    async fn operations_take_effect_at_the_end_of_their_transaction_or_never() {
        let apply = |time, previous| entry(time, rawdoc! { "applyOps": [] }, previous);
        let part = |time, previous| {
            entry(
                time,
                rawdoc! { "applyOps": [], "partialTxn": true },
                previous,
            )
        };
        let prepare =
            |time, previous| entry(time, rawdoc! { "applyOps": [], "prepare": true }, previous);
        let commit = |time, previous| entry(time, rawdoc! { "commitTransaction": 1 }, previous);
        let abort = |time, previous| entry(time, rawdoc! { "abortTransaction": 1 }, previous);
        let drop = rawdoc! { "ts": ts(5), "op": "c", "ns": "d.$cmd", "o": { "drop": "c" } };
        for (entries, expect) in [
            (vec![apply(5, 0)], Some((vec![5], 0))),
            (vec![part(5, 0)], Some((vec![], 1))),
            (
                vec![part(5, 0), part(6, 5), apply(9, 6)],
                Some((vec![5, 6, 9], 0)),
            ),
            (
                vec![part(5, 0), prepare(6, 5), commit(9, 6)],
                Some((vec![5, 6], 0)),
            ),
            (vec![prepare(5, 0), abort(9, 5)], Some((vec![], 0))),
            (vec![drop], None),
        ] {
            assert_eq!(walked(&entries).await, expect, "{entries:?}");
        }
    }
}
