//! Two collections as two streams in `_id` index order, compared at memory
//! speed while they run alike; where they do not, documents are joined by `_id`.
//!
//! Knows nothing about BSON order: only positions and bytes are compared.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bson::{RawDocumentBuf, doc};
use futures_util::StreamExt;
use mongodb::{Client, raw_batch_cursor::RawBatch};
use tokio::sync::mpsc;

use super::catalog::{Collection, Place};
use super::{Sides, join::Join, report::Findings};
use crate::error::{Doing, Error, Result};

/// Batches read ahead on each side, each of at most 16 MB.
const BATCHES_AHEAD: usize = 2;
/// More documents than fit a batch: the server then fills it up by bytes.
const BATCH_DOCUMENTS: u32 = 1_000_000;
/// BadValue: the hinted index does not exist (server source, `error_codes.yml`).
const BAD_VALUE: i32 = 2;

/// Compares the documents of one collection.
pub(super) async fn compare(
    sides: &Sides,
    collection: &Collection,
    findings: Arc<Findings>,
) -> Result<()> {
    let mut source = Feed::open(&sides.source.client, &collection.source, collection.capped);
    let mut target = Feed::open(&sides.target.client, &collection.target, collection.capped);
    let ns = collection.ns();
    let mut join = Join::new(&ns, &findings);
    let (mut documents, mut bytes, mut parted, mut stopped) = (0, 0, false, false);
    while source.fill().await? | target.fill().await? {
        let (left, right) = (source.ready(), target.ready());
        let alike = alike(&source, &target);
        for i in 0..alike {
            bytes += source.document(i).len() as u64;
        }
        documents += alike as u64;
        source.take(alike);
        target.take(alike);
        if alike == left.min(right) && 0 < alike {
            continue;
        }
        parted = true;
        if let Some(document) = source.next() {
            documents += 1;
            bytes += document.len() as u64;
            join.source(document);
        }
        if let Some(document) = target.next() {
            join.target(document);
        }
        if join.is_full() {
            findings.add(&ns, "stopped", || {
                format!("too different: stopped after {documents} documents")
            });
            stopped = true;
            break;
        }
    }
    // A capped collection's order is content; any other's comes from the index.
    if join.finish() == 0 && parted && collection.capped {
        findings.add(&ns, "order of documents", || {
            "the same documents in another order".into()
        });
    }
    if sides.target.router && !sides.allow_orphans && !stopped {
        find_orphans(sides, collection, target.taken, &findings).await?;
    }
    findings.documents.fetch_add(documents, Ordering::Relaxed);
    findings.bytes.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

/// How many of the next documents are the same on both sides.
fn alike(source: &Feed, target: &Feed) -> usize {
    let both = source.ready().min(target.ready());
    (0..both)
        .find(|&i| source.document(i) != target.document(i))
        .unwrap_or(both)
}

/// Documents that lie on the target's shards and that its router does not show:
/// on a shard that does not own them, or beside a database's primary shard.
async fn find_orphans(
    sides: &Sides,
    collection: &Collection,
    shown: u64,
    findings: &Findings,
) -> Result<()> {
    let doing = || format!("counting {}", collection.ns());
    let mut on_shards = 0;
    for shard in &sides.target.shards {
        let rows = shard
            .client
            .database(&collection.target.database)
            .collection::<RawDocumentBuf>(&collection.target.name);
        on_shards += rows.estimated_document_count().await.doing(doing)?;
    }
    if on_shards != shown {
        // The quick count may be off after a crash: count again, one by one.
        on_shards = 0;
        for shard in &sides.target.shards {
            let rows = shard
                .client
                .database(&collection.target.database)
                .collection::<RawDocumentBuf>(&collection.target.name);
            on_shards += rows.count_documents(doc! {}).await.doing(doing)?;
        }
    }
    if on_shards != shown {
        findings.add(&collection.ns(), "orphans", || {
            format!("{on_shards} documents on the target's shards, {shown} through its router")
        });
    }
    Ok(())
}

/// One side's documents, a batch at a time.
struct Feed {
    batches: mpsc::Receiver<Result<RawBatch>>,
    batch: Option<RawBatch>,
    /// Where the batch's documents are in its bytes.
    spans: Vec<Range<usize>>,
    /// The next one.
    at: usize,
    /// Documents taken from this and former batches.
    taken: u64,
    done: bool,
}

impl Feed {
    /// Starts to read; the task ends with the stream or when the feed is dropped.
    fn open(client: &Client, place: &Place, capped: bool) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let rows = client
            .database(&place.database)
            .collection::<RawDocumentBuf>(&place.name);
        tokio::spawn(async move {
            if let Err(error) = read(&rows, capped, &sender).await {
                // The receiver may be gone: then nobody waits for the error.
                let _ = sender.send(Err(error)).await;
            }
        });
        Feed {
            batches,
            batch: None,
            spans: Vec::new(),
            at: 0,
            taken: 0,
            done: false,
        }
    }

    /// Makes a document ready; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool> {
        while self.at == self.spans.len() && !self.done {
            match self.batches.recv().await {
                Some(batch) => self.accept(batch?)?,
                None => self.done = true,
            }
        }
        Ok(self.at < self.spans.len())
    }

    fn accept(&mut self, batch: RawBatch) -> Result<()> {
        let start = batch.as_raw_document().as_bytes().as_ptr() as usize;
        let doing = || "reading a batch".to_string();
        let mut spans = Vec::new();
        for value in batch.doc_slices().doing(doing)? {
            let value = value.doing(doing)?;
            let document = value
                .as_document()
                .ok_or_else(|| Error::new("a batch holds no document"))?;
            let offset = document.as_bytes().as_ptr() as usize - start;
            spans.push(offset..offset + document.as_bytes().len());
        }
        (self.batch, self.spans, self.at) = (Some(batch), spans, 0);
        Ok(())
    }

    fn ready(&self) -> usize {
        self.spans.len() - self.at
    }

    /// The bytes of the document `i` after the next one.
    fn document(&self, i: usize) -> &[u8] {
        let batch = self.batch.as_ref().expect("a span comes from a batch");
        &batch.as_raw_document().as_bytes()[self.spans[self.at + i].clone()]
    }

    fn take(&mut self, count: usize) {
        self.at += count;
        self.taken += count as u64;
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let document = (0 < self.ready()).then(|| self.document(0).to_vec());
        self.take(usize::from(document.is_some()));
        document
    }
}

/// Reads a collection in `_id` order, a capped one in its own, into `sender`.
async fn read(
    rows: &mongodb::Collection<RawDocumentBuf>,
    capped: bool,
    sender: &mpsc::Sender<Result<RawBatch>>,
) -> Result<()> {
    let doing = || format!("reading {}", rows.namespace());
    let by_id = || {
        rows.find(doc! {})
            .sort(doc! {"_id": 1})
            .batch_size(BATCH_DOCUMENTS)
    };
    let opened = if capped {
        rows.find(doc! {})
            .hint(mongodb::options::Hint::Keys(doc! {"$natural": 1}))
            .batch()
            .await
    } else {
        by_id()
            .hint(mongodb::options::Hint::Keys(doc! {"_id": 1}))
            .batch()
            .await
    };
    let mut cursor = match opened {
        Err(error) if is_bad_hint(&error) => by_id().batch().await.doing(doing)?,
        opened => opened.doing(doing)?,
    };
    while let Some(batch) = cursor.next().await {
        if sender.send(Ok(batch.doing(doing)?)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A clustered collection has no index on `_id` to hint at.
fn is_bad_hint(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(command) if command.code == BAD_VALUE)
}
