//! One frame: a label and compressed bytes, each under a checksum.
//!
//! ```text
//!  0  magic          u32      little endian throughout
//!  4  packed_bytes   u32      length of the body
//!  8  raw_bytes      u32      length of what the body unpacks to
//! 12  form           u32      0: the body is one zstd frame, 1: it is as it was
//! 16  label          48 bytes, its user's
//! 64  body checksum  u64      xxh3 of the body
//! 72  own checksum   u64      xxh3 of bytes 0..72, with its place as seed
//! 80  body           in that form
//! ```
//!
//! Bodies contain users' data, which may look like a frame. The place, a number chosen by
//! the user of frames, makes the difference: bytes written for another place are no
//! frame.
//!
//! Knows nothing about files, or what label and body mean.

use std::borrow::Cow;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::error::{Error, Result};

pub const HEADER_BYTES: usize = 80;
pub const LABEL_BYTES: usize = 48;

/// Most bytes that one frame may unpack to: more than any server reply (48 MB).
pub const RAW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same of its body: what cannot be packed grows by less than a 128th.
const PACKED_BYTES_MAX: usize = RAW_BYTES_MAX + RAW_BYTES_MAX / 128;

pub(super) const MAGIC: [u8; 4] = *b"slf1";

/// Little effort: entries repeat their field names, so even this level makes the
/// small documents of `benches/pure` a sixth.
const ZSTD_LEVEL: i32 = 1;

const FORM_ZSTD: u32 = 0;
const FORM_STORED: u32 = 1;

const LABEL_AT: usize = 16;
const BODY_SUM_AT: usize = LABEL_AT + LABEL_BYTES;
const OWN_SUM_AT: usize = BODY_SUM_AT + 8;
const _: () = assert!(OWN_SUM_AT + 8 == HEADER_BYTES);
const _: () = assert!(
    RAW_BYTES_MAX < u32::MAX as usize / 2,
    "a body's length fits its field"
);

pub type Label = [u8; LABEL_BYTES];

/// A frame about to be written. Packing is the costly part and needs no lock;
/// the label is set afterwards.
#[derive(Debug)]
pub struct Frame<'a> {
    header: [u8; HEADER_BYTES],
    body: Cow<'a, [u8]>,
}

impl<'a> Frame<'a> {
    /// Compresses `raw`; an error only when it is larger than `RAW_BYTES_MAX`.
    pub fn pack(raw: &[u8]) -> Result<Frame<'static>> {
        check_size(raw)?;
        let packed = zstd::bulk::compress(raw, ZSTD_LEVEL)
            .map_err(|e| Error::internal(format!("compressing {} bytes: {e}", raw.len())))?;
        Ok(Frame::headed(packed.into(), raw.len(), FORM_ZSTD))
    }

    /// Makes a frame of `raw` uncompressed: a tenth of the time, several times the space.
    pub fn store(raw: &'a [u8]) -> Result<Frame<'a>> {
        check_size(raw)?;
        Ok(Frame::headed(raw.into(), raw.len(), FORM_STORED))
    }

    fn headed(body: Cow<'a, [u8]>, raw_bytes: usize, form: u32) -> Frame<'a> {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(raw_bytes as u32).to_le_bytes());
        header[12..16].copy_from_slice(&form.to_le_bytes());
        header[BODY_SUM_AT..OWN_SUM_AT].copy_from_slice(&xxh3_64(&body).to_le_bytes());
        Frame { header, body }
    }

    pub fn bytes(&self) -> u64 {
        (HEADER_BYTES + self.body.len()) as u64
    }

    /// Header and body as they are written, one after the other.
    pub fn seal(&mut self, label: &Label, place: u64) -> [&[u8]; 2] {
        self.header[LABEL_AT..BODY_SUM_AT].copy_from_slice(label);
        let sum = xxh3_64_with_seed(&self.header[..OWN_SUM_AT], place);
        self.header[OWN_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        [&self.header, &self.body]
    }
}

fn check_size(raw: &[u8]) -> Result<()> {
    if raw.len() > RAW_BYTES_MAX {
        Err(Error::internal(format!(
            "a frame of {} bytes is larger than {RAW_BYTES_MAX}",
            raw.len()
        )))
    } else {
        Ok(())
    }
}

/// A header that was written by `seal`.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub packed_bytes: usize,
    pub label: Label,
    raw_bytes: usize,
    form: u32,
    sum: u64,
}

impl Header {
    /// Reads a header. None if the bytes are not one, are damaged, or belong to another
    /// place.
    pub fn read(bytes: &[u8; HEADER_BYTES], place: u64) -> Option<Header> {
        let sum = || xxh3_64_with_seed(&bytes[..OWN_SUM_AT], place);
        let (packed_bytes, raw_bytes) = (u32_at(bytes, 4) as usize, u32_at(bytes, 8) as usize);
        // Both are reserved before a byte of the body is read.
        let sound = packed_bytes <= PACKED_BYTES_MAX
            && raw_bytes <= RAW_BYTES_MAX
            && bytes[..4] == MAGIC
            && sum() == u64_at(bytes, OWN_SUM_AT);
        sound.then(|| Header {
            packed_bytes,
            raw_bytes,
            form: u32_at(bytes, 12),
            label: bytes[LABEL_AT..BODY_SUM_AT]
                .try_into()
                .expect("the label has its length"),
            sum: u64_at(bytes, BODY_SUM_AT),
        })
    }

    pub fn frame_bytes(&self) -> u64 {
        (HEADER_BYTES + self.packed_bytes) as u64
    }

    /// Whether `body` is the body written under this header.
    pub fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.packed_bytes && xxh3_64(body) == self.sum
    }

    /// The bytes that were packed; None if the body is damaged.
    pub fn unpack(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        if !self.fits(&body) {
            return None;
        }
        let raw = match self.form {
            FORM_ZSTD => zstd::bulk::decompress(&body, self.raw_bytes).ok()?,
            FORM_STORED => body,
            _ => return None,
        };
        (raw.len() == self.raw_bytes).then_some(raw)
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(raw in prop::collection::vec(any::<u8>(), 0..2_000), label in any::<[u8; 16]>()) {
            let label: Label = std::array::from_fn(|i| label[i % 16]);
            for mut frame in [Frame::pack(&raw).unwrap(), Frame::store(&raw).unwrap()] {
                let [header, body] = frame.seal(&label, 5);
                prop_assert!(Header::read(header.first_chunk().unwrap(), 6).is_none());
                let header = Header::read(header.first_chunk().unwrap(), 5).unwrap();
                prop_assert_eq!(header.label, label);
                prop_assert_eq!(header.unpack(body.to_vec()), Some(raw.clone()));
            }
        }

        /// Sums are right for whoever makes both.
        #[test]
        fn a_header_that_lies_reserves_no_more_than_a_frame_has(
            sizes in prop::array::uniform3(prop_oneof![0u32..100, any::<u32>()]),
            body in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut frame = Frame::headed(body.clone().into(), 0, FORM_ZSTD);
            for (at, size) in [4, 8, 12].into_iter().zip(sizes) {
                frame.header[at..at + 4].copy_from_slice(&size.to_le_bytes());
            }
            let [header, _] = frame.seal(&[7; LABEL_BYTES], 5);
            if let Some(header) = Header::read(header.first_chunk().unwrap(), 5) {
                prop_assert!(header.packed_bytes <= PACKED_BYTES_MAX && header.raw_bytes <= RAW_BYTES_MAX);
                let unpacked = header.unpack(body);
                prop_assert!(unpacked.is_none_or(|raw| raw.len() == header.raw_bytes));
            }
        }

        #[test]
        fn any_flipped_bit_shows(raw in prop::collection::vec(0u8..4, 0..300), at in any::<prop::sample::Index>()) {
            for mut frame in [Frame::pack(&raw).unwrap(), Frame::store(&raw).unwrap()] {
                let mut bytes = frame.seal(&[7; LABEL_BYTES], 0).concat();
                let bit = at.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                let (header, body) = bytes.split_first_chunk().unwrap();
                prop_assert!(Header::read(header, 0).and_then(|header| header.unpack(body.to_vec())).is_none());
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(Frame::pack(&vec![0; RAW_BYTES_MAX + 1]).is_err());
    }
}
