//! Reading documents of one side as whole server batches, by collection name.
//!
//! Knows nothing about digests and ranges of others.

use std::pin::Pin;

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures_util::StreamExt;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use crate::bson::element::{elements_of, kind};
use crate::bson::locate;
use crate::cluster::catalog::Namespace;
use crate::cluster::ranges;
use crate::error::{CODES_CURSOR_LOST, Error, Kind, Result};
use crate::verify::Depth;
use crate::verify::part::{Counted, Order, Part, Reader};
use crate::verify::range::Range;

/// Size of a batch in bytes: large enough that round trips do not count, small enough to
/// stay near the caches. The server stops at 16 MB by itself.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
const BATCH_DOCUMENTS_MAX: u64 = 20_000;

/// Documents per batch for documents of this average size, bytes.
pub fn batch_documents(document_bytes_average: u64) -> u32 {
    (BATCH_BYTES / document_bytes_average.max(1)).clamp(16, BATCH_DOCUMENTS_MAX) as u32
}

/// An open cursor.
pub struct Documents {
    cursor: Pin<Box<RawBatchCursor>>,
}

/// One server reply.
pub struct Batch {
    reply: RawBatch,
}

impl Documents {
    /// Runs `command` on the side's shard, at majority read concern and after
    /// everything acknowledged before the comparison began.
    pub async fn open(
        reader: &Reader,
        ns: &Namespace,
        mut command: RawDocumentBuf,
        batch_documents: u32,
    ) -> Result<Self> {
        command.append(cstr!("readConcern"), read_concern(reader.after));
        let db = reader.client.database(&ns.own(&reader.shard.scope).db);
        let run = db
            .run_raw_cursor_command(command)
            .batch_size(batch_documents);
        Ok(Documents {
            cursor: Box::pin(run.batch().await.map_err(lost)?),
        })
    }

    /// The next batch; None at the end.
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        match self.cursor.next().await {
            Some(reply) => {
                let reply = reply.map_err(lost)?;
                // One that cannot be taken apart must not count as empty.
                reply.doc_slices()?;
                Ok(Some(Batch { reply }))
            }
            None => Ok(None),
        }
    }
}

impl Batch {
    /// The documents of the batch, as they lie in the reply.
    pub fn iter(&self) -> impl Iterator<Item = &RawDocument> {
        let documents = self.reply.doc_slices().ok();
        let bytes = documents
            .into_iter()
            .flat_map(|a| elements_of(a.as_bytes()));
        bytes
            .filter(|e| e.kind == kind::DOCUMENT)
            .map(|e| locate::raw(e.value))
    }
}

/// An error by which a cursor was lost: its range can be read again.
fn lost(e: mongodb::error::Error) -> Error {
    let e = Error::from(e);
    let again = e.code.is_some_and(|code| CODES_CURSOR_LOST.contains(&code));
    if again {
        Error {
            kind: Kind::Transient,
            ..e
        }
    } else {
        e
    }
}

fn read_concern(after: Option<Timestamp>) -> RawDocumentBuf {
    let mut concern = rawdoc! { "level": "majority" };
    if let Some(after) = after {
        concern.append(cstr!("afterClusterTime"), after);
    }
    concern
}

/// The `find` for one side of a range, in the part's order. Counting reads only
/// `_id` and what ownership needs.
pub fn find(part: &Part, reader: &Reader, range: &Range) -> RawDocumentBuf {
    let mut command = rawdoc! { "find": part.ns.own(&reader.shard.scope).coll };
    command.append(cstr!("batchSize"), i64::from(range.batch_documents));
    match part.order {
        Order::Id => command.append(cstr!("hint"), rawdoc! { "_id": 1 }),
        Order::Stored | Order::Natural => command.append(cstr!("hint"), rawdoc! { "$natural": 1 }),
    }
    ranges::bound(&mut command, range.min.as_deref(), range.max.as_deref());
    if part.depth == Depth::Counts {
        command.append(cstr!("projection"), needed(reader));
    }
    command
}

/// Projection of the `_id` and the shard key.
fn needed(reader: &Reader) -> RawDocumentBuf {
    let mut projection = rawdoc! { "_id": 1 };
    if let Counted::Owned(ownership) = &reader.counted {
        let fields = ownership
            .pattern
            .pattern
            .iter_elements()
            .filter_map(|e| e.ok());
        let is_id = |name: &str| name == "_id" || name.starts_with("_id.");
        fields
            .filter(|e| !is_id(e.key().as_str()))
            .for_each(|e| projection.append(e.key(), 1));
    }
    projection
}
