//! A cursor on one server: whole replies, their documents as they came.

use std::time::Duration;

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use bytes::Bytes;

use mongodb::options::ServerAddress;

use crate::bson::element::{cstring, kind};
use crate::error::{Error, Kind, Result};
use crate::wire::message::{Reply, Request, number};
use crate::wire::pool::Lease;

/// An open cursor. It has its connection to itself; when dropped before its end it
/// is closed on the server.
#[derive(Debug)]
pub struct Cursor {
    lease: Lease,
    database: String,
    collection: String,
    /// 0: at its end.
    id: i64,
    first: Option<Batch>,
    next: Next,
    /// The number of the transaction that it reads in; at its end that is to be ended.
    transaction: Option<i64>,
}

/// How long closing a cursor may take.
const KILL_TIME_MAX: Duration = Duration::from_secs(10);

/// The options for each further batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Next {
    /// Documents at most.
    pub batch_size: i32,
    /// How long the server waits for the first one, ms; of a tailable cursor only.
    pub await_ms: Option<i32>,
}

/// One reply of a cursor.
#[derive(Debug)]
pub struct Batch {
    reply: Reply,
    documents: std::ops::Range<usize>,
}

impl Cursor {
    /// Runs `find` (or another command that answers with a cursor).
    pub async fn open(
        lease: Lease,
        database: &str,
        find: RawDocumentBuf,
        next: Next,
    ) -> Result<Cursor> {
        Cursor::begin(lease, database, find, next, None).await
    }

    /// The same in a transaction of its own, which `end` ends.
    pub async fn open_in_transaction(
        mut lease: Lease,
        database: &str,
        mut find: RawDocumentBuf,
        next: Next,
    ) -> Result<Cursor> {
        find.append(cstr!("startTransaction"), true);
        let number = lease.begin_transaction();
        Cursor::begin(lease, database, find, next, Some(number)).await
    }

    async fn begin(
        lease: Lease,
        database: &str,
        find: RawDocumentBuf,
        next: Next,
        transaction: Option<i64>,
    ) -> Result<Cursor> {
        // There before the first answer: given up meanwhile, it ends its transaction.
        let mut cursor = Cursor {
            lease,
            database: database.to_owned(),
            collection: String::new(),
            id: 0,
            first: None,
            next,
            transaction,
        };
        cursor.again(database, find).await?;
        Ok(cursor)
    }

    /// Runs another `find` where this one, read to its end, ran: over the same connection,
    /// in the same transaction.
    pub async fn again(&mut self, database: &str, find: RawDocumentBuf) -> Result<()> {
        debug_assert!(self.id == 0, "one find at a time");
        let mut request = Request::new(database, find);
        join(&self.lease, self.transaction, &mut request);
        let batch = Batch::of(self.lease.call(request).await?)?;
        (self.id, self.database, self.collection) = batch.place()?;
        self.first = Some(batch);
        Ok(())
    }

    /// Ends the transaction that it reads in, if any; nothing more is read.
    ///
    /// # Errors
    /// `Transient` if the connection is lost.
    pub async fn end(mut self) -> Result<()> {
        let Some(number) = self.transaction.take() else {
            return Ok(());
        };
        self.id = 0;
        let abort = abort(&self.lease, number);
        self.lease.answer(abort).await.map(drop)
    }

    /// The server that has it.
    pub fn address(&self) -> &ServerAddress {
        self.lease.address()
    }

    /// Nothing more is asked for.
    pub fn is_at_end(&self) -> bool {
        self.id == 0
    }

    /// The next batch, which may be empty; None at the end.
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if self.id == 0 {
            return Ok(None);
        }
        let mut more = rawdoc! {
            "getMore": self.id, "collection": self.collection.as_str(), "batchSize": self.next.batch_size,
        };
        if let Some(await_ms) = self.next.await_ms {
            more.append(cstr!("maxTimeMS"), await_ms);
        }
        let mut request = Request::new(&self.database, more);
        join(&self.lease, self.transaction, &mut request);
        let batch = Batch::of(self.lease.call(request).await?)?;
        self.id = batch.cursor()?.0;
        Ok(Some(batch))
    }
}

impl Drop for Cursor {
    /// Over another connection: this one may be amid a reply.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let request = match (self.transaction, self.id) {
            (Some(number), _) => abort(&self.lease, number),
            (None, 0) => return,
            (None, id) => {
                let kill = rawdoc! { "killCursors": self.collection.as_str(), "cursors": [id] };
                Request::new(&self.database, kill)
            }
        };
        let (pool, address) = self.lease.place();
        // Where it does not work the session's end closes it.
        let killed = async move {
            if let Some(mut lease) = pool.spare(&address).await {
                let _ = lease.answer(request).await;
            }
        };
        runtime.spawn(tokio::time::timeout(KILL_TIME_MAX, killed));
    }
}

/// The request is of the connection's session, and of this transaction.
fn join(lease: &Lease, transaction: Option<i64>, request: &mut Request) {
    lease.join_session(request);
    if let Some(number) = transaction {
        request.append(cstr!("txnNumber"), number);
        request.append(cstr!("autocommit"), false);
    }
}

/// Its cursors end with it.
fn abort(lease: &Lease, transaction: i64) -> Request {
    let mut request = Request::new("admin", rawdoc! { "abortTransaction": 1 });
    join(lease, Some(transaction), &mut request);
    request
}

impl Batch {
    fn of(reply: Reply) -> Result<Batch> {
        let documents = reply
            .batch()
            .ok_or_else(|| malformed("no batch of a cursor"))?;
        Ok(Batch { reply, documents })
    }

    fn cursor(&self) -> Result<(i64, &str)> {
        let cursor = self
            .reply
            .body()
            .get_document("cursor")
            .map_err(|_| malformed("no cursor"))?;
        let id = number(cursor, "id").ok_or_else(|| malformed("a cursor without an id"))?;
        Ok((
            id,
            cursor
                .get_str("ns")
                .map_err(|_| malformed("a cursor without a namespace"))?,
        ))
    }

    /// The cursor's id, database and collection. `find` by UUID: later batches want the name.
    fn place(&self) -> Result<(i64, String, String)> {
        let (id, ns) = self.cursor()?;
        let (database, collection) = ns
            .split_once('.')
            .ok_or_else(|| malformed("a cursor without a namespace"))?;
        Ok((id, database.to_owned(), collection.to_owned()))
    }

    /// The documents inside the reply.
    ///
    /// # Errors
    /// `Server`, once, if the reply is malformed: what follows is unknown.
    pub fn iter(&self) -> impl Iterator<Item = Result<&RawDocument>> {
        documents(self.items())
    }

    /// The raw items from number `first` on, for `documents` to read.
    ///
    /// # Errors
    /// `Server` if those before are malformed.
    pub fn into_items(self, first: usize) -> Result<Bytes> {
        let items = self.items();
        let mut rest = items;
        for _ in 0..first {
            (_, rest) = split_item(rest).ok_or_else(cannot_be_taken_apart)?;
        }
        let end = self.documents.start + size_of::<i32>() + items.len();
        let range = end - rest.len()..end;
        Ok(Bytes::from(self.reply.into_bytes()).slice(range))
    }

    fn items(&self) -> &[u8] {
        let array = self.reply.slice(self.documents.clone());
        // An array ends with a zero.
        array
            .get(size_of::<i32>()..array.len() - 1)
            .unwrap_or_default()
    }

    /// The whole reply.
    pub fn reply(&self) -> &RawDocument {
        self.reply.body()
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.reply.bytes()
    }
}

/// The documents of an array's items.
///
/// # Errors
/// `Server`, once, where they cannot be taken apart: what follows is not known.
pub fn documents(items: &[u8]) -> impl Iterator<Item = Result<&RawDocument>> {
    let mut rest = items;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = split_item(rest);
        rest = item.map_or(&[], |(_, rest)| rest);
        Some(
            item.map(|(document, _)| document)
                .ok_or_else(cannot_be_taken_apart),
        )
    })
}

/// Splits the first document off the raw items of an array.
fn split_item(items: &[u8]) -> Option<(&RawDocument, &[u8])> {
    let (&kind::DOCUMENT, rest) = items.split_first()? else {
        return None;
    };
    let (_, rest) = cstring(rest)?;
    let bytes = i32::from_le_bytes(*rest.first_chunk()?);
    let (document, rest) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
    Some((RawDocument::from_bytes(document).ok()?, rest))
}

fn cannot_be_taken_apart() -> Error {
    malformed("a batch that cannot be parsed")
}

fn malformed(what: &str) -> Error {
    Error::new(Kind::Server, format!("a server's reply holds {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Batch {
        /// As if a server had sent it.
        pub(crate) fn read(reply: &RawDocument) -> Result<Batch> {
            let payload = [&[0, 0, 0, 0, 0], reply.as_bytes()].concat();
            Batch::of(Reply::read(payload).expect("a reply"))
        }
    }

    fn batch(reply: &RawDocument) -> Result<Batch> {
        Batch::read(reply)
    }

    #[test]
    fn documents_come_as_they_lie() {
        let documents = [
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": 2, "a": { "b": [1] } },
        ];
        let items = || documents.iter().cloned().collect::<bson::RawArrayBuf>();
        for name in [cstr!("firstBatch"), cstr!("nextBatch")] {
            let mut cursor = rawdoc! { "id": 5i64, "ns": "d.a.b" };
            cursor.append(name, items());
            let batch = batch(&rawdoc! { "ok": 1, "cursor": cursor }).unwrap();
            assert_eq!(batch.cursor().unwrap(), (5, "d.a.b"));
            let read: Vec<_> = batch
                .iter()
                .map(|document| document.unwrap().to_owned())
                .collect();
            assert_eq!(read, documents);
            for first in 0..=2 {
                let items = self::batch(batch.reply())
                    .unwrap()
                    .into_items(first)
                    .unwrap();
                let read: Vec<_> = super::documents(&items)
                    .map(|document| document.unwrap().to_owned())
                    .collect();
                assert_eq!(read, documents[first..]);
            }
            assert!(batch.into_items(3).is_err());
        }
        assert!(batch(&rawdoc! { "ok": 1 }).is_err());
        // An array that says to be shorter than its own length.
        let mut short = rawdoc! { "ok": 1, "cursor": { "firstBatch": [] } }.into_bytes();
        let at = short
            .windows(11)
            .position(|w| w == b"firstBatch\0")
            .unwrap()
            + 11;
        short[at..at + 4].copy_from_slice(&2i32.to_le_bytes());
        assert!(batch(&RawDocumentBuf::from_bytes(short).unwrap()).is_err());
    }

    #[test]
    fn a_batch_that_cannot_be_taken_apart_is_no_end() {
        let whole = rawdoc! { "ok": 1, "cursor": { "firstBatch": [{ "_id": 1 }, { "_id": 2 }, { "_id": 3 }] } };
        let read = |reply: RawDocumentBuf| {
            let read: Vec<_> = batch(&reply).unwrap().iter().map(|d| d.is_ok()).collect();
            assert_eq!(
                batch(&reply).unwrap().into_items(3).is_ok(),
                !read.contains(&false)
            );
            read
        };
        assert_eq!(read(whole.clone()), [true; 3]);
        // The second item becomes something else, then longer than all.
        let mut bytes = whole.into_bytes();
        let at = bytes
            .windows(3)
            .position(|w| w == [kind::DOCUMENT, b'1', 0])
            .unwrap();
        bytes[at] = kind::ARRAY;
        assert_eq!(
            read(RawDocumentBuf::from_bytes(bytes.clone()).unwrap()),
            [true, false]
        );
        bytes[at] = kind::DOCUMENT;
        bytes[at + 3] = 255;
        assert_eq!(
            read(RawDocumentBuf::from_bytes(bytes).unwrap()),
            [true, false]
        );
    }
}
