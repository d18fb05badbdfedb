//! Scanners: each takes the next waiting unit, reads it once at or after its
//! fence, and writes it to the target; several side by side.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, Uuid};
use mongodb::Client;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use crate::cluster::dialect::ReadForms;
use crate::cluster::direct::Direct;
use crate::cluster::retry::{Retry, within};
use crate::codes;
use crate::error::{CODES_CURSOR_LOST, Error, Kind, Result};
use crate::failpoint;
use crate::observe::counters::PairMetrics;
use crate::pair::budget::{Permit, Share};
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::copy::natural::unless_in_vain;
use crate::pair::copy::reached::Reached;
use crate::pair::copy::scan_unit::{ReadTo, ScanUnit, Written, finds};
use crate::pair::ddl::index::Indexer;
use crate::pair::ddl::vanished;
use crate::pair::gate::replay::Replayer;
use crate::pair::gate::{Gate, Started};
use crate::pair::throttle::Throttle;
use crate::pair::write::bulk::Writer;
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::{ScanOrder, same_term};
use crate::wire::cursor::{Batch, Cursor, Next};

/// State that the scanners of one pair share.
pub struct Scanners {
    pub source: Client,
    pub direct: Direct,
    /// How the source is read.
    pub reads: ReadForms,
    pub writer: Writer,
    pub share: Share,
    pub gate: Arc<Mutex<Gate>>,
    pub replayer: Arc<Replayer>,
    pub indexer: Arc<Indexer>,
    pub chores: Chores,
    pub metrics: Arc<PairMetrics>,
    pub throttle: Arc<Throttle>,
    pub queue: Mutex<VecDeque<ScanUnit>>,
    /// Batches of one unit being written while the next is read.
    pub writes_in_flight: usize,
    /// How many collections are read in the order of the disk side by side, and how many
    /// commands may be under way for all their runs (`natural`).
    pub natural_reads: Semaphore,
    pub run_writes: Semaphore,
    pub store: PairStore,
    /// Units that cannot be read on now, or are read again, and why.
    pub stuck: Mutex<BTreeMap<(Uuid, usize), String>>,
    /// How long the source may be away, and a reply may take.
    pub away_max: Duration,
    pub patience: Duration,
}

/// The result of reading with one cursor.
pub(super) struct Read {
    /// Documents came that had not come before.
    pub(super) moved: bool,
    pub(super) outcome: std::result::Result<(), Broken>,
}

/// Why a scan ended early.
pub(super) enum Broken {
    /// Reading the source failed: the unit can be read again.
    Source(Error),
    /// Writing the target failed: the attempt is over.
    Target(Error),
}

/// Size in bytes at which a server batch is closed. It amortises a round trip without
/// taking much of the budget.
pub const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// How often a unit that begins again with each cursor may do so before patience begins
/// to run out: faults may be rare, and it may take long.
const WHOLE_READS: u32 = 5;

impl Scanners {
    /// Runs one scanner: copies units until there are none left.
    pub async fn run(self: Arc<Self>) -> Result<()> {
        loop {
            // Before the fence: no ops are held for a unit that has not begun.
            self.throttle.may_copy().await;
            let Some(unit) = self.queue.lock().pop_front() else {
                return Ok(());
            };
            self.copy(unit).await?;
            self.metrics.units_copied.fetch_add(1, Relaxed);
        }
    }

    async fn copy(self: &Arc<Self>, unit: ScanUnit) -> Result<()> {
        let unit = Arc::new(unit);
        let tracked = &unit.tracked;
        // Before the fence, too.
        let _turn = self.turn(&unit).await?;
        let Some(started) = self.gate.lock().start(&tracked.uuid, unit.index) else {
            return Ok(());
        };
        if !started.again {
            // IMPORTANT: durable before the unit's first write: else a restart
            // would give it a later fence, and what was deleted on the source in
            // between would stay.
            let term = self
                .store
                .start_unit(tracked.uuid, unit.index, started.fence)
                .await?;
            same_term(self.writer.target.incarnation.term, term)?;
            failpoint::hit("unit-started");
        }
        if !self.copy_again_until_read(&unit, started).await? {
            tracing::info!(ns = %tracked.ns(), "gone from the source during its copy");
            let source = self.indexer.lister.shard.clone();
            vanished::expect_drop(source, &self.gate, &self.chores, tracked);
            return Ok(());
        }
        // IMPORTANT: only after the last write of the unit is acknowledged:
        // its held ops go to the lanes now, those in the spool first.
        let last = self.replayer.finish(&tracked.uuid, unit.index).await?;
        failpoint::hit("unit-finished");
        if last {
            let (indexer, of) = (self.indexer.clone(), tracked.clone());
            let build = async move { indexer.reconcile(&of).await };
            tracked.as_logged(|ns| self.chores.add("building indexes of", ns, build));
        }
        Ok(())
    }

    /// Reads a unit to its end. A scan that broke on the source resumes, with the same
    /// fence, after its last document or at the beginning of the unit. Documents already
    /// on the target are left alone, and every op since is replayed (R6). Returns false
    /// if the collection is gone.
    async fn copy_again_until_read(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        started: Started,
    ) -> Result<bool> {
        let tracked = &unit.tracked;
        let mut retry = Retry::new(self.away_max);
        let (mut again, mut reads, mut reached) = (started.again, 0, ReadTo::default());
        let mut first = started.read;
        loop {
            if again && tracked.traits.capped {
                // Documents there would be out of order (R6).
                self.writer.empty(tracked).await?;
            }
            let read = match tracked.order {
                ScanOrder::Id => self.read_and_write(unit, started.fence, &mut reached).await,
                ScanOrder::Natural => self.read_from_the_first(unit, first.take()).await,
            };
            reads += 1;
            if read.moved || reached.is_nothing() && reads <= WHOLE_READS {
                retry.worked();
            }
            let broken = match read.outcome {
                Ok(()) => {
                    self.tell(unit, None);
                    return Ok(true);
                }
                Err(Broken::Target(e)) => return Err(e),
                Err(Broken::Source(e)) => e,
            };
            self.tell(
                unit,
                Some(format!(
                    "{}; it is retried, and the run parks after away_max_s without progress",
                    broken.message
                )),
            );
            let mut cause = broken;
            if may_be_gone(&cause) {
                if self.is_gone(tracked).await? {
                    self.tell(unit, None);
                    return Ok(false);
                }
                // It is there: what the source says will pass.
                cause.kind = Kind::Transient;
            }
            retry.pause(cause).await?;
            unless_in_vain(unit)?;
            again = true;
            if reached.is_nothing() {
                self.take_back(unit);
            }
        }
    }

    async fn is_gone(&self, tracked: &Tracked) -> Result<bool> {
        Retry::new(self.away_max)
            .until_it_works(|| vanished::is_gone(&self.source, tracked))
            .await
    }

    /// Why the unit cannot be read on, or is read again, for the status.
    pub(super) fn tell(&self, unit: &ScanUnit, why: Option<String>) {
        let mut stuck = self.stuck.lock();
        let place = (unit.tracked.uuid, unit.index);
        match why {
            Some(why) => drop(stuck.insert(place, why)),
            None => drop(stuck.remove(&place)),
        }
        let text = stuck.values().next().cloned();
        self.metrics.obstacles.put("scan", text);
    }

    /// Subtracts what was written of the unit: it will be counted again.
    fn take_back(&self, unit: &ScanUnit) {
        let Written { documents, bytes } = &unit.written;
        self.metrics
            .documents_copied
            .fetch_sub(documents.swap(0, Relaxed), Relaxed);
        let bytes = bytes.swap(0, Relaxed);
        self.metrics.bytes_copied.fetch_sub(bytes, Relaxed);
        unit.tracked.copied.take_back(bytes);
    }

    /// Moves `reached` on where something was read.
    async fn read_and_write(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        fence: Position,
        reached: &mut ReadTo,
    ) -> Read {
        let mut writes = JoinSet::new();
        let mut now = reached.clone();
        let mut outcome = self.read_all(unit, fence, &mut now, &mut writes).await;
        // IMPORTANT: also when the source failed: a write that nobody waits for
        // could run when the unit is copied, and bring back a document that was
        // deleted since (R7). And all up to `reached` is written only then.
        while !writes.is_empty() {
            if let Err(e) = join_one(&mut writes).await {
                outcome = Err(Broken::Target(e));
            }
        }
        let moved = now != *reached;
        *reached = now;
        Read { moved, outcome }
    }

    async fn read_all(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        fence: Position,
        reached: &mut ReadTo,
        writes: &mut JoinSet<Result<()>>,
    ) -> std::result::Result<(), Broken> {
        // A scan that keeps natural order writes one batch after the other.
        let in_flight_max = if unit.tracked.in_order() {
            1
        } else {
            self.writes_in_flight
        };
        let mut permit = self.share.reserve_reply().await;
        for find in finds(unit, reached, self.reads) {
            let opened = self.open(unit, fence, find).await;
            let (mut cursor, _) = opened.map_err(Broken::Source)?;
            while let Some(batch) = self.next(unit, &mut cursor).await.map_err(Broken::Source)? {
                let bytes = batch.bytes();
                unit.tracked
                    .raise_horizon(Position::clock_of(batch.reply()));
                permit.shrink_to(bytes);
                reached.note(unit, &batch).map_err(Broken::Source)?;
                while in_flight_max <= writes.len() {
                    join_one(writes).await.map_err(Broken::Target)?;
                }
                writes.spawn(self.clone().write(unit.clone(), fence, batch, permit));
                self.throttle.copied(bytes as u64).await;
                permit = self.share.reserve_reply().await;
                if unit.tracked.capped.is_given_up() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A cursor on a server that has reached `fence`, and where the collection was planned.
    pub(super) async fn open(
        &self,
        unit: &ScanUnit,
        fence: Position,
        find: RawDocumentBuf,
    ) -> Result<(Cursor, Reached)> {
        let db = &unit.tracked.source_db;
        let fence = fence.max(unit.tracked.planned_at());
        self.read(unit, async {
            let server = Reached::fence(&self.source, db, fence).await?;
            let next = Next {
                batch_size: unit.batch_documents,
                await_ms: None,
            };
            let cursor =
                Cursor::open(self.direct.at(server.address()).await?, db, find, next).await;
            let cursor = cursor?;
            server.check(&self.source).await?;
            Ok((cursor, server))
        })
        .await
    }

    pub(super) async fn next(&self, unit: &ScanUnit, cursor: &mut Cursor) -> Result<Option<Batch>> {
        let address = cursor.address().clone();
        self.read(unit, self.direct.while_primary(&address, cursor.next()))
            .await
    }

    pub(super) async fn read<T>(
        &self,
        unit: &ScanUnit,
        read: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let failed =
            |e: Error| e.context(format_args!("scanning {} on the source", unit.tracked.ns()));
        let read = within(self.patience, "the source", read).await;
        read.inspect_err(|e| self.direct.learn(e)).map_err(failed)
    }

    async fn write(
        self: Arc<Self>,
        unit: Arc<ScanUnit>,
        fence: Position,
        batch: Batch,
        permit: Permit,
    ) -> Result<()> {
        let mut documents = Vec::with_capacity(unit.batch_documents as usize);
        for document in batch.iter() {
            let document = document?;
            if self.is_ours(&unit, document) {
                documents.push(document.as_bytes());
            }
        }
        self.writer.majority.keeps_up().await;
        self.writer.copy(&unit.tracked, &documents, fence).await?;
        self.wrote(&unit, &documents);
        drop(permit);
        Ok(())
    }

    /// Counts it if it is another shard's.
    pub(super) fn is_ours(&self, unit: &ScanUnit, document: &RawDocument) -> bool {
        let owns = unit.tracked.owns(document);
        if !owns {
            self.metrics.documents_orphaned.fetch_add(1, Relaxed);
        }
        owns
    }

    pub(super) fn wrote(&self, unit: &ScanUnit, documents: &[&[u8]]) {
        failpoint::hit("unit-batch-written");
        let bytes: u64 = documents.iter().map(|d| d.len() as u64).sum();
        unit.written
            .documents
            .fetch_add(documents.len() as u64, Relaxed);
        unit.written.bytes.fetch_add(bytes, Relaxed);
        self.metrics
            .documents_copied
            .fetch_add(documents.len() as u64, Relaxed);
        self.metrics.bytes_copied.fetch_add(bytes, Relaxed);
        unit.tracked.copied.add(bytes);
    }
}

pub(super) async fn join_one(writes: &mut JoinSet<Result<()>>) -> Result<()> {
    match writes.join_next().await {
        Some(ended) => written(ended),
        None => Ok(()),
    }
}

pub(super) fn written<T>(ended: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    ended.map_err(|e| Error::internal(format!("a copy's write ended early: {e}")))?
}

/// Answers a scan gets when its collection is dropped under it, and for other
/// causes too.
fn may_be_gone(e: &Error) -> bool {
    e.code
        .is_some_and(|code| code == codes::NAMESPACE_NOT_FOUND || CODES_CURSOR_LOST.contains(&code))
}
