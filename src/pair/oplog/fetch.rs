//! The fetcher: reads the source's oplog into the spool while there is room, and keeps
//! going whatever happens to the source's servers.
//!
//! Knows nothing about who reads the spool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cluster::direct::Direct;
use crate::cluster::retry::{Retry, within};
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::block::on_disk;
use crate::pair::oplog::cursor::Oplog;
use crate::pair::oplog::entry::Entry;
use crate::position::Mark;
use crate::spool::log::OplogLog;
use crate::spool::segment::Block;
use crate::wire::cursor::{Batch, Cursor};

/// How often fetched entries are synced, so that they survive a power loss.
const SYNC: Duration = Duration::from_secs(1);

/// How long a tail that has read all may wait for room in the spool.
const STARVED_MAX: Duration = Duration::from_secs(300);

/// A source silent for longer is reported. It normally answers within `AWAIT`.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// What others may read of the fetcher's state.
#[derive(Debug)]
pub(in crate::pair) struct View {
    /// The source's last reply held nothing new.
    at_head: AtomicBool,
    /// The newest entry a reader has taken.
    pub(in crate::pair) taken: AtomicU64,
    reading: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    /// None while it waits for room in the spool.
    heard: Option<Instant>,
    /// Why nothing new could be read since then.
    failure: Option<String>,
}

impl Default for View {
    fn default() -> Self {
        let reading = Reading {
            heard: Some(Instant::now()),
            failure: None,
        };
        View {
            at_head: AtomicBool::default(),
            taken: AtomicU64::default(),
            reading: reading.into(),
        }
    }
}

impl View {
    /// The source's last reply is not long ago, and held nothing new.
    pub(in crate::pair) fn is_at_head(&self) -> bool {
        self.at_head.load(SeqCst) && self.trouble().is_none()
    }

    /// Why the source's oplog cannot be read on now.
    pub(in crate::pair) fn trouble(&self) -> Option<String> {
        let reading = self.reading.lock();
        let silent = reading
            .heard
            .map(|heard| heard.elapsed())
            .filter(|silent| SILENT_MAX < *silent);
        let silence = || silent.map(|silent| format!("no answer for {} s", silent.as_secs()));
        reading.failure.clone().or_else(silence)
    }

    fn read(&self, at_head: bool) {
        self.at_head.store(at_head, SeqCst);
        *self.reading.lock() = Reading {
            heard: Some(Instant::now()),
            failure: None,
        };
    }

    fn failed(&self, why: &str) {
        self.at_head.store(false, SeqCst);
        self.reading.lock().failure = Some(why.to_owned());
    }

    fn waits_for_room(&self) {
        self.at_head.store(false, SeqCst);
        self.reading.lock().heard = None;
    }
}

pub(in crate::pair) struct Fetcher {
    pub(in crate::pair) oplog: Oplog,
    pub(in crate::pair) direct: Direct,
    pub(in crate::pair) log: OplogLog,
    /// The newest entry fetched; the cursor is opened at it.
    pub(in crate::pair) at: Mark,
    pub(in crate::pair) cursor: Option<Cursor>,
    pub(in crate::pair) retry: Retry,
    pub(in crate::pair) patience: Duration,
    pub(in crate::pair) view: Arc<View>,
}

impl Fetcher {
    pub(in crate::pair) async fn run(&mut self) -> Result<()> {
        let mut syncing: Option<JoinHandle<Result<()>>> = None;
        let mut synced = tokio::time::Instant::now();
        loop {
            if !self.log.has_room() {
                self.wait_for_room().await?;
            }
            if let Some(block) = self.fetch().await? {
                self.at = block.last;
                on_disk(&self.log, move |log| log.append(block)).await?;
            }
            if syncing.as_ref().is_none_or(|sync| sync.is_finished()) && SYNC < synced.elapsed() {
                if let Some(sync) = syncing.take() {
                    sync.await
                        .map_err(|e| Error::internal(format!("syncing the spool: {e}")))??;
                }
                let log = self.log.clone();
                syncing = Some(spawn_blocking(move || log.sync()));
                synced = tokio::time::Instant::now();
            }
        }
    }

    /// The spool is full. As long as the tail has something to read that passes;
    /// once it has read all, only the resume position can move on, and perhaps it
    /// waits for what comes next.
    async fn wait_for_room(&mut self) -> Result<()> {
        tracing::warn!(
            "the spool is full ({} MB): the source's oplog is not read ahead until there is room",
            self.log.bytes() >> 20
        );
        // An idle cursor would be lost, and the head moves on.
        self.cursor = None;
        self.view.waits_for_room();
        loop {
            let starved = self.at.position.raw() <= self.view.taken.load(SeqCst);
            tokio::select! {
                () = self.log.room() => return Ok(()),
                () = tokio::time::sleep(STARVED_MAX) => {}
            }
            if starved && self.at.position.raw() <= self.view.taken.load(SeqCst) {
                let found = format!(
                    "the spool is full ({} MB), all of it is read, and a restart would still need it from {}",
                    self.log.bytes() >> 20,
                    self.log
                        .range()
                        .map_or(self.at.position, |(first, _)| first.position)
                );
                return Err(Error::new(Kind::Spool, found).remedy(
                    "raise spool_mb (or make room for it) and run the same command again; smaller ranges (range_mb) need less",
                ));
            }
        }
    }

    /// One reply of the source; None if it held nothing new.
    ///
    /// The patience with it starts over only where something was read: each new cursor
    /// shows the newest entry that was read before, though what follows cannot be read.
    async fn fetch(&mut self) -> Result<Option<Block>> {
        loop {
            let opens = self.cursor.is_none();
            match self.try_fetch().await {
                Ok(None) if opens => {}
                Ok(block) => {
                    self.retry.worked();
                    self.view.read(block.is_none());
                    return Ok(block);
                }
                Err(cause) => {
                    self.direct.learn(&cause);
                    self.cursor = None;
                    self.view.failed(&cause.message);
                    self.retry.pause(cause).await?;
                }
            }
        }
    }

    async fn try_fetch(&mut self) -> Result<Option<Block>> {
        const WHAT: &str = "the source's oplog";
        let opened = self.cursor.is_none();
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => none.insert(
                within(
                    self.patience,
                    WHAT,
                    self.oplog.tail(&self.direct, self.at.position),
                )
                .await?,
            ),
        };
        let address = cursor.address().clone();
        let next = self.direct.while_primary(&address, self.oplog.next(cursor));
        let batch = within(self.patience, WHAT, next).await?;
        if opened {
            match batch.iter().next().transpose()? {
                Some(first) => self.oplog.check_first(self.at, Entry::mark_of(first)?)?,
                // The check is still to be made.
                None => return Err(self.oplog.does_not_show(self.at.position)),
            }
        }
        block_of(batch, self.at, self.log.range().is_none())
    }
}

/// The part of a reply that is new to a reader at `at`: its end, since entries come in
/// order. `begins`: nothing is kept yet. Then the entry at `at` is kept too, so that the
/// spool covers the position a restart resumes at before anything else is recorded.
fn block_of(batch: Batch, at: Mark, begins: bool) -> Result<Option<Block>> {
    let (mut known, mut first, mut last) = (0, None, None);
    for raw in batch.iter() {
        let raw = raw?;
        last = Some(raw);
        if first.is_none() {
            let mark = Entry::mark_of(raw)?;
            let is_new = at.position < mark.position || (begins && mark == at);
            if is_new {
                first = Some(mark)
            } else {
                known += 1
            }
        }
    }
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(None);
    };
    let last = Entry::mark_of(last)?;
    Ok(Some(Block {
        first,
        last,
        payload: batch.into_items(known)?,
    }))
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp, rawdoc};

    use super::*;
    use crate::pair::oplog::block::entries;

    fn mark(time: u32) -> Mark {
        Mark {
            position: Timestamp { time, increment: 0 }.into(),
            term: 1,
        }
    }

    fn reply(times: &[u32]) -> Batch {
        let entry = |time: &u32| rawdoc! { "ts": Timestamp { time: *time, increment: 0 }, "t": 1i64, "op": "n" };
        let entries: bson::RawArrayBuf = times.iter().map(entry).collect();
        Batch::read(&rawdoc! { "ok": 1, "cursor": { "nextBatch": entries, "id": 5i64, "ns": "local.oplog.rs" } })
            .unwrap()
    }

    #[test]
    fn the_head_is_reached_only_while_the_source_can_be_read() {
        let view = View::default();
        assert!(!view.is_at_head());
        view.read(true);
        assert!(view.is_at_head() && view.trouble().is_none());
        view.failed("it was killed");
        assert_eq!(
            (view.is_at_head(), view.trouble().as_deref()),
            (false, Some("it was killed"))
        );
        view.read(false);
        assert!(!view.is_at_head() && view.trouble().is_none());
    }

    #[test]
    fn a_block_is_what_a_reply_has_of_new_entries() {
        for (times, begins, expect) in [
            (&[4, 5, 6, 7][..], false, &[6, 7][..]),
            (&[5, 6], true, &[5, 6]),
            (&[4, 5], true, &[5]),
            (&[4, 5], false, &[]),
            (&[6], false, &[6]),
            (&[], true, &[]),
        ] {
            let block = block_of(reply(times), mark(5), begins).unwrap();
            let marks = block.as_ref().map(|block| (block.first, block.last));
            let ends = expect.first().zip(expect.last());
            assert_eq!(
                marks,
                ends.map(|(first, last)| (mark(*first), mark(*last))),
                "{times:?}"
            );
            let found: Vec<Mark> = block
                .iter()
                .flat_map(entries)
                .map(|entry| Entry::mark_of(entry.unwrap()).unwrap())
                .collect();
            assert_eq!(
                found,
                expect.iter().map(|time| mark(*time)).collect::<Vec<_>>()
            );
        }
    }
}
