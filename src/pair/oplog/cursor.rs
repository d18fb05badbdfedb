//! Reading one shard's oplog: the start position, the tail's cursor, single
//! entries by position.
//!
//! Hands out raw replies; what an entry means is `entry`'s and `tail`'s.

use std::time::Duration;

use bson::raw::cstr;
use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc, rawdoc};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::Client;

use crate::cluster::dialect::ReadForms;
use crate::cluster::direct::Direct;
use crate::cluster::retry::Retry;
use crate::error::{CODES_CURSOR_LOST, Error, Kind, Result};
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::namings::{self, Namings};
use crate::pair::oplog::spanning::Spanning;
use crate::position::{Mark, Position};
use crate::wire::cursor::{Batch, Cursor, Next};

/// How long the server waits for new entries before it answers with none.
const AWAIT: Duration = Duration::from_millis(250);

/// Most entries in one reply; the server bounds its bytes (16 MiB). With this bound the
/// memory that ops need besides their bytes (`origin`) mostly fits in what is granted for
/// a reply.
const BATCH_ENTRIES: i32 = 16_384;

/// One oplog, read from its primary with majority read concern (R1).
#[derive(Debug, Clone)]
pub struct Oplog {
    client: Client,
    shard: String,
    /// How long the source may be away.
    away_max: Duration,
    seeks_by_flag: bool,
}

/// The newest majority-committed entry.
#[derive(Debug, Clone, Copy)]
pub struct Newest {
    pub mark: Mark,
    /// The source has no entry beyond this yet, committed or not.
    pub clock: Position,
}

impl Oplog {
    pub fn new(client: Client, shard: &str, away_max: Duration) -> Self {
        Oplog {
            client,
            shard: shard.to_owned(),
            away_max,
            seeks_by_flag: false,
        }
    }

    /// As the source's release finds positions.
    pub fn of_forms(self, forms: ReadForms) -> Self {
        Oplog {
            seeks_by_flag: forms.seeks_by_flag,
            ..self
        }
    }

    /// The error of a read. A lost cursor is opened again; if entries rolled off
    /// meanwhile, `check_first` reports it then.
    fn error(&self, e: Error) -> Error {
        let e = e.context(format_args!(
            "reading the oplog of source shard {}",
            self.shard
        ));
        if e.code.is_some_and(|code| CODES_CURSOR_LOST.contains(&code)) {
            return Error {
                kind: Kind::Transient,
                ..e
            };
        }
        e
    }

    /// With the clock of the server that gave it.
    async fn first(&self, command: RawDocumentBuf) -> Result<Option<(RawDocumentBuf, Position)>> {
        let failed = |e: mongodb::error::Error| self.error(e.into());
        let mut cursor = self
            .client
            .database("local")
            .run_raw_cursor_command(command)
            .batch()
            .await
            .map_err(failed)?;
        while let Some(batch) = cursor.next().await {
            let batch = batch.map_err(failed)?;
            if let Some(entry) = batch.doc_slices()?.into_iter().next() {
                let clock = Position::clock_of(batch.as_raw_document());
                return Ok(entry?.as_document().map(|entry| (entry.to_owned(), clock)));
            }
        }
        Ok(None)
    }

    /// The newest majority-committed entry.
    pub async fn newest(&self) -> Result<Newest> {
        let command = rawdoc! {
            "find": "oplog.rs", "sort": { "$natural": -1 }, "limit": 1, "readConcern": { "level": "majority" },
        };
        let missing = || {
            Error::new(
                Kind::Server,
                format!("the oplog of source shard {} is empty", self.shard),
            )
        };
        let (raw, clock) = self.first(command).await?.ok_or_else(missing)?;
        let entry = Entry::read(&raw)?;
        Ok(Newest {
            mark: entry.mark(),
            clock,
        })
    }

    /// The oldest entry the oplog still holds.
    pub async fn oldest(&self) -> Result<Option<Position>> {
        let command = rawdoc! { "find": "oplog.rs", "sort": { "$natural": 1 }, "limit": 1 };
        self.first(command)
            .await?
            .map(|(raw, _)| Ok(Entry::read(&raw)?.position))
            .transpose()
    }

    /// The entry at exactly `position`; None if it rolled off. Waits while the
    /// source is away.
    pub async fn at(&self, position: Position) -> Result<Option<RawDocumentBuf>> {
        let command = || {
            self.seeking(rawdoc! {
                "find": "oplog.rs", "filter": { "ts": Timestamp::from(position) }, "limit": 1,
                "readConcern": { "level": "majority" },
            })
        };
        let found = Retry::new(self.away_max)
            .until_it_works(|| self.first(command()))
            .await?;
        Ok(found.map(|(raw, _)| raw))
    }

    /// Adds what entries after the first position, up to the second, say of names.
    ///
    /// # Errors
    /// `Transient` if the server does not show the last of them, as after an election.
    pub async fn note_namings(
        &self,
        namings: &mut Namings,
        after: Position,
        upto: Position,
    ) -> Result<()> {
        let has_one = namings::FIELDS.map(|field| doc! { field: { "$exists": true } });
        let mut fields = doc! { "_id": false, "ts": true };
        for field in namings::FIELDS.into_iter().chain(namings::OTHER_FIELDS) {
            fields.insert(field, true);
        }
        let between = doc! { "$gt": Timestamp::from(after), "$lte": Timestamp::from(upto) };
        let naming = doc! { "op": "c", "$or": has_one.to_vec() };
        let last = doc! { "ts": Timestamp::from(upto) };
        let find = doc! {
            "find": "oplog.rs", "filter": { "ts": between, "$or": [naming, last] },
            "projection": fields, "readConcern": { "level": "majority" },
        };
        let mut reached = after;
        self.each(find, |entry| {
            reached = Entry::mark_of(entry)?.position;
            namings.note(entry);
            Ok(())
        })
        .await?;
        if reached < upto {
            return Err(self.does_not_show(upto));
        }
        Ok(())
    }

    /// Which transactions take effect after the first position, up to the second, and began
    /// before.
    pub async fn spanning(&self, after: Position, upto: Position) -> Result<Spanning> {
        let between = doc! { "$gt": Timestamp::from(after), "$lte": Timestamp::from(upto) };
        let mut filter = doc! { "ts": between };
        filter.extend(Spanning::filter());
        let find = doc! {
            "find": "oplog.rs", "filter": filter, "projection": Spanning::fields(),
            "readConcern": { "level": "majority" },
        };
        let mut spanning = Spanning::new(after);
        self.each(find, |entry| spanning.note(entry)).await?;
        Ok(spanning)
    }

    /// Notes each entry that is found, in the order of the log.
    async fn each(
        &self,
        find: Document,
        mut note: impl FnMut(&RawDocument) -> Result<()>,
    ) -> Result<()> {
        let command = self.seeking(RawDocumentBuf::try_from(find)?);
        let failed = |e: mongodb::error::Error| self.error(e.into());
        let local = self.client.database("local");
        let cursor = local.run_raw_cursor_command(command).await;
        let mut entries = cursor.map_err(failed)?.with_type::<RawDocumentBuf>();
        while let Some(entry) = entries.try_next().await.map_err(failed)? {
            note(&entry)?;
        }
        Ok(())
    }

    /// Follows from `start` on. The first entry that comes is the start entry
    /// itself; `check_first` must see it (R1).
    pub async fn tail(&self, direct: &Direct, start: Position) -> Result<Cursor> {
        let command = self.seeking(rawdoc! {
            "find": "oplog.rs", "filter": { "ts": { "$gte": Timestamp::from(start) } },
            "tailable": true, "awaitData": true, "noCursorTimeout": true, "batchSize": BATCH_ENTRIES,
            "readConcern": { "level": "majority" },
        });
        let next = Next {
            batch_size: BATCH_ENTRIES,
            await_ms: Some(AWAIT.as_millis() as i32),
        };
        let opened = async { Cursor::open(direct.primary().await?, "local", command, next).await };
        opened.await.map_err(|e| self.error(e))
    }

    /// A `find` by position that does not read all of the oplog up to there.
    fn seeking(&self, mut find: RawDocumentBuf) -> RawDocumentBuf {
        if self.seeks_by_flag {
            find.append(cstr!("oplogReplay"), true);
        }
        find
    }

    pub async fn next(&self, cursor: &mut Cursor) -> Result<Batch> {
        let ended = || {
            Error::new(
                Kind::Transient,
                format!("the oplog cursor of source shard {} ended", self.shard),
            )
        };
        cursor
            .next()
            .await
            .map_err(|e| self.error(e))?
            .ok_or_else(ended)
    }

    /// Checks the first entry of a cursor. A position that rolled off gives no error by
    /// itself: if the first entry is not the one asked for, the tail has lost what lay
    /// between.
    pub fn check_first(&self, asked: Mark, first: Mark) -> Result<()> {
        if asked == first {
            return Ok(());
        }
        Err(self.rolled_off(format!(
            "the oplog of source shard {} no longer holds position {} (term {}): it begins at {}, {} s later; what was \
             written in between is lost to this run",
            self.shard,
            asked.position,
            asked.term,
            first.position,
            first.position.seconds().saturating_sub(asked.position.seconds())
        )))
    }

    /// The error of a server that has not come to an entry yet.
    pub fn does_not_show(&self, position: Position) -> Error {
        let found = format!(
            "the oplog of source shard {} does not show position {position} yet",
            self.shard
        );
        Error::new(Kind::Transient, found)
    }

    /// The error for entries that rolled off, with its remedy.
    pub fn rolled_off(&self, found: impl Into<String>) -> Error {
        Error::new(Kind::RolledOff, found).remedy(format!(
            "enlarge the oplog of source shard {0}, copy that shard again with `shardlift recopy --shard {0}` \
             with the same --source and --target, then run the same `shardlift migrate` again: all other shards go on \
             where they are. If the spool of an earlier process is on another host, run there instead",
            self.shard
        ))
    }
}
