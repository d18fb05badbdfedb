//! Reads a log in order: from memory close to its end, from disk further back, one block
//! ahead of the request.
//!
//! Knows nothing about entries, or who appends.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::contents::Place;
use super::fault;
use super::log::OplogLog;
use super::segment::{self, Block, Found, HEADER_BYTES, Identity};
use crate::error::{Error, Result};
use crate::position::Position;

/// One reader of a log. Memory besides the log's cache: one block.
#[derive(Debug)]
pub struct Reader {
    log: OplogLog,
    generation: u64,
    /// Last entry of the block handed out last.
    after: Position,
    /// Where to look for the next block on disk.
    cursor: Option<Cursor>,
    /// The next block, being read.
    ahead: Option<JoinHandle<Result<(Cursor, Block)>>>,
}

/// A place in an open segment. Open, it can be read even when it was trimmed.
#[derive(Debug, Clone)]
struct Cursor {
    file: Arc<File>,
    number: u64,
    identity: Identity,
    path: PathBuf,
    offset: u64,
}

impl Reader {
    pub(super) fn new(log: OplogLog, after: Position, generation: u64) -> Self {
        Reader {
            log,
            generation,
            after,
            cursor: None,
            ahead: None,
        }
    }

    /// The next block: the first one holds the first entry above the reader's
    /// start, maybe behind entries at or below it, which the caller skips.
    /// Waits at the log's end. May be dropped while it waits; nothing is lost.
    ///
    /// Errors: the disk's, damage, or the log was reset or trimmed above here.
    pub async fn next(&mut self) -> Result<Arc<Block>> {
        let log = self.log.clone();
        loop {
            let appended = log.changed().notified();
            tokio::pin!(appended);
            // Listens before it looks, so that no append in between is missed.
            appended.as_mut().enable();
            if let Some(block) = self.try_next().await? {
                return Ok(block);
            }
            appended.await;
        }
    }

    /// The next block, or None at the log's end.
    pub async fn try_next(&mut self) -> Result<Option<Arc<Block>>> {
        if self.ahead.is_none() {
            match self.place()? {
                Place::Memory(block) => {
                    self.after = block.last.position;
                    return Ok(Some(block));
                }
                Place::Nowhere => return Ok(None),
                Place::Disk { number, path } => self.read_ahead(number, path),
            }
        }
        let Some(ahead) = &mut self.ahead else {
            return Ok(None);
        };
        let read = ahead.await;
        self.ahead = None;
        let (cursor, block) =
            read.map_err(|e| Error::internal(format!("reading the spool: {e}")))??;
        self.cursor = Some(cursor);
        self.after = block.last.position;
        // An error if the log was reset meanwhile: then the block is of the old one.
        if let Place::Disk { number, path } = self.place()? {
            self.read_ahead(number, path);
        }
        Ok(Some(Arc::new(block)))
    }

    fn place(&self) -> Result<Place> {
        self.log.contents().place(self.after, self.generation)
    }

    fn read_ahead(&mut self, number: u64, path: PathBuf) {
        let (cursor, after) = (self.cursor.take(), self.after);
        self.ahead = Some(tokio::task::spawn_blocking(move || {
            let cursor = cursor.filter(|cursor| cursor.number == number);
            cursor
                .map_or_else(|| Cursor::open(number, path), Ok)?
                .read_above(after)
        }));
    }
}

impl Cursor {
    fn open(number: u64, path: PathBuf) -> Result<Cursor> {
        let file = File::open(&path).map_err(|e| fault::io("opening", &path, e))?;
        let identity = segment::identify(&file, &path, number)?;
        Ok(Cursor {
            file: Arc::new(file),
            number,
            identity,
            path,
            offset: HEADER_BYTES as u64,
        })
    }

    /// Reads the block with the first entry above `after`. Blocks before it are
    /// passed by their headers. It is known to be in this segment.
    fn read_above(mut self, after: Position) -> Result<(Cursor, Block)> {
        loop {
            let found = Found::at(&self.file, self.identity, self.offset);
            let found = found.map_err(|e| fault::io("reading", &self.path, e))?;
            let found = found.ok_or_else(|| self.damaged())?;
            if after < found.label.last.position {
                let block = found
                    .block(&self.file)
                    .map_err(|e| fault::io("reading", &self.path, e))?;
                let block = block.ok_or_else(|| self.damaged())?;
                self.offset = found.end();
                return Ok((self, block));
            }
            self.offset = found.end();
        }
    }

    fn damaged(&self) -> Error {
        fault::damaged(
            &self.path,
            format_args!("no whole block at byte {}", self.offset),
        )
    }
}
