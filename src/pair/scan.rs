//! Scanners: each takes the next waiting unit, reads it once at or after its
//! fence, and writes it to the target; several side by side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::raw::cstr;
use bson::{RawBson, RawDocumentBuf, rawdoc};
use mongodb::Client;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::cluster::direct::Direct;
use crate::cluster::retry::{Retry, within};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::observe::metrics::PairMetrics;
use crate::pair::budget::{Permit, Share};
use crate::pair::bulk::Writer;
use crate::pair::checkpoint::same_term;
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::gate::{Gate, Started};
use crate::pair::index::Indexer;
use crate::pair::oplog::CODES_CURSOR_LOST;
use crate::pair::plan::between;
use crate::pair::position::Position;
use crate::pair::reached::Reached;
use crate::pair::replay::Replayer;
use crate::pair::vanished;
use crate::state::pair_store::PairStore;
use crate::wire::cursor::{Batch, Cursor, Next};

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
    pub direct: Direct,
    pub writer: Writer,
    pub share: Share,
    pub gate: Arc<Mutex<Gate>>,
    pub replayer: Arc<Replayer>,
    pub indexer: Arc<Indexer>,
    pub chores: Chores,
    pub metrics: Arc<PairMetrics>,
    pub queue: Mutex<VecDeque<ScanUnit>>,
    /// Batches of one unit being written while the next is read.
    pub writes_in_flight: usize,
    pub store: PairStore,
    /// How long the source may be away, and a reply may take.
    pub away_max: Duration,
    pub patience: Duration,
}

/// Why a scan ended early.
enum Broken {
    /// Reading the source failed: the unit can be read again.
    Source(Error),
    /// Writing the target failed: the attempt is over.
    Target(Error),
}

/// Where a server batch is closed, bytes: what amortises a round trip without
/// taking much of the budget.
pub const BATCH_BYTES: u64 = 4 * 1024 * 1024;

const CODE_NAMESPACE_NOT_FOUND: i32 = 26;

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
        let Some(started) = self.gate.lock().start(&tracked.uuid, unit.index) else { return Ok(()) };
        if !started.again {
            // IMPORTANT: durable before the unit's first write: else a restart
            // would give it a later fence, and what was deleted on the source in
            // between would stay.
            let term = self.store.start_unit(tracked.uuid, unit.index, started.fence).await?;
            same_term(self.writer.term, term)?;
            failpoint::hit("unit-started");
        }
        if !self.copy_again_until_read(&unit, started).await? {
            tracing::info!(ns = %tracked.ns, "gone from the source during its copy");
            vanished::expect_drop(self.source.clone(), &self.gate, &self.chores, tracked);
            return Ok(());
        }
        // IMPORTANT: only after the last write of the unit is acknowledged:
        // its held ops go to the lanes now, those in the spool first.
        let last = self.replayer.finish(&tracked.uuid, unit.index).await?;
        failpoint::hit("unit-finished");
        if last {
            let (indexer, tracked) = (self.indexer.clone(), tracked.clone());
            self.chores.add(
                "building indexes of",
                &tracked.ns.clone(),
                async move { indexer.reconcile(&tracked).await },
            );
        }
        Ok(())
    }

    /// A scan that broke on the source is made again with the same fence: what is
    /// on the target already is left alone, and every op since is replayed (R6).
    /// False if the collection is gone.
    async fn copy_again_until_read(self: &Arc<Self>, unit: &Arc<ScanUnit>, started: Started) -> Result<bool> {
        let tracked = &unit.tracked;
        let mut retry = Retry::new(self.away_max);
        let mut again = started.again;
        loop {
            if again && tracked.traits.capped {
                // What is there would be out of order (R6).
                self.writer.empty(tracked).await?;
            }
            let documents = self.metrics.documents_copied.load(Relaxed);
            let read = self.read_and_write(unit, started.fence).await;
            if documents < self.metrics.documents_copied.load(Relaxed) {
                // Away, but back in between.
                retry.worked();
            }
            match read {
                Ok(()) => return Ok(true),
                Err(Broken::Target(e)) => return Err(e),
                Err(Broken::Source(e)) if may_be_gone(&e) => {
                    let gone = || vanished::is_gone(&self.source, tracked);
                    if retry.until_it_works(gone).await? {
                        return Ok(false);
                    }
                    retry.pause(Error { kind: Kind::Transient, ..e }).await?;
                }
                Err(Broken::Source(e)) => retry.pause(e).await?,
            }
            again = true;
        }
    }

    async fn read_and_write(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        fence: Position,
    ) -> std::result::Result<(), Broken> {
        let mut writes = JoinSet::new();
        let read = self.read_all(unit, fence, &mut writes).await;
        // IMPORTANT: also when the source failed: a write that nobody waits for
        // could run when the unit is copied, and bring back a document that was
        // deleted since (R7).
        while !writes.is_empty() {
            join_one(&mut writes).await.map_err(Broken::Target)?;
        }
        read
    }

    async fn read_all(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        fence: Position,
        writes: &mut JoinSet<Result<()>>,
    ) -> std::result::Result<(), Broken> {
        // A scan that keeps natural order writes one batch after the other.
        let in_flight_max = if unit.tracked.in_order() { 1 } else { self.writes_in_flight };
        let mut permit = self.share.reserve_reply().await;
        for find in finds(unit) {
            let mut cursor = self.open(unit, fence, find).await.map_err(Broken::Source)?;
            while let Some(batch) = self.next(unit, &mut cursor).await.map_err(Broken::Source)? {
                unit.tracked.saw_by(Position::clock_of(batch.reply()));
                permit.shrink_to(batch.bytes());
                while in_flight_max <= writes.len() {
                    join_one(writes).await.map_err(Broken::Target)?;
                }
                writes.spawn(self.clone().write(unit.clone(), fence, batch, permit));
                permit = self.share.reserve_reply().await;
            }
        }
        Ok(())
    }

    async fn open(&self, unit: &ScanUnit, fence: Position, find: RawDocumentBuf) -> Result<Cursor> {
        let db = &unit.tracked.ns.db;
        self.read(unit, async {
            let server = Reached::fence(&self.source, db, fence).await?;
            let next = Next { batch_size: unit.batch_documents, await_ms: None };
            let cursor = Cursor::open(self.direct.at(server.address()).await?, db, find, next).await;
            let cursor = cursor?;
            server.check(&self.source).await?;
            Ok(cursor)
        })
        .await
    }

    async fn next(&self, unit: &ScanUnit, cursor: &mut Cursor) -> Result<Option<Batch>> {
        let address = cursor.address().clone();
        self.read(unit, self.direct.while_primary(&address, cursor.next())).await
    }

    async fn read<T>(&self, unit: &ScanUnit, read: impl Future<Output = Result<T>>) -> Result<T> {
        let failed = |e: Error| e.context(format_args!("scanning {} on the source", unit.tracked.ns));
        let read = within(self.patience, "the source", read).await;
        read.inspect_err(|e| self.direct.learn(e)).map_err(failed)
    }

    async fn write(self: Arc<Self>, unit: Arc<ScanUnit>, fence: Position, batch: Batch, permit: Permit) -> Result<()> {
        let mut documents = Vec::with_capacity(unit.batch_documents as usize);
        let mut orphans = 0;
        for document in batch.iter() {
            let document = document?;
            match unit.tracked.owns(document) {
                true => documents.push(document.as_bytes()),
                false => orphans += 1,
            }
        }
        let bytes: u64 = documents.iter().map(|d| d.len() as u64).sum();
        self.writer.copy(&unit.tracked, &documents, fence).await?;
        failpoint::hit("unit-batch-written");
        self.metrics.documents_copied.fetch_add(documents.len() as u64, Relaxed);
        self.metrics.bytes_copied.fetch_add(bytes, Relaxed);
        self.metrics.documents_orphaned.fetch_add(orphans, Relaxed);
        drop(permit);
        Ok(())
    }
}

async fn join_one(writes: &mut JoinSet<Result<()>>) -> Result<()> {
    match writes.join_next().await {
        Some(joined) => joined.map_err(|e| Error::internal(format!("a copy's write ended early: {e}")))?,
        None => Ok(()),
    }
}

/// The scan is bound to the UUID, in index order with `min`/`max` (comparison
/// operators would match one type bracket only). Sent to a server that has reached
/// the fence it is never older: a majority view only moves on, for every reply of
/// the cursor.
fn finds(unit: &ScanUnit) -> Vec<RawDocumentBuf> {
    let uuid = bson::Binary::from(unit.tracked.uuid);
    let mut head = rawdoc! {
        "find": uuid,
        "readConcern": { "level": "majority" },
        "batchSize": unit.batch_documents,
        "noCursorTimeout": true,
    };
    match unit.tracked.one_unit() {
        true => head.append(cstr!("hint"), rawdoc! { "$natural": 1 }),
        false => head.append(cstr!("hint"), rawdoc! { "_id": 1 }),
    }
    between(head, unit.lower.as_ref(), unit.upper.as_ref())
}

/// Answers a scan gets when its collection is dropped under it, and for other
/// causes too.
fn may_be_gone(e: &Error) -> bool {
    e.code.is_some_and(|code| code == CODE_NAMESPACE_NOT_FOUND || CODES_CURSOR_LOST.contains(&code))
}
