//! Scans a collection in the order of the disk (R2): one reader, whose replies are gathered in
//! buckets by `_id`. While it goes on some of them are written, sorted, over several
//! connections: when memory is short, ops wait, or it is old.
//!
//! Nothing is kept of how far it came: a cursor means nothing to another process. What breaks
//! begins again, and what is there already is left alone. A few times: then it is given up,
//! and copied by `_id` (`control::recorded::replan`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::{AcquireError, SemaphorePermit};
use tokio::task::JoinSet;

use crate::bson::locate;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::budget::{Permit, REPLY_BYTES_MAX};
use crate::pair::copy::buckets::{Buckets, Taken, Written};
use crate::pair::copy::pace::Pace;
use crate::pair::copy::reached::Reached;
use crate::pair::copy::scan::{self, BATCH_BYTES, Broken, Scanners, written};
use crate::pair::copy::scan_unit::ScanUnit;
use crate::pair::copy::sorted_run::SortedRun;
use crate::pair::copy::units::WHOLE_READS_MAX;
use crate::pair::gate::rolling::Read;
use crate::position::Position;
use crate::state::{ScanOrder, same_term};

/// Memory that one read needs: a reply that is gathered, and one to come. With less of it ops
/// would wait for a read that waits for what others gather.
pub const NATURAL_READ_BYTES: usize = 2 * REPLY_BYTES_MAX;

/// Buckets of one collection that are written side by side.
const WRITTEN_AT_ONCE: usize = 4;
/// While ops wait nothing older is gathered, nor more than can be written meanwhile.
const AGE_MAX: Duration = Duration::from_secs(1);
/// The same while none wait: the position of a restart stands at the oldest read.
const AGE_IDLE_MAX: Duration = Duration::from_secs(10);
/// How often a read that takes long looks whether ops wait.
const LOOK: Duration = Duration::from_millis(100);
/// How long a hold of copying keeps one read waiting.
const HELD_MAX: Duration = Duration::from_secs(1);

/// What of a collection is between source and target.
struct OnTheWay {
    /// The read under way.
    read: Read,
    buckets: Buckets,
    /// Those that are being written.
    writing: JoinSet<Result<Written>>,
    pace: Pace,
}

impl Scanners {
    /// To be waited for before a unit is started.
    pub(super) async fn turn(&self, unit: &ScanUnit) -> Result<Option<SemaphorePermit<'_>>> {
        if unit.tracked.order == ScanOrder::Id {
            return Ok(None);
        }
        self.natural_reads.acquire().await.map(Some).map_err(closed)
    }

    /// `first`: the read that is begun already.
    pub(super) async fn read_from_the_first(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        first: Option<Read>,
    ) -> scan::Read {
        let reads = unit.whole_reads.load(Relaxed);
        let outcome = self.copy_naturally(unit, first).await;
        // That the source answered counts: it cannot do so too often (`unless_in_vain`).
        let moved = reads < unit.whole_reads.load(Relaxed);
        scan::Read { moved, outcome }
    }

    /// Reads all of the collection and writes it. Also where reading breaks off, all that was
    /// read is written at the end.
    async fn copy_naturally(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        first: Option<Read>,
    ) -> std::result::Result<(), Broken> {
        let uuid = &unit.tracked.uuid;
        let read = first.or_else(|| self.gate.lock().begin_read(uuid, None));
        let read = match read {
            Some(read) => read,
            None if unit.tracked.counts() => return Err(Broken::Target(unknown_to_gate())),
            None => return Ok(()),
        };
        let mut way = OnTheWay {
            read,
            buckets: Buckets::default(),
            writing: JoinSet::new(),
            pace: Pace::new(AGE_MAX),
        };
        let read = self.read_naturally(unit, &mut way).await;
        if let Err(Broken::Target(e)) = read {
            // IMPORTANT: no read ends: what was sent may still run (R7).
            return Err(Broken::Target(e));
        }
        // Nothing of the last one came.
        self.gate.lock().end_reads(uuid, &[way.read]);
        self.write_all(unit, &mut way)
            .await
            .map_err(Broken::Target)?;
        read
    }

    async fn read_naturally(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        way: &mut OnTheWay,
    ) -> std::result::Result<(), Broken> {
        let uuid = &unit.tracked.uuid;
        let mut permit = self.share.reserve_reply().await;
        let opened = self.open(unit, way.read.at, find(unit)).await;
        let (mut cursor, server) = opened.map_err(Broken::Source)?;
        let counted = self.count_whole_read(unit).await;
        counted.map_err(Broken::Target)?;
        let mut last_bytes = 0;
        loop {
            let at = way.read.at;
            let asked = Box::pin(async {
                // Ops wait for this read, and not in the spool (R12): it is slowed down, and
                // never held for long.
                self.throttle.copied_within(last_bytes, HELD_MAX).await;
                if !cursor.is_at_end() {
                    self.reach(unit, &server, at).await?;
                }
                self.next(unit, &mut cursor).await
            });
            let batch = self.meanwhile(unit, way, asked).await?;
            let Some(batch) = batch else { return Ok(()) };
            unit.tracked
                .raise_horizon(Position::clock_of(batch.reply()));
            last_bytes = batch.bytes() as u64;
            // IMPORTANT: before the one that came can end.
            let next = self.gate.lock().begin_read(uuid, Some(&way.read));
            let Some(next) = next else { return Ok(()) };
            let came = std::mem::replace(&mut way.read, next);
            let some = way.buckets.add(came, batch, permit);
            if !matches!(some, Ok(true)) {
                self.gate.lock().end_reads(uuid, &[came]);
            }
            some.map_err(Broken::Source)?;
            permit = self.room(unit, way).await.map_err(Broken::Target)?;
        }
    }

    /// The source answered, and gives the first document again.
    async fn count_whole_read(&self, unit: &ScanUnit) -> Result<()> {
        let ns = unit.tracked.ns();
        let again = unit.whole_reads.fetch_add(1, Relaxed);
        self.store.begin_whole_read(unit.tracked.uuid).await?;
        tracing::info!(%ns, again, "read in the order of the disk, from the first document");
        let told = (0 < again).then(|| {
            format!(
                "{ns} is read from its first document for the {}. time, for each read was interrupted; after {WHOLE_READS_MAX} \
                 of them it is emptied on the target and copied by `_id`",
                again + 1
            )
        });
        self.tell(unit, told);
        Ok(())
    }

    /// Waits for what was asked for. What is gathered is written meanwhile, if it is due.
    async fn meanwhile<T>(
        self: &Arc<Self>,
        unit: &Arc<ScanUnit>,
        way: &mut OnTheWay,
        mut asked: impl Future<Output = Result<T>> + Unpin,
    ) -> std::result::Result<T, Broken> {
        loop {
            while self.is_due(unit, way) && self.write_next(unit, way) {}
            tokio::select! {
                came = &mut asked => return came.map_err(Broken::Source),
                Some(ended) = way.writing.join_next() => {
                    let written = written(ended).map_err(Broken::Target)?;
                    self.wrote_bucket(unit, way, &written);
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// What is gathered is very old. Or ops wait, and it is old, or more than is written in a
    /// moment.
    fn is_due(&self, unit: &ScanUnit, way: &mut OnTheWay) -> bool {
        let age = way.buckets.since().map_or(Duration::ZERO, |s| s.elapsed());
        let is_much = way.pace.bytes().max(BATCH_BYTES as usize) < way.buckets.bytes();
        AGE_IDLE_MAX < age
            || (AGE_MAX < age || is_much) && self.gate.lock().waits_for_reads(&unit.tracked.uuid)
    }

    /// Memory for the next reply. What is gathered is written until there is some: nobody waits
    /// for it with some in hand.
    async fn room(self: &Arc<Self>, unit: &Arc<ScanUnit>, way: &mut OnTheWay) -> Result<Permit> {
        loop {
            if !self.is_due(unit, way)
                && let Some(permit) = self.share.try_reserve_reply()
            {
                return Ok(permit);
            }
            if !self.write_next(unit, way) && !self.has_written_one(unit, way).await? {
                return Ok(self.share.reserve_reply().await);
            }
        }
    }

    /// The server shows `position` in whatever it is asked for from now on: the cursor lives
    /// in one process, whose majority view only moves on.
    async fn reach(&self, unit: &ScanUnit, server: &Reached, position: Position) -> Result<()> {
        let db = &unit.tracked.source_db;
        let position = position.max(unit.tracked.planned_at());
        let reached = async {
            let wait = server.wait(&self.source, db, position);
            tokio::try_join!(wait, server.check(&self.source)).map(drop)
        };
        let reached = self.direct.while_primary(server.address(), reached);
        self.read(unit, reached).await
    }

    /// Begins to write the oldest bucket. False if none can be, now.
    fn write_next(self: &Arc<Self>, unit: &Arc<ScanUnit>, way: &mut OnTheWay) -> bool {
        if WRITTEN_AT_ONCE <= way.writing.len() {
            return false;
        }
        let Some(taken) = way.buckets.take_oldest() else {
            return false;
        };
        let write = self.clone().write_bucket(unit.clone(), taken);
        way.writing.spawn(write);
        true
    }

    /// Waits until one bucket is written. False if none is on its way.
    async fn has_written_one(&self, unit: &ScanUnit, way: &mut OnTheWay) -> Result<bool> {
        let Some(ended) = way.writing.join_next().await else {
            return Ok(false);
        };
        let written = written(ended)?;
        self.wrote_bucket(unit, way, &written);
        Ok(true)
    }

    async fn write_all(self: &Arc<Self>, unit: &Arc<ScanUnit>, way: &mut OnTheWay) -> Result<()> {
        while self.write_next(unit, way) || self.has_written_one(unit, way).await? {}
        Ok(())
    }

    /// IMPORTANT: only once every write of it is acknowledged: ops that waited are applied now.
    fn wrote_bucket(&self, unit: &ScanUnit, way: &mut OnTheWay, written: &Written) {
        way.pace.add(written.bytes);
        let ended = way.buckets.written(written);
        self.gate.lock().end_reads(&unit.tracked.uuid, &ended);
        failpoint::hit("run-written");
    }

    async fn write_bucket(self: Arc<Self>, unit: Arc<ScanUnit>, taken: Taken) -> Result<Written> {
        let shown = taken.position();
        let sorting = tokio::task::spawn_blocking(|| taken.sorted()).await;
        let sorted = sorting.map_err(|e| Error::internal(format!("sorting ended early: {e}")))?;
        let (mut run, written) = sorted;
        self.queue_delicate(&unit, shown, &mut run).await?;
        // IMPORTANT: only now: the run may have a document more than once. And of what ops
        // bring all is remembered: one that passes was classified before the read was begun
        // (R2), and any other waits until all that the read gave is written.
        run.set_apart(&unit.tracked.duplicate_names);
        self.queue_delicate(&unit, shown, &mut run).await?;
        let limits = self.writer.limits;
        let commands = limits.split(&run.plain, |document| (1, document.len() + 16));
        let writes: Vec<_> = commands
            .into_iter()
            .map(|documents| self.write_some(&unit, shown, documents))
            .collect();
        try_join_all(writes).await?;
        Ok(written)
    }

    /// Lanes write these: what they do to such a document looks first whether it is there.
    ///
    /// IMPORTANT: that there are names that occur twice is recorded first. After a restart ops
    /// on these documents come before they are read again.
    async fn queue_delicate(
        &self,
        unit: &ScanUnit,
        position: Position,
        run: &mut SortedRun,
    ) -> Result<()> {
        let uuid = unit.tracked.uuid;
        if std::mem::take(&mut run.duplicate_names) {
            let term = self.store.saw_duplicate_names(&[uuid]).await?;
            same_term(self.writer.target.incarnation.term, term)?;
        }
        let delicate = std::mem::take(&mut run.delicate);
        let ours = self.ours(unit, &delicate);
        let kept = ours.iter().map(|document| run.keep(document)).collect();
        self.gate.lock().queue_read(&uuid, position, kept);
        self.wrote(unit, &ours);
        Ok(())
    }

    async fn write_some(
        &self,
        unit: &ScanUnit,
        shown: Position,
        documents: &[Bytes],
    ) -> Result<()> {
        let _turn = self.run_writes.acquire().await.map_err(closed)?;
        let ours = self.ours(unit, documents);
        self.writer.majority.keeps_up().await;
        self.writer.copy_plain(&unit.tracked, &ours, shown).await?;
        self.wrote(unit, &ours);
        Ok(())
    }

    fn ours<'a>(&self, unit: &ScanUnit, documents: &'a [Bytes]) -> Vec<&'a [u8]> {
        let documents = documents.iter().map(|document| &document[..]);
        documents
            .filter(|document| self.is_ours(unit, locate::raw(document)))
            .collect()
    }
}

/// To be asked before it is read again.
///
/// # Errors
/// `Transient` if that was begun too often: the next attempt copies it by `_id`.
pub(super) fn unless_in_vain(unit: &ScanUnit) -> Result<()> {
    if unit.whole_reads.load(Relaxed) < WHOLE_READS_MAX {
        return Ok(());
    }
    let found = format!(
        "{} was read {WHOLE_READS_MAX} times in the order of the disk, and never to its end",
        unit.tracked.ns()
    );
    Err(Error::new(Kind::Transient, found))
}

fn closed(_: AcquireError) -> Error {
    Error::internal("a semaphore was closed")
}

fn unknown_to_gate() -> Error {
    Error::internal("a collection is to be read in the order of the disk, and its ops are not")
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
