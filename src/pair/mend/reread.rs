//! Takes documents as the source had them at one position to the target, in one
//! transaction: all are deleted, then all are written (R3). No state in between can be
//! seen, or survives a crash. Where the rest of the collection is exact at that position,
//! nothing can collide.
//!
//! Knows nothing about why or when; `doubtful` does.

use std::collections::HashSet;
use std::time::Duration;

use bson::raw::cstr;
use bson::{RawDocumentBuf, Timestamp, rawdoc};

use crate::bson::identity::{self, IdKey};
use crate::bson::locate;
use crate::cluster::dialect::ReadForms;
use crate::cluster::direct::Direct;
use crate::cluster::ranges::id_hint;
use crate::cluster::retry::within;
use crate::error::{Error, Kind, Result};
use crate::limits::COMMAND_BYTES_MAX;
use crate::pair::budget::Share;
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::until_answered;
use crate::pair::write::bulk::Writer;
use crate::pair::write::command::{STATEMENT_OVERHEAD_BYTES, Verb, WriteCommand};
use crate::pair::write::insert::{self, without_id};
use crate::pair::write::render;
use crate::pair::write::transaction::{self, Transaction};
use crate::position::Position;
use crate::wire::cursor::{Batch, Cursor, Next};

/// The source as its documents are read at one position.
#[derive(Debug)]
pub struct Source {
    pub direct: Direct,
    pub forms: ReadForms,
}

/// The parts of one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Reread<'a> {
    pub source: &'a Source,
    pub writer: &'a Writer,
    pub share: &'a Share,
    pub tracked: &'a Tracked,
    /// The source is read at exactly this.
    pub position: Position,
}

/// Why the transaction did not commit. Nothing of it took effect.
#[derive(Debug)]
pub enum Stop {
    /// The source cannot show the position now; a newer one it may.
    HistoryGone(Error),
    /// The target did not take it.
    Refused(Error),
    /// More bytes than were allowed.
    TooLarge,
    /// Not to be tried again by us.
    Fault(Error),
}

/// Codes by which a target says that a transaction is more than it can take:
/// WriteConflict (its cache is full), NoSuchTransaction (it lived too long, and was
/// ended), TransactionExceededLifetimeLimitSeconds.
const CODES_TOO_LARGE: [i32; 3] = [112, 251, 290];

impl Stop {
    /// Whether fewer documents may succeed.
    pub fn is_too_large(&self) -> bool {
        match self {
            Stop::TooLarge => true,
            Stop::Refused(e) => e.code.is_some_and(|code| CODES_TOO_LARGE.contains(&code)),
            Stop::HistoryGone(_) | Stop::Fault(_) => false,
        }
    }
}

impl From<transaction::Stop> for Stop {
    fn from(stop: transaction::Stop) -> Self {
        match stop {
            transaction::Stop::NotTaken(e) => Stop::Refused(e),
            transaction::Stop::Fault(e) => Stop::Fault(e.context("writing documents read again")),
        }
    }
}

type Step<T> = std::result::Result<T, Stop>;

/// `_id`s in one read of the source, and their bytes.
const READ_IDS_MAX: usize = 1_000;
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Deletes in one command.
const DELETES_MAX: usize = 10_000;
/// How long a read waits for a prepared transaction in its way. The
/// collection's ops are held for as long.
const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// Codes of a source that cannot show a position, or is dropping the collection:
/// NamespaceNotFound, CursorNotFound, MaxTimeMSExpired, QueryPlanKilled, CursorKilled,
/// SnapshotTooOld, SnapshotUnavailable; and where it is read in a transaction WriteConflict,
/// NoSuchTransaction, TransactionExceededLifetimeLimitSeconds (server source,
/// `error_codes.yml`).
const CODES_HISTORY_GONE: [i32; 10] = [26, 43, 50, 112, 175, 237, 239, 246, 251, 290];

impl Reread<'_> {
    /// Makes the documents of `ids` equal to the source's at the position. Those that the
    /// source did not have, or that were another shard's, are removed.
    ///
    /// `bytes_max`: most bytes of all those documents.
    pub async fn run(&self, ids: &[IdKey], bytes_max: usize) -> Step<()> {
        // Two replies' worth: the server's reply and the commands made of it. Before the
        // transaction, which keeps a connection that others wait for.
        let _permit = self.share.reserve_reply().await;
        // Dead: nothing is to be made equal.
        let Some(under_way) = self.tracked.begin_write().await else {
            return Ok(());
        };
        let mut transaction = Transaction::begin(&self.writer.target).await?;
        if let Err(stop) = self.write_all(&mut transaction, ids, bytes_max).await {
            transaction.abort().await;
            return Err(stop);
        }
        crate::failpoint::hit("doubtful-before");
        let commit = async {
            match transaction.commit().await {
                Err(transaction::Stop::Fault(e)) => Err(e),
                committed => Ok(committed),
            }
        };
        let committed = until_answered(under_way, commit).await;
        committed.map_err(Stop::Fault)??;
        crate::failpoint::hit("doubtful-after");
        Ok(())
    }

    async fn write_all(
        &self,
        transaction: &mut Transaction<'_>,
        ids: &[IdKey],
        bytes_max: usize,
    ) -> Step<()> {
        let mut parts = split_ids(ids);
        // IMPORTANT: before the deletes, which take their time: before 5.0 a source keeps its
        // history for some seconds only.
        let mut reading = match parts.next() {
            Some(first) => Some(self.find(first, None).await?),
            None => None,
        };
        self.delete_all(transaction, ids).await?;
        // Under a collation two `_id`s may find one and the same document.
        let mut written: HashSet<IdKey> = HashSet::new();
        let mut bytes = 0;
        while let Some(mut cursor) = reading {
            while let Some(batch) = self.next(&mut cursor).await? {
                self.tracked.raise_horizon(may_show(&batch));
                let documents = self.owned(&batch, &mut written).map_err(Stop::Fault)?;
                bytes += documents
                    .iter()
                    .map(|document| document.len())
                    .sum::<usize>();
                if bytes_max < bytes {
                    return Err(Stop::TooLarge);
                }
                self.write(transaction, &documents).await?;
            }
            reading = match parts.next() {
                Some(some) => Some(self.find(some, Some(cursor)).await?),
                None => {
                    self.read(cursor.end()).await?;
                    None
                }
            };
        }
        Ok(())
    }

    async fn delete_all(&self, transaction: &mut Transaction<'_>, ids: &[IdKey]) -> Step<()> {
        for some in identity::split(ids, DELETES_MAX, COMMAND_BYTES_MAX / 2) {
            let bytes = some
                .iter()
                .map(|id| id.bytes() + STATEMENT_OVERHEAD_BYTES)
                .sum();
            let mut command = self.command(Verb::Delete, bytes);
            some.iter().for_each(|id| command.delete(id.value()));
            self.send(transaction, command).await?;
        }
        Ok(())
    }

    /// True if the source has any of these: at the position, or later if capped.
    pub async fn exist_on_source(&self, ids: &[IdKey]) -> Step<bool> {
        for some in split_ids(ids) {
            let _permit = self.share.reserve_reply().await;
            let mut cursor = self.find(some, None).await?;
            while let Some(batch) = self.next(&mut cursor).await? {
                self.tracked.raise_horizon(may_show(&batch));
                if !self
                    .owned(&batch, &mut HashSet::new())
                    .map_err(Stop::Fault)?
                    .is_empty()
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// By the collection's own collation, as the deletes are. Over the connection of
    /// `reading`, which was read to its end: where a transaction is needed, its first read
    /// fixes what all of it shows, however long the writes in between take.
    async fn find(&self, ids: &[IdKey], reading: Option<Cursor>) -> Step<Cursor> {
        let Source { direct, forms } = self.source;
        let mut find = rawdoc! {
            "find": bson::Binary::from(self.tracked.uuid),
            "filter": { "_id": identity::any_of(ids) },
            "hint": id_hint(forms.clustered_hint || !self.tracked.traits.clustered),
            "batchSize": READ_IDS_MAX as i32,
            "maxTimeMS": READ_TIME_MAX.as_millis() as i64,
        };
        let in_transaction = forms.snapshots_in_transactions && !self.tracked.traits.capped;
        if !in_transaction || reading.is_none() {
            find.append(cstr!("readConcern"), self.concern());
        }
        let next = Next {
            batch_size: READ_IDS_MAX as i32,
            await_ms: None,
        };
        let db = &self.tracked.source_db;
        self.read(async {
            if let Some(mut cursor) = reading {
                cursor.again(db, find).await?;
                return Ok(cursor);
            }
            let primary = direct.primary().await?;
            if in_transaction {
                return Cursor::open_in_transaction(primary, db, find, next).await;
            }
            Cursor::open(primary, db, find, next).await
        })
        .await
    }

    /// No server shows a capped collection at one position (246): at it or later.
    fn concern(&self) -> RawDocumentBuf {
        let position = Timestamp::from(self.position);
        if self.tracked.traits.capped {
            rawdoc! { "level": "majority", "afterClusterTime": position }
        } else {
            rawdoc! { "level": "snapshot", "atClusterTime": position }
        }
    }

    async fn next(&self, cursor: &mut Cursor) -> Step<Option<Batch>> {
        self.read(cursor.next()).await
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T>>) -> Step<T> {
        let read = within(self.writer.target.patience, "the source", read).await;
        read.map_err(|e| {
            self.source.direct.learn(&e);
            source_stop(e)
        })
    }

    /// Those of a reply that this shard owns and that are not in `seen`.
    fn owned<'b>(&self, batch: &'b Batch, seen: &mut HashSet<IdKey>) -> Result<Vec<&'b [u8]>> {
        let mut owned = Vec::new();
        for document in batch.iter() {
            let document = document?;
            self.tracked
                .duplicate_names
                .note(document, &self.tracked.ns())?;
            let id = locate::id_of(document).ok_or_else(|| without_id(self.tracked))?;
            if self.tracked.owns(document) && seen.insert(IdKey::new(id)) {
                owned.push(document.as_bytes());
            }
        }
        Ok(owned)
    }

    async fn write(&self, transaction: &mut Transaction<'_>, documents: &[&[u8]]) -> Step<()> {
        let (literal, plain): (Vec<&[u8]>, Vec<&[u8]>) = documents
            .iter()
            .partition(|d| locate::needs_literal(locate::raw(d)));
        for batch in insert::split_by_bytes(&plain, self.writer.limits) {
            let bytes = batch.iter().map(|d| d.len() + 16).sum();
            let mut command = self.command(Verb::Insert, bytes);
            batch.iter().for_each(|document| command.insert(document));
            self.send(transaction, command).await?;
        }
        for document in literal {
            let bytes = document.len() + STATEMENT_OVERHEAD_BYTES;
            let mut command = self.command(Verb::Update, bytes);
            let id = locate::id_of(locate::raw(document)).expect("it was found by its `_id`");
            let writer = command.begin_update(id, true);
            render::write_pipeline(writer, Some(document), &[]);
            writer.end();
            self.send(transaction, command).await?;
        }
        Ok(())
    }

    fn command(&self, verb: Verb, bytes: usize) -> WriteCommand {
        WriteCommand::in_transaction(verb, self.tracked, self.writer.target.forms, bytes)
    }

    async fn send(&self, transaction: &mut Transaction<'_>, command: WriteCommand) -> Step<()> {
        transaction.send(command.finish()).await?;
        Ok(())
    }

    /// Whether the target has any of these, whatever their contents.
    pub async fn exist_on_target(&self, ids: &[IdKey]) -> Result<bool> {
        for some in split_ids(ids) {
            if self.writer.target.has_any(self.tracked, some).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Splits `ids` into what one read names.
fn split_ids(ids: &[IdKey]) -> impl Iterator<Item = &[IdKey]> {
    identity::split(ids, READ_IDS_MAX, READ_BYTES_MAX)
}

/// The newest position that the reply may show. A committed prepared transaction is read
/// as of its commit timestamp, which is below its commit entry; but the position of that
/// entry was taken before the commit was visible.
fn may_show(batch: &Batch) -> Position {
    Position::clock_of(batch.reply())
}

fn source_stop(e: Error) -> Stop {
    let passing = e.kind == Kind::Transient
        || e.code
            .is_some_and(|code| CODES_HISTORY_GONE.contains(&code));
    if passing {
        Stop::HistoryGone(e)
    } else {
        Stop::Refused(e.context("reading documents again on the source"))
    }
}

const _: () = assert!(READ_BYTES_MAX < COMMAND_BYTES_MAX);
