//! Ops of one hold that memory has no room for, in a file without a name: it
//! goes when the spill is dropped, and with the process. Chunks are compressed
//! and checksummed as the log's blocks are.
//!
//! Blocks on the disk. Knows nothing about ops, gates or order.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault;
use super::frame::{Frame, HEADER_BYTES, Header, LABEL_BYTES, Label};
use super::quota::Quota;
use crate::error::Result;

/// An append-only file. It only grows: its bytes come back when it is dropped.
#[derive(Debug)]
pub struct Spill {
    file: File,
    /// Where it lies; for errors, there is no name in there.
    dir: PathBuf,
    end: u64,
    quota: Arc<Quota>,
}

/// Where a chunk lies in the spill that gave this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    offset: u64,
    frame_bytes: u32,
}

impl Spill {
    /// Makes an empty one in `dir`, which is made too.
    pub fn create(dir: &Path, quota: Arc<Quota>) -> Result<Spill> {
        std::fs::create_dir_all(dir).map_err(|e| fault::io("creating", dir, e))?;
        let file = nameless(dir).map_err(|e| fault::io("creating a file in", dir, e))?;
        Ok(Spill { file, dir: dir.to_owned(), end: 0, quota })
    }

    /// Appends a chunk of at most `frame::RAW_BYTES_MAX` bytes.
    ///
    /// Errors: the quota is used up, or the disk is full or faulty; chunks
    /// written before stay good.
    pub fn write(&mut self, chunk: &[u8]) -> Result<ChunkRef> {
        let mut frame = Frame::pack(chunk)?;
        let bytes = frame.bytes();
        self.quota.take(bytes)?;
        if let Err(e) = self.file.write_all_at(frame.seal(&label(self.end)), self.end) {
            self.quota.give_back(bytes);
            // The next chunk goes to the same place; this only frees the disk.
            let _ = self.file.set_len(self.end);
            return Err(fault::io("writing held ops to a file in", &self.dir, e));
        }
        let written = ChunkRef { offset: self.end, frame_bytes: bytes as u32 };
        self.end += bytes;
        Ok(written)
    }

    /// The chunk as it was written. Errors: the disk's, or damage.
    pub fn read(&self, chunk: ChunkRef) -> Result<Vec<u8>> {
        let mut bytes = vec![0; chunk.frame_bytes as usize];
        let read = self.file.read_exact_at(&mut bytes, chunk.offset);
        read.map_err(|e| fault::io("reading held ops from a file in", &self.dir, e))?;
        open(&bytes, chunk.offset).ok_or_else(|| {
            fault::damaged(&self.dir.join("(held ops)"), format_args!("no whole chunk at byte {}", chunk.offset))
        })
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.end
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.quota.give_back(self.end);
    }
}

/// The chunk in the frame `bytes`, which was written at `offset`.
fn open(bytes: &[u8], offset: u64) -> Option<Vec<u8>> {
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::read(header).filter(|header| header.label == label(offset))?;
    header.unpack(body)
}

/// A chunk's own offset, so that one is never taken for another.
fn label(offset: u64) -> Label {
    let mut label = [0; LABEL_BYTES];
    label[..8].copy_from_slice(&offset.to_le_bytes());
    label
}

/// A file that loses its name at once. A crash in between leaves an empty one,
/// whose name an earlier process of the same number may have left too.
fn nameless(dir: &Path) -> io::Result<File> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    loop {
        let path = dir.join(format!("{}-{}.held", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            made => {
                let file = made?;
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chunks_come_back_in_any_order_and_the_bytes_with_the_drop() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Arc::new(Quota::new(1 << 20));
        let mut spill = Spill::create(dir.path(), quota.clone()).unwrap();
        let chunks: Vec<Vec<u8>> = (0..50u8).map(|i| vec![i; 10 * usize::from(i)]).collect();
        let refs: Vec<ChunkRef> = chunks.iter().map(|chunk| spill.write(chunk).unwrap()).collect();
        for (chunk, at) in chunks.iter().zip(&refs).rev() {
            assert_eq!(&spill.read(*at).unwrap(), chunk);
        }
        assert_eq!(quota.used(), spill.bytes());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        drop(spill);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn a_used_up_quota_is_told_and_spoils_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Arc::new(Quota::new(300));
        let mut spill = Spill::create(dir.path(), quota.clone()).unwrap();
        let first = spill.write(b"one").unwrap();
        let mut other = Spill::create(dir.path(), quota.clone()).unwrap();
        other.write(b"two").unwrap();
        let error = spill.write(&[0; 9_999].map(|_: u8| 7)).and_then(|_| spill.write(b"four")).unwrap_err();
        assert!(error.message.contains("of 300 bytes") && error.remedy.is_some(), "{error}");
        assert_eq!(spill.read(first).unwrap(), b"one");
        drop(other);
        spill.write(b"four").unwrap();
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_never_read(chunk in prop::collection::vec(0u8..9, 0..200), at in any::<prop::sample::Index>()) {
            let dir = tempfile::tempdir().unwrap();
            let mut spill = Spill::create(dir.path(), Arc::new(Quota::new(1 << 20))).unwrap();
            spill.write(b"before").unwrap();
            let chunk = spill.write(&chunk).unwrap();
            let bit = at.index(chunk.frame_bytes as usize * 8) as u64;
            let mut byte = [0];
            spill.file.read_exact_at(&mut byte, chunk.offset + bit / 8).unwrap();
            spill.file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], chunk.offset + bit / 8).unwrap();
            prop_assert!(spill.read(chunk).unwrap_err().message.contains("damaged"));
        }
    }
}
