//! A segment: one file of the log. Its name and header, its blocks' labels,
//! reading one block.
//!
//! Knows nothing about other segments, or who reads.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::fault;
use super::frame::{self, Header, u32_at, u64_at};
use crate::error::Result;
use crate::position::{Mark, Position};

/// Entries of an oplog as one server reply brought them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// First entry that no block before has.
    pub first: Mark,
    pub last: Mark,
    /// The entries in the caller's form. May begin with entries that the block before
    /// has: the reader skips those that are not above the last entry it took.
    pub payload: Bytes,
}

/// Magic, version u32, zero u32, number u64, identity u64, xxh3 of these 32 bytes.
pub(super) const HEADER_BYTES: usize = 40;
const SUM_AT: usize = HEADER_BYTES - 8;
const MAGIC: [u8; 8] = *b"sliftlog";
const VERSION: u32 = 3;
const SUFFIX: &str = ".oplog";

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

/// The number in a segment's file name; None for other files.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name
        .strip_suffix(SUFFIX)
        .filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// A random number of each segment. With an offset it says where a frame was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64);

impl Identity {
    fn new() -> Self {
        Identity(xxh3_64(&bson::Uuid::new().bytes()))
    }

    /// The place of the frame at `offset`.
    pub(super) fn place(self, offset: u64) -> u64 {
        self.0.wrapping_add(offset)
    }
}

/// Makes an empty segment; it and its name are durable on return.
pub(super) fn create(dir: &Path, number: u64) -> Result<(File, Identity)> {
    let (path, identity) = (path(dir, number), Identity::new());
    let create = || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all_at(&header(number, identity), 0)?;
        file.sync_all()?;
        Ok((file, identity))
    };
    let created = create().map_err(|e: io::Error| fault::io("creating", &path, e));
    let durable = created.and_then(|made| sync_dir(dir).map(|()| made));
    if durable.is_err() {
        // So that the number can be tried again; if it stays, the next open removes it.
        let _ = std::fs::remove_file(&path);
    }
    durable
}

fn header(number: u64, identity: Identity) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..SUM_AT].copy_from_slice(&identity.0.to_le_bytes());
    let sum = xxh3_64(&bytes[..SUM_AT]);
    bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads the header of segment `number`; refuses a file that is none of this form.
pub(super) fn identify(file: &File, path: &Path, number: u64) -> Result<Identity> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|e| fault::io("reading", path, e))?;
    let not_one = || fault::damaged(path, "its header is not valid");
    if bytes[..8] != MAGIC {
        return Err(not_one());
    }
    // Before the checksum, whose place depends on the form.
    let version = u32_at(&bytes, 8);
    if version != VERSION {
        return Err(fault::other_form(path, version, VERSION));
    }
    if xxh3_64(&bytes[..SUM_AT]) != u64_at(&bytes, SUM_AT) {
        return Err(not_one());
    }
    match u64_at(&bytes, 16) {
        found if found == number => Ok(Identity(u64_at(&bytes, 24))),
        found => Err(fault::damaged(
            path,
            format_args!("it says it is segment {found}, not {number}"),
        )),
    }
}

/// Makes created and removed names durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| fault::io("syncing", dir, e))
}

/// What a block's frame says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    /// Last position of the block before; zero if the log began with this one.
    pub(super) follows: Position,
    pub(super) first: Mark,
    pub(super) last: Mark,
    /// Bytes of the same file that were durable when this was written.
    pub(super) synced: u64,
}

impl Label {
    pub(super) fn bytes(&self) -> frame::Label {
        let words = [
            self.follows.raw(),
            self.first.position.raw(),
            self.first.term as u64,
            self.last.position.raw(),
            self.last.term as u64,
            self.synced,
        ];
        let mut bytes = [0; frame::LABEL_BYTES];
        for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn read(bytes: &frame::Label) -> Label {
        let word = |i: usize| u64_at(bytes, 8 * i);
        let mark = |i| Mark {
            position: Position::from_raw(word(i)),
            term: word(i + 1) as i64,
        };
        Label {
            follows: Position::from_raw(word(0)),
            first: mark(1),
            last: mark(3),
            synced: word(5),
        }
    }
}

/// A block in a file: its header is read and valid, its body not read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) label: Label,
    pub(super) header: Header,
    pub(super) offset: u64,
}

impl Found {
    /// The block whose frame begins at `offset`; None if that is no frame.
    pub(super) fn at(file: &File, identity: Identity, offset: u64) -> io::Result<Option<Found>> {
        let mut bytes = [0; frame::HEADER_BYTES];
        match file.read_exact_at(&mut bytes, offset) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let found = |header: Header| Found {
            label: Label::read(&header.label),
            header,
            offset,
        };
        Ok(Header::read(&bytes, identity.place(offset)).map(found))
    }

    pub(super) fn end(&self) -> u64 {
        self.offset + self.header.frame_bytes()
    }

    /// The body as it lies there; None if the file ends before it does.
    pub(super) fn body(&self, file: &File) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.header.packed_bytes;
        // Not cleared before, for it may be 16 MB.
        let mut body = Vec::with_capacity(bytes);
        while body.len() < bytes {
            let offset = self.offset + (frame::HEADER_BYTES + body.len()) as u64;
            match rustix::io::pread(file, spare_capacity(&mut body), offset) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        body.truncate(bytes);
        Ok(Some(body))
    }

    /// None if the body is damaged.
    pub(super) fn block(&self, file: &File) -> io::Result<Option<Block>> {
        let payload = self.body(file)?.and_then(|body| self.header.unpack(body));
        Ok(payload.map(|payload| Block {
            first: self.label.first,
            last: self.label.last,
            payload: payload.into(),
        }))
    }
}
