//! The local copy of one pair's oplog from the resume position on. The fetcher
//! appends, the tail reads behind it, the checkpointer trims.
//!
//! `spool` describes form and durability. Knows nothing about entries.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::contents::{Contents, Segment};
use super::frame::Frame;
use super::lock::{self, Lock};
use super::quota::Quota;
use super::reader::Reader;
use super::segment::{self, Block, Label};
use super::writer::Writer;
use super::{fault, recover};
use crate::error::{Error, Result};
use crate::position::{Mark, Position};

/// Bounds of one log, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bound on disk. Exceeded by at most one block, or by one segment if two segments do
    /// not fit within the bound.
    pub bytes_max: u64,
    /// Size at which a segment is closed. Capped at a quarter of `bytes_max`, so that
    /// trimming frees room bit by bit.
    pub segment_bytes: u64,
    /// Newest blocks kept in memory, uncompressed.
    pub cache_bytes: usize,
    /// Blocks are compressed only while more bytes than this are on disk: compressing
    /// what is trimmed a moment later does not pay.
    pub stored_bytes: u64,
}

/// One log; clones are handles to the same one. At most one handle appends.
#[derive(Debug, Clone)]
pub struct OplogLog {
    inner: Arc<Inner>,
}

/// Locks are taken in the order of the fields. `contents` is held for a moment
/// only, `writer` while files change: readers never wait for the disk.
#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    bytes_max: u64,
    stored_bytes: u64,
    quota: Arc<Quota>,
    writer: Mutex<Writer>,
    contents: Mutex<Contents>,
    /// Told at each append, trim and reset.
    changed: Notify,
    _lock: Lock,
}

/// When the last user drops its handle, the files stay on disk but no longer count.
impl Drop for Inner {
    fn drop(&mut self) {
        self.quota.give_back(self.contents.get_mut().bytes());
    }
}

impl OplogLog {
    /// Opens the log in `dir`, or begins one. Checks what an earlier process left, and
    /// cuts off its torn end. Blocks: reads the whole newest segment.
    ///
    /// Errors: the directory cannot be written, is in use by another process, or is
    /// damaged.
    pub fn open(dir: &Path, limits: Limits, quota: Arc<Quota>) -> Result<OplogLog> {
        std::fs::create_dir_all(dir).map_err(|e| fault::io("creating", dir, e))?;
        let lock = Lock::take(dir)?;
        let segments = recover::recover(dir)?;
        let next = segments.last().map_or(1, |newest| newest.number + 1);
        let segment_bytes = limits.segment_bytes.min(limits.bytes_max / 4);
        let contents = Contents::new(segments, limits.cache_bytes);
        quota.charge(contents.bytes());
        let inner = Inner {
            dir: dir.to_owned(),
            bytes_max: limits.bytes_max,
            stored_bytes: limits.stored_bytes,
            quota,
            writer: Mutex::new(Writer::new(dir, segment_bytes, next)),
            contents: Mutex::new(contents),
            changed: Notify::new(),
            _lock: lock,
        };
        Ok(OplogLog {
            inner: Arc::new(inner),
        })
    }

    /// First and last entry; None while it is empty.
    pub fn range(&self) -> Option<(Mark, Mark)> {
        self.inner.contents.lock().range()
    }

    /// True if a reader may start after the entry at `position`: it misses
    /// nothing up to the log's end. If not, `reset` and fetch from `position`.
    pub fn covers(&self, position: Position) -> bool {
        self.inner.contents.lock().covers(position)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.inner.contents.lock().bytes()
    }

    /// Appends one block and wakes the readers. Call it on a blocking thread: it blocks
    /// for a write to the page cache, before that for a compression if the reader is
    /// behind, and at the end of a segment for its sync.
    ///
    /// Errors: the block does not follow the log's end (a defect), or the disk is full or
    /// faulty. The log is then as before the call, and the same block may be tried again,
    /// unless the disk also refused to cut off a half-written block.
    pub fn append(&self, block: Block) -> Result<()> {
        let frame = if self.bytes() < self.inner.stored_bytes {
            Frame::store(&block.payload)?
        } else {
            Frame::pack(&block.payload)?
        };
        let mut writer = self.inner.writer.lock();
        let follows = self.inner.contents.lock().end();
        if block.first.position <= follows || block.last.position < block.first.position {
            let (first, last) = (block.first.position, block.last.position);
            return Err(Error::internal(format!(
                "block {first} to {last} was appended to a spool that ends at {follows}"
            )));
        }
        let written = writer.append(
            frame,
            Label {
                follows,
                first: block.first,
                last: block.last,
                synced: 0,
            },
        )?;
        let grown = self.inner.contents.lock().push(
            written.number,
            written.path,
            &written.label,
            written.end,
            Arc::new(block),
        );
        self.inner.quota.charge(grown);
        drop(writer);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    /// Makes everything appended so far survive a power loss. Blocks, but delays neither
    /// readers nor appends. After an error the log accepts nothing more.
    pub fn sync(&self) -> Result<()> {
        let Some(unsynced) = self.inner.writer.lock().unsynced() else {
            return Ok(());
        };
        let outcome = unsynced.sync();
        self.inner.writer.lock().synced(&unsynced, &outcome);
        outcome
    }

    /// Whether another block may be read from the source. Every log may always have one
    /// segment, however much the others use.
    pub fn has_room(&self) -> bool {
        let contents = self.inner.contents.lock();
        contents.segment_count() <= 1
            || (contents.bytes() < self.inner.bytes_max && self.inner.quota.has_room())
    }

    /// Waits for `has_room`: for a trim, or bytes that others give back.
    pub async fn room(&self) {
        loop {
            let changed = self.inner.changed.notified();
            let freed = self.inner.quota.freed.notified();
            tokio::pin!(changed, freed);
            // Listens before it looks, so that nothing told in between is missed.
            changed.as_mut().enable();
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = freed => {}
            }
        }
    }

    /// Reads every entry above `after`, then waits for more.
    pub fn reader(&self, after: Position) -> Reader {
        Reader::new(self.clone(), after, self.inner.contents.lock().generation)
    }

    /// Removes segments whose entries are all below `below`, but never the newest.
    /// `below` must be at or under every reader's position. A reader inside a removed
    /// segment continues; one further behind gets an error. Blocks.
    pub fn trim(&self, below: Position) -> Result<()> {
        let writer = self.inner.writer.lock();
        while self.remove_oldest(|contents| contents.oldest_below(below))? {}
        drop(writer);
        Ok(())
    }

    /// Empties the log, so that the next block may begin anywhere. Readers of the old
    /// contents get an error. Blocks.
    pub fn reset(&self) -> Result<()> {
        self.empty(&mut self.inner.writer.lock())
    }

    /// Removes the log and its directory (unless others keep files there).
    /// Other handles can no longer append. Blocks.
    pub fn remove(self) -> Result<()> {
        let mut writer = self.inner.writer.lock();
        self.empty(&mut writer)?;
        writer.close();
        let dir = &self.inner.dir;
        let remove = || {
            std::fs::remove_file(dir.join(lock::FILE))?;
            match std::fs::remove_dir(dir) {
                Err(e) if e.kind() != io::ErrorKind::DirectoryNotEmpty => Err(e),
                _ => Ok(()),
            }
        };
        remove().map_err(|e| fault::io("removing", dir, e))
    }

    fn empty(&self, writer: &mut Writer) -> Result<()> {
        let active = writer.leave();
        while self.remove_oldest(Contents::oldest)? {}
        // One without a block is in no list, and may be gone with the rest.
        active.map_or(Ok(()), |path| remove_file(&path))?;
        self.inner.contents.lock().clear();
        self.inner.changed.notify_waiters();
        Ok(())
    }

    /// Removes the segment that `which` picks; false if it picks none. The
    /// caller holds the writer's lock.
    ///
    /// IMPORTANT: oldest first, and each is durably gone before the next goes:
    /// a power loss in between leaves no gap.
    fn remove_oldest(&self, which: impl FnOnce(&Contents) -> Option<&Segment>) -> Result<bool> {
        let Some(path) = which(&self.inner.contents.lock()).map(|segment| segment.path.clone())
        else {
            return Ok(false);
        };
        remove_file(&path)?;
        segment::sync_dir(&self.inner.dir)?;
        let freed = self.inner.contents.lock().pop_oldest();
        self.inner.quota.give_back(freed);
        self.inner.changed.notify_waiters();
        Ok(true)
    }

    pub(super) fn contents(&self) -> parking_lot::MutexGuard<'_, Contents> {
        self.inner.contents.lock()
    }

    pub(super) fn changed(&self) -> &Notify {
        &self.inner.changed
    }

    #[cfg(test)]
    pub(super) fn write_to(&self, file: std::fs::File) {
        self.inner.writer.lock().write_to(file);
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fault::io("removing", path, e)),
        _ => Ok(()),
    }
}
