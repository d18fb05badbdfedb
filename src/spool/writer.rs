//! The newest segment of a log, as it is written: append, roll, sync.
//!
//! Knows nothing about readers and older segments.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault;
use super::frame::Frame;
use super::segment::{self, HEADER_BYTES, Identity, Label};
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    segment_bytes: u64,
    active: Option<Active>,
    /// Number of the next segment.
    next: u64,
    /// Set when it is unknown what the file contains; a reset clears it.
    broken: Option<Error>,
}

#[derive(Debug)]
struct Active {
    file: Arc<File>,
    path: PathBuf,
    number: u64,
    identity: Identity,
    /// Where the next block goes; the file ends here.
    end: u64,
    /// All before this is durable.
    synced: u64,
}

/// Where a block was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) end: u64,
    pub(super) label: Label,
}

/// The part of a segment to be synced without the writer's lock.
#[derive(Debug)]
pub(super) struct Unsynced {
    file: Arc<File>,
    path: PathBuf,
    number: u64,
    end: u64,
}

impl Unsynced {
    pub(super) fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|e| fault::io("syncing", &self.path, e))
    }
}

impl Writer {
    /// The first block begins segment `next`.
    pub(super) fn new(dir: &Path, segment_bytes: u64, next: u64) -> Self {
        Writer {
            dir: dir.to_owned(),
            segment_bytes,
            active: None,
            next,
            broken: None,
        }
    }

    /// Writes one block; on an error the file ends with the block before it.
    pub(super) fn append(&mut self, mut frame: Frame<'_>, mut label: Label) -> Result<Written> {
        self.check()?;
        let active = self.active_for(frame.bytes())?;
        label.synced = active.synced;
        let bytes = frame.bytes();
        let [header, body] = frame.seal(&label.bytes(), active.identity.place(active.end));
        let written = active.file.write_all_at(header, active.end);
        let written = written.and_then(|()| {
            active
                .file
                .write_all_at(body, active.end + header.len() as u64)
        });
        if let Err(e) = written {
            let cut = active.file.set_len(active.end);
            let error = fault::io("writing", &active.path, e);
            if cut.is_err() {
                self.broken = Some(error.clone());
            }
            return Err(error);
        }
        active.end += bytes;
        Ok(Written {
            number: active.number,
            path: active.path.clone(),
            end: active.end,
            label,
        })
    }

    fn check(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// The segment that takes a block of `bytes`: a new one if the active one
    /// would grow too large. A block larger than a segment has its own.
    fn active_for(&mut self, bytes: u64) -> Result<&mut Active> {
        let fits = |active: &Active| {
            active.end == HEADER_BYTES as u64
                || active.end.saturating_add(bytes) <= self.segment_bytes
        };
        if !self.active.as_ref().is_some_and(fits) {
            self.roll()?;
        }
        Ok(self.active.as_mut().expect("roll made one"))
    }

    /// IMPORTANT: the old file is durable before the new one has a name, else a
    /// power loss could leave a hole inside the log.
    fn roll(&mut self) -> Result<()> {
        let rolled = self.unsynced();
        if let Some(old) = &rolled {
            let synced = old.sync();
            self.synced(old, &synced);
            synced?;
        }
        let number = self.next;
        let (file, identity) = segment::create(&self.dir, number)?;
        self.next = number + 1;
        let (path, end) = (segment::path(&self.dir, number), HEADER_BYTES as u64);
        self.active = Some(Active {
            file: Arc::new(file),
            path,
            number,
            identity,
            end,
            synced: end,
        });
        if rolled.is_some() {
            crate::failpoint::hit("spool-rotated");
        }
        Ok(())
    }

    /// The active segment up to here; None if there is none.
    pub(super) fn unsynced(&self) -> Option<Unsynced> {
        let active = self.active.as_ref()?;
        Some(Unsynced {
            file: active.file.clone(),
            path: active.path.clone(),
            number: active.number,
            end: active.end,
        })
    }

    /// `what` was synced, or could not be. A failed sync may have dropped the
    /// pages it could not write, so a later success would prove nothing.
    pub(super) fn synced(&mut self, what: &Unsynced, outcome: &Result<()>) {
        match outcome {
            Err(error) => self.broken = Some(error.clone()),
            Ok(()) => {
                let active = self
                    .active
                    .as_mut()
                    .filter(|active| active.number == what.number);
                if let Some(active) = active {
                    active.synced = active.synced.max(what.end);
                }
            }
        }
    }

    /// Leaves the active segment, for all are to be removed. Returns its path,
    /// for it may be empty, and then nobody else knows of it.
    pub(super) fn leave(&mut self) -> Option<PathBuf> {
        self.broken = None;
        self.active.take().map(|active| active.path)
    }

    /// Refuses everything from now on.
    pub(super) fn close(&mut self) {
        self.broken = Some(Error::internal(
            "the spool was removed, and is still written to",
        ));
    }

    #[cfg(test)]
    pub(super) fn write_to(&mut self, file: File) {
        self.active.as_mut().expect("a block was appended").file = Arc::new(file);
    }
}
