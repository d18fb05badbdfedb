//! Scanners: each takes the next waiting unit, reads it once at or after its
//! fence, and writes it to the target; several side by side (DESIGN §3).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bson::raw::cstr;
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures_util::StreamExt;
use mongodb::Client;
use mongodb::raw_batch_cursor::RawBatch;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::observe::metrics::PairMetrics;
use crate::pair::budget::{Permit, Share};
use crate::pair::bulk::Writer;
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::gate::Gate;
use crate::pair::index::Indexer;
use crate::pair::position::Position;

/// A range of one collection that is copied as one.
#[derive(Debug)]
pub struct ScanUnit {
    pub tracked: Arc<Tracked>,
    /// Its number within the collection, as the gate counts.
    pub index: usize,
    /// None: from the very first.
    pub lower: Option<RawBson>,
    /// None: to the very last. Exclusive.
    pub upper: Option<RawBson>,
    /// Documents per server batch.
    pub batch_documents: i32,
}

/// What the scanners of one pair share.
pub struct Scanners {
    pub source: Client,
    pub writer: Writer,
    pub share: Share,
    pub gate: Arc<Mutex<Gate>>,
    pub indexer: Arc<Indexer>,
    pub chores: Chores,
    pub metrics: Arc<PairMetrics>,
    pub queue: Mutex<VecDeque<ScanUnit>>,
    /// Batches of one unit being written while the next is read.
    pub writes_in_flight: usize,
}

/// Where a server batch is closed, bytes: what amortises a round trip without
/// taking much of the budget.
pub const BATCH_BYTES: u64 = 4 * 1024 * 1024;

const CODE_NAMESPACE_NOT_FOUND: i32 = 26;
const CODE_QUERY_PLAN_KILLED: i32 = 175;
const CODE_CURSOR_NOT_FOUND: i32 = 43;

impl Scanners {
    /// One scanner: units until there are none.
    pub async fn run(self: Arc<Self>) -> Result<()> {
        loop {
            let Some(unit) = self.queue.lock().pop_front() else { return Ok(()) };
            self.copy(unit).await?;
            self.metrics.units_copied.fetch_add(1, Relaxed);
        }
    }

    async fn copy(self: &Arc<Self>, unit: ScanUnit) -> Result<()> {
        let unit = Arc::new(unit);
        let tracked = &unit.tracked;
        let Some(fence) = self.gate.lock().start(&tracked.uuid, unit.index) else { return Ok(()) };
        match self.read_and_write(&unit, fence).await {
            // Dropped on the source; the tail will tell.
            Err(e) if may_be_gone(&e) && self.is_gone(tracked).await? => {
                tracing::info!(ns = %tracked.ns, "gone from the source during its copy");
            }
            result => result?,
        }
        // IMPORTANT: only after the last write of the unit is acknowledged:
        // its held ops go to the lanes now.
        let last = self.gate.lock().finish(&tracked.uuid, unit.index);
        if last {
            let (indexer, tracked) = (self.indexer.clone(), tracked.clone());
            self.chores.add(
                "building indexes of",
                &tracked.ns.clone(),
                async move { indexer.build_all(&tracked).await },
            );
        }
        Ok(())
    }

    async fn read_and_write(self: &Arc<Self>, unit: &Arc<ScanUnit>, fence: Position) -> Result<()> {
        let failed = |e| Error::from(e).context(format_args!("scanning {} on the source", unit.tracked.ns));
        // A scan that keeps natural order writes one batch after the other.
        let in_flight_max = if unit.tracked.in_order() { 1 } else { self.writes_in_flight };
        let mut writes = JoinSet::new();
        let mut permit = self.share.reserve_reply().await;
        let database = self.source.database(&unit.tracked.ns.db);
        let find = database.run_raw_cursor_command(find(unit, fence));
        let mut cursor = find.batch_size(unit.batch_documents as u32).batch().await.map_err(failed)?;
        while let Some(batch) = cursor.next().await {
            let batch = batch.map_err(failed)?;
            unit.tracked.saw(shown_at(&batch, fence));
            permit.shrink_to(batch.as_raw_document().as_bytes().len());
            while in_flight_max <= writes.len() {
                join_one(&mut writes).await?;
            }
            writes.spawn(self.clone().write(unit.clone(), fence, batch, permit));
            permit = self.share.reserve_reply().await;
        }
        while !writes.is_empty() {
            join_one(&mut writes).await?;
        }
        Ok(())
    }

    async fn write(
        self: Arc<Self>,
        unit: Arc<ScanUnit>,
        fence: Position,
        batch: RawBatch,
        permit: Permit,
    ) -> Result<()> {
        let mut documents = Vec::with_capacity(unit.batch_documents as usize);
        let mut orphans = 0;
        for document in batch.doc_slices()? {
            let Some(document) = document?.as_document() else { continue };
            match unit.tracked.owns(document) {
                true => documents.push(document.as_bytes()),
                false => orphans += 1,
            }
        }
        let bytes: u64 = documents.iter().map(|d| d.len() as u64).sum();
        self.writer.copy(&unit.tracked, &documents, fence).await?;
        self.metrics.documents_copied.fetch_add(documents.len() as u64, Relaxed);
        self.metrics.bytes_copied.fetch_add(bytes, Relaxed);
        self.metrics.documents_orphaned.fetch_add(orphans, Relaxed);
        drop(permit);
        Ok(())
    }

    /// The source no longer knows the collection's UUID.
    async fn is_gone(&self, tracked: &Tracked) -> Result<bool> {
        let find =
            rawdoc! { "find": bson::Binary::from(tracked.uuid), "limit": 1, "readConcern": { "level": "majority" } };
        match self.source.database(&tracked.ns.db).run_raw_command(find).await.map_err(Error::from) {
            Ok(_) => Ok(false),
            Err(e) if e.code == Some(CODE_NAMESPACE_NOT_FOUND) => Ok(true),
            Err(e) => Err(e),
        }
    }
}

async fn join_one(writes: &mut JoinSet<Result<()>>) -> Result<()> {
    match writes.join_next().await {
        Some(joined) => joined.map_err(|e| Error::internal(format!("a copy's write ended early: {e}")))?,
        None => Ok(()),
    }
}

/// The scan is bound to the UUID, in index order with `min`/`max` (comparison
/// operators would match one type bracket only), and never older than the fence.
fn find(unit: &ScanUnit, fence: Position) -> RawDocumentBuf {
    let uuid = bson::Binary::from(unit.tracked.uuid);
    let mut find = rawdoc! {
        "find": uuid,
        "readConcern": { "level": "majority", "afterClusterTime": Timestamp::from(fence) },
        "batchSize": unit.batch_documents,
        "noCursorTimeout": true,
    };
    match unit.tracked.one_unit() {
        true => find.append(cstr!("hint"), rawdoc! { "$natural": 1 }),
        false => find.append(cstr!("hint"), rawdoc! { "_id": 1 }),
    }
    for (name, bound) in [(cstr!("min"), &unit.lower), (cstr!("max"), &unit.upper)] {
        if let Some(bound) = bound {
            let mut id = RawDocumentBuf::new();
            id.append(cstr!("_id"), bound.clone());
            find.append(name, id);
        }
    }
    find
}

/// The newest source position a reply may show.
fn shown_at(batch: &RawBatch, fence: Position) -> Position {
    let reply: &RawDocument = batch.as_raw_document();
    match reply.get("operationTime") {
        Ok(Some(RawBsonRef::Timestamp(ts))) => Position::from(ts).max(fence),
        _ => fence,
    }
}

/// Answers a scan gets when its collection is dropped under it, and for other
/// causes too.
fn may_be_gone(e: &Error) -> bool {
    matches!(e.code, Some(CODE_NAMESPACE_NOT_FOUND | CODE_QUERY_PLAN_KILLED | CODE_CURSOR_NOT_FOUND))
}
