//! The entries of one source oplog, in order, whatever happens to the source's servers or
//! to the attempt. A fetcher reads the source into the spool as long as the process
//! lives, and a tail reads the spool.
//!
//! So the source's oplog may roll over entries that a slow or absent target has not taken
//! yet.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bson::RawDocumentBuf;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::direct::Direct;
use crate::cluster::retry::{Retry, within};
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::block::{entries, on_disk};
use crate::pair::oplog::cursor::Oplog;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::fetch::{Fetcher, View};
use crate::pair::oplog::parts::Parts;
use crate::position::{Mark, Position};
use crate::spool::log::OplogLog;
use crate::spool::reader::Reader;
use crate::spool::segment::Block;

/// A day of a busy shard's log is read in minutes.
const SPANNING_WITHIN: Duration = Duration::from_secs(3_600);

/// The feed of one pair. Lives as long as the process.
pub struct Feed {
    oplog: Oplog,
    direct: Direct,
    log: OplogLog,
    away_max: Duration,
    patience: Duration,
    fetching: parking_lot::Mutex<Option<Fetching>>,
    parts: parking_lot::Mutex<Parts>,
}

struct Fetching {
    tasks: JoinSet<()>,
    view: Arc<View>,
    failed: watch::Receiver<Option<Error>>,
}

impl Feed {
    /// `away_max`: how long the source may be away. `patience`: how long a reply
    /// may take.
    pub fn new(
        oplog: Oplog,
        direct: Direct,
        log: OplogLog,
        away_max: Duration,
        patience: Duration,
    ) -> Self {
        let mut parts = Parts::default();
        if let Some((first, last)) = log.range() {
            // Which of what an earlier process kept are parts is known once their commit
            // is met.
            parts.met(last.position, first.position);
        }
        Feed {
            oplog,
            direct,
            log,
            away_max,
            patience,
            fetching: Default::default(),
            parts: parts.into(),
        }
    }

    /// Reads every entry after `resume`, which the spool or the source must hold.
    pub async fn read_from(&self, resume: Mark) -> Result<FeedReader> {
        let covered = self.log.covers(resume.position);
        let broken = self
            .fetching
            .lock()
            .as_ref()
            .is_none_or(|f| f.failed.borrow().is_some());
        if !covered || broken {
            // The old fetcher ends before the log changes under it.
            let old = self.fetching.lock().take();
            if let Some(mut old) = old {
                old.tasks.shutdown().await;
            }
            if !covered {
                on_disk(&self.log, |log| log.reset()).await?;
            }
            let end = self.log.range().map(|(_, last)| last);
            self.fetch_from(
                end.filter(|end| resume.position < end.position)
                    .unwrap_or(resume),
            );
        }
        let fetching = self.fetching.lock();
        let fetching = fetching
            .as_ref()
            .ok_or_else(|| Error::internal("nothing is fetched"))?;
        let (failed, view) = (fetching.failed.clone(), fetching.view.clone());
        view.taken.fetch_max(resume.position.raw(), SeqCst);
        Ok(FeedReader {
            reader: self.log.reader(resume.position),
            failed,
            view,
        })
    }

    /// Begins to fetch again after an error that may pass: while nobody reads, nobody else
    /// does. Returns the error.
    pub fn keep_fetching(&self) -> Option<Error> {
        let failure = self.fetching.lock().as_ref()?.failed.borrow().clone()?;
        if let (true, Some((_, end))) = (failure.kind != Kind::RolledOff, self.log.range()) {
            self.fetch_from(end);
        }
        Some(failure)
    }

    fn fetch_from(&self, at: Mark) {
        let view: Arc<View> = Arc::default();
        let (failed, failure) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let mut fetcher = Fetcher {
            oplog: self.oplog.clone(),
            direct: self.direct.clone(),
            log: self.log.clone(),
            at,
            cursor: None,
            retry: Retry::new(self.away_max),
            patience: self.patience,
            view: view.clone(),
        };
        tasks.spawn(async move {
            if let Err(e) = fetcher.run().await {
                failed.send_replace(Some(e));
            }
        });
        *self.fetching.lock() = Some(Fetching {
            tasks,
            view,
            failed: failure,
        });
    }

    /// Whether the whole source oplog is fetched, and no entry is after `passed`.
    pub fn is_read_to(&self, passed: Position) -> bool {
        let at_head = self
            .fetching
            .lock()
            .as_ref()
            .is_some_and(|f| f.view.is_at_head());
        at_head
            && self
                .log
                .range()
                .is_none_or(|(_, last)| last.position <= passed)
    }

    /// Why the source's oplog cannot be read on now.
    pub fn trouble(&self) -> Option<String> {
        self.fetching.lock().as_ref().and_then(|f| f.view.trouble())
    }

    /// A second reader of entries after `after`, which the resume position must not have
    /// passed.
    pub fn again(&self, after: Position) -> Reader {
        self.log.reader(after)
    }

    /// The transaction that takes effect at `commit` has this part: as long as its
    /// commit may be read again, so may that.
    pub fn keep(&self, commit: Position, part: Position) {
        self.parts.lock().met(commit, part);
    }

    /// Removes what lies below `recorded`, which is not read again. Parts of transactions
    /// may be: they are kept while there is room, since the source may still have them.
    pub async fn trim(&self, recorded: Position) -> Result<()> {
        let needed = self.parts.lock().needed(recorded);
        let needed = if self.log.has_room() {
            needed
        } else {
            recorded
        };
        on_disk(&self.log, move |log| log.trim(needed)).await
    }

    /// Bytes of the spool on disk.
    pub fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Whether all that follows the entry at `position` can still be read: the
    /// spool's part from there, the rest from the source.
    pub async fn holds(&self, position: Position) -> Result<bool> {
        let spooled = self.log.range().filter(|_| self.log.covers(position));
        let needed = spooled.map_or(position, |(_, last)| last.position);
        Ok(self
            .oplog
            .oldest()
            .await?
            .is_none_or(|oldest| oldest <= needed))
    }

    /// Whether parts are lost of a transaction that takes effect after the first position, up to
    /// the second, and began before. A spool that reaches back that far kept them while it had
    /// room: it is not asked for them one by one.
    pub async fn lacks_parts(&self, after: Position, upto: Position) -> Result<bool> {
        if self.log.covers(after) {
            return Ok(false);
        }
        let spanning = self.oplog.spanning(after, upto);
        let spanning = within(SPANNING_WITHIN, "the source's oplog", spanning).await?;
        for last in spanning.before() {
            let mut part = Some(last);
            while let Some(position) = part {
                let Some(raw) = self.at(position).await? else {
                    return Ok(true);
                };
                part = Entry::read(&raw)?.previous;
            }
        }
        Ok(false)
    }

    /// The error that ends a pair whose oplog has a gap.
    pub fn rolled_off(&self, found: impl Into<String>) -> Error {
        self.oplog.rolled_off(found)
    }

    /// The source's oldest entry.
    pub async fn oldest_on_source(&self) -> Result<Option<Position>> {
        self.oplog.oldest().await
    }

    /// The entry at exactly `position`, from the spool or from the source; None
    /// if neither holds it.
    pub async fn at(&self, position: Position) -> Result<Option<RawDocumentBuf>> {
        // Reading may fail because the entry is being trimmed: the source may still have
        // it.
        match self.in_spool(position).await {
            Ok(Some(entry)) => Ok(Some(entry)),
            Ok(None) | Err(_) => self.oplog.at(position).await,
        }
    }

    async fn in_spool(&self, position: Position) -> Result<Option<RawDocumentBuf>> {
        if !self.log.covers(position.before()) {
            return Ok(None);
        }
        let Some(block) = self.log.reader(position.before()).try_next().await? else {
            return Ok(None);
        };
        for raw in entries(&block) {
            let raw = raw?;
            if Entry::mark_of(raw)?.position == position {
                return Ok(Some(raw.to_owned()));
            }
        }
        Ok(None)
    }

    /// Removes the spool, which is not needed any more.
    pub async fn remove(&self) -> Result<()> {
        let fetching = self.fetching.lock().take();
        if let Some(mut fetching) = fetching {
            fetching.tasks.shutdown().await;
        }
        on_disk(&self.log, |log| log.remove()).await
    }
}

/// Reads on for one attempt.
pub struct FeedReader {
    reader: Reader,
    failed: watch::Receiver<Option<Error>>,
    view: Arc<View>,
}

impl FeedReader {
    /// The next entries. The first of them may have been returned before.
    ///
    /// # Errors
    /// Those of the fetcher (`RolledOff`, `Parked`), or of the disk. The entries fetched
    /// before are returned first.
    pub async fn next(&mut self) -> Result<Arc<Block>> {
        let block = self.take().await?;
        self.view.taken.store(block.last.position.raw(), SeqCst);
        Ok(block)
    }

    async fn take(&mut self) -> Result<Arc<Block>> {
        if let Some(block) = self.reader.try_next().await? {
            return Ok(block);
        }
        tokio::select! {
            block = self.reader.next() => block,
            failure = self.failed.wait_for(|failure| failure.is_some()) => {
                let ended = || Error::internal("the fetcher ended without a word");
                Err(failure.ok().and_then(|f| f.clone()).unwrap_or_else(ended))
            }
        }
    }
}
