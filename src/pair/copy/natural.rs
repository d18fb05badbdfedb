//! Scans a collection in the order of the disk (R2): one reader, whose replies become runs
//! that are sorted by `_id` and written over several connections, while the next is read.
//!
//! Nothing is kept of how far it came: a cursor means nothing to another process. What breaks
//! begins again, and what is there already is left alone.

use std::sync::Arc;

use bson::{RawDocumentBuf, rawdoc};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use crate::bson::locate;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::budget::{Permit, REPLY_BYTES_MAX};
use crate::pair::copy::reached::Reached;
use crate::pair::copy::scan::{Broken, Scanners, join_one};
use crate::pair::copy::scan_unit::ScanUnit;
use crate::pair::copy::sorted_run::Run;
use crate::pair::gate::rolling::Read;
use crate::position::Position;
use crate::wire::cursor::Cursor;

/// A larger run costs more memory than it saves.
const RUN_BYTES_MAX: usize = 256 << 20;

/// What of a collection is between source and target.
struct OnTheWay {
    /// The read under way.
    read: Read,
    /// What is gathered.
    run: Run,
    /// The run before it, being written; one at most.
    writing: JoinSet<Result<()>>,
}

impl Scanners {
    /// Reads all of the collection and writes it. Also where reading breaks off, all that was
    /// read is written at the end.
    pub(super) async fn copy_naturally(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
    ) -> std::result::Result<(), Broken> {
        let uuid = &unit.tracked.uuid;
        let Some(read) = self.gate.lock().begin_read(uuid, None) else {
            return Ok(());
        };
        let mut way = OnTheWay {
            read,
            run: Run::default(),
            writing: JoinSet::new(),
        };
        let read = self.read_naturally(unit, &mut way).await;
        if let Err(Broken::Target(e)) = read {
            // IMPORTANT: no read ends: what was sent may still run (R7).
            return Err(Broken::Target(e));
        }
        // Nothing of the last one came.
        self.gate.lock().end_reads(uuid, &[way.read]);
        self.write_next(unit, &mut way)
            .await
            .map_err(Broken::Target)?;
        join_one(&mut way.writing).await.map_err(Broken::Target)?;
        read
    }

    async fn read_naturally(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        way: &mut OnTheWay,
    ) -> std::result::Result<(), Broken> {
        let mut permit = self.share.reserve_reply().await;
        let opened = self.open(unit, way.read.at, find(unit)).await;
        let mut cursor = opened.map_err(Broken::Source)?;
        while let Some(batch) = self.next(unit, &mut cursor).await.map_err(Broken::Source)? {
            unit.tracked
                .raise_horizon(Position::clock_of(batch.reply()));
            permit.shrink_to(batch.bytes());
            // IMPORTANT: before the one that came can end.
            let next = self
                .gate
                .lock()
                .begin_read(&unit.tracked.uuid, Some(&way.read));
            let Some(next) = next else { return Ok(()) };
            let came = std::mem::replace(&mut way.read, next);
            way.run.add(came, batch, permit).map_err(Broken::Source)?;
            permit = self.room(unit, way).await.map_err(Broken::Target)?;
            if !cursor.is_at_end() {
                self.reach(unit, &cursor, way.read.at)
                    .await
                    .map_err(Broken::Source)?;
            }
        }
        Ok(())
    }

    /// Memory for the next reply. A run is written once it is large enough, or the memory
    /// used up: nobody waits for it with some in hand.
    async fn room(self: &Arc<Self>, unit: &Arc<ScanUnit>, way: &mut OnTheWay) -> Result<Permit> {
        // One run is written while another is read.
        let run_bytes = (self.share.total() - REPLY_BYTES_MAX) / 2;
        if run_bytes.min(RUN_BYTES_MAX) <= way.run.bytes() {
            self.write_next(unit, way).await?;
        }
        if let Some(permit) = self.share.try_reserve_reply() {
            return Ok(permit);
        }
        self.write_next(unit, way).await?;
        Ok(self.share.reserve_reply().await)
    }

    /// The server shows `position` in whatever it is asked for from now on: the cursor lives
    /// in one process, whose majority view only moves on.
    async fn reach(&self, unit: &ScanUnit, cursor: &Cursor, position: Position) -> Result<()> {
        let (address, db) = (cursor.address(), unit.tracked.ns().db);
        let reached = Reached::wait(&self.source, &db, address, position);
        self.read(unit, self.direct.while_primary(address, reached))
            .await
    }

    /// Begins to write what was gathered, once the run before it is written.
    async fn write_next(self: &Arc<Self>, unit: &Arc<ScanUnit>, way: &mut OnTheWay) -> Result<()> {
        if way.run.is_empty() {
            return Ok(());
        }
        join_one(&mut way.writing).await?;
        let run = std::mem::take(&mut way.run);
        way.writing.spawn(self.clone().write_run(unit.clone(), run));
        Ok(())
    }

    async fn write_run(self: Arc<Self>, unit: Arc<ScanUnit>, run: Run) -> Result<()> {
        let sorting = tokio::task::spawn_blocking(|| run.sorted()).await;
        let run = sorting.map_err(|e| Error::internal(format!("sorting ended early: {e}")))?;
        // A document that is refused is doubtful from here on. The resume position may be beyond
        // it: until nothing of the collection is doubtful all of it would be read again.
        let shown = run.reads.iter().map(|read| read.shows);
        let shown = shown.min().unwrap_or_default();
        let limits = self.writer.limits;
        let commands = limits.split(&run.documents, |document| (1, document.len() + 16));
        stream::iter(commands)
            .map(|documents| self.write_some(&unit, shown, documents))
            .buffer_unordered(self.run_writes_max)
            .try_collect::<()>()
            .await?;
        // IMPORTANT: only once every write is acknowledged: ops that waited are applied now.
        self.gate.lock().end_reads(&unit.tracked.uuid, &run.reads);
        failpoint::hit("run-written");
        Ok(())
    }

    async fn write_some(
        &self,
        unit: &ScanUnit,
        shown: Position,
        documents: &[Bytes],
    ) -> Result<()> {
        let turn = self.run_writes.acquire().await;
        let _turn = turn.map_err(|_| Error::internal("a semaphore was closed"))?;
        let documents = documents.iter().map(|document| Ok(locate::raw(document)));
        self.put(unit, shown, documents).await
    }
}

/// With a majority's data only, and the newest of it with each reply.
fn find(unit: &ScanUnit) -> RawDocumentBuf {
    rawdoc! {
        "find": bson::Binary::from(unit.tracked.uuid),
        "readConcern": { "level": "majority" },
        "batchSize": unit.batch_documents,
        "noCursorTimeout": true,
        "hint": { "$natural": 1 },
    }
}
