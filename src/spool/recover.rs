//! Recovers the log of an earlier process: checks it and cuts off its torn end. The table
//! in `spool` says what is cut and what is refused.
//!
//! Knows nothing about appending or reading on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::contents::Segment;
use super::fault;
use super::frame;
use super::segment::{self, Found, HEADER_BYTES, Identity};
use crate::error::Result;
use crate::position::Position;

/// The log's segments, oldest first, each with at least one block, all durable.
pub(super) fn recover(dir: &Path) -> Result<Vec<Segment>> {
    let mut numbers = numbers(dir)?;
    numbers.sort_unstable();
    if let Some(gap) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        let path = segment::path(dir, gap[0] + 1);
        return Err(fault::damaged(
            &path,
            "it is missing, but segments before and after it exist",
        ));
    }
    let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
    for (at, &number) in numbers.iter().enumerate() {
        let newest = at + 1 == numbers.len();
        let file = Left::open(dir, number, newest)?;
        let follows = segments.last().map(|before| before.last.position);
        let segment = if newest {
            file.cut(follows)?
        } else {
            Some(file.whole(follows)?)
        };
        segments.extend(segment);
    }
    Ok(segments)
}

fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let list = || {
        let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>()?;
        Ok(names
            .iter()
            .filter_map(|name| segment::number_of(name.to_str()?))
            .collect())
    };
    list().map_err(|e| fault::io("listing", dir, e))
}

/// A file that was left.
struct Left {
    file: File,
    path: PathBuf,
    number: u64,
    bytes: u64,
}

/// How far a walk over its blocks came.
struct Walk {
    segment: Option<Segment>,
    /// Where the last good block ends.
    end: u64,
}

impl Left {
    fn open(dir: &Path, number: u64, write: bool) -> Result<Left> {
        let path = segment::path(dir, number);
        let open = || {
            let file = OpenOptions::new().read(true).write(write).open(&path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|e: io::Error| fault::io("opening", &path, e))?;
        Ok(Left {
            file,
            path,
            number,
            bytes,
        })
    }

    /// An older segment: it was synced before the next one was made.
    fn whole(&self, follows: Option<Position>) -> Result<Segment> {
        let walk = self.walk(self.identify()?, follows, false)?;
        match walk.segment {
            Some(segment) if walk.end == self.bytes => Ok(segment),
            _ => Err(fault::damaged(
                &self.path,
                format_args!(
                    "no whole block at byte {}, and it is not the newest",
                    walk.end
                ),
            )),
        }
    }

    /// The newest segment, without its torn end; None, and removed, if no
    /// block is left.
    fn cut(&self, follows: Option<Position>) -> Result<Option<Segment>> {
        let mut walk = Walk {
            segment: None,
            end: 0,
        };
        if self.bytes > HEADER_BYTES as u64 {
            let identity = self.identify()?;
            walk = self.walk(identity, follows, true)?;
            self.check_torn(identity, walk.end)?;
        }
        let Some(mut segment) = walk.segment else {
            std::fs::remove_file(&self.path).map_err(|e| fault::io("removing", &self.path, e))?;
            return Ok(None);
        };
        let cut = || {
            self.file.set_len(walk.end)?;
            self.file.sync_all()
        };
        cut().map_err(|e| fault::io("cutting the torn end of", &self.path, e))?;
        segment.bytes = walk.end;
        Ok(Some(segment))
    }

    fn identify(&self) -> Result<Identity> {
        segment::identify(&self.file, &self.path, self.number)
    }

    /// Walks the blocks up to the first that is not one; `bodies`: their
    /// checksums count too.
    fn walk(
        &self,
        identity: Identity,
        mut follows: Option<Position>,
        bodies: bool,
    ) -> Result<Walk> {
        let mut walk = Walk {
            segment: None,
            end: HEADER_BYTES as u64,
        };
        let block = |at| {
            self.block(identity, at, bodies)
                .map_err(|e| fault::io("reading", &self.path, e))
        };
        while let Some(found) = block(walk.end)? {
            let label = found.label;
            if follows.is_some_and(|follows| follows != label.follows)
                || label.first.position <= label.follows
            {
                let gap = format_args!(
                    "the block at byte {} does not follow the one before it",
                    walk.end
                );
                return Err(fault::damaged(&self.path, gap));
            }
            follows = Some(label.last.position);
            walk.end = found.end();
            let segment = walk
                .segment
                .get_or_insert_with(|| Segment::new(self.number, self.path.clone(), &label));
            (segment.last, segment.bytes) = (label.last, walk.end);
        }
        Ok(walk)
    }

    fn block(&self, identity: Identity, offset: u64, bodies: bool) -> io::Result<Option<Found>> {
        let Some(found) = Found::at(&self.file, identity, offset)? else {
            return Ok(None);
        };
        let ends = found.end() <= self.bytes;
        let sound = ends
            && (!bodies
                || found
                    .body(&self.file)?
                    .is_some_and(|body| found.header.fits(&body)));
        Ok(sound.then_some(found))
    }

    /// Refuses to cut at `end` if a later block says that `end` was durable:
    /// then it is no torn end, the disk lost it. Frames that users stored, or that
    /// lay here before in another file, have another place.
    fn check_torn(&self, identity: Identity, end: u64) -> Result<()> {
        let mut tail = vec![0; (self.bytes - end) as usize];
        self.file
            .read_exact_at(&mut tail, end)
            .map_err(|e| fault::io("reading", &self.path, e))?;
        let header = |at: usize| {
            frame::Header::read(tail[at..].first_chunk()?, identity.place(end + at as u64))
        };
        let starts = places_of(&tail, &frame::MAGIC).filter_map(header);
        for header in starts {
            if end < segment::Label::read(&header.label).synced {
                return Err(fault::damaged(
                    &self.path,
                    format_args!("no whole block at byte {end}, but later ones exist"),
                ));
            }
        }
        Ok(())
    }
}

fn places_of<'a>(bytes: &'a [u8], wanted: &'a [u8; 4]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(move |(_, window)| window == wanted)
        .map(|(at, _)| at)
}
