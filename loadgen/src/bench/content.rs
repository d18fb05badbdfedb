//! The documents of the suites: of one size, made fast, the same for the same
//! seed. Their text is made of words and compresses about as text does.
//!
//! Knows nothing about servers.

use std::sync::Arc;

use bson::RawDocumentBuf;
use bson::raw::cstr;

use crate::layout::dice::{Dice, mix};

/// Bytes of a document besides its text.
const FRAME_BYTES: usize = 51;
/// From which every document cuts its text.
const NOISE_BYTES: usize = 1 << 20;
/// Words to choose from, each of `WORD_BYTES` with its space.
const WORDS: u64 = 1_024;
const WORD_BYTES: usize = 8;

/// The order in which `_id`s lie on the source's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Ids {
    /// By insertion: 0, 1, 2, …
    Ascending,
    /// Scattered over all 64-bit integers.
    Random,
}

/// Documents `{_id, n, v, text}` of `bytes` bytes each.
#[derive(Debug, Clone)]
pub(super) struct Content {
    bytes: usize,
    ids: Ids,
    noise: Arc<str>,
}

impl Content {
    /// `bytes`: at least 64.
    pub(super) fn new(bytes: usize, ids: Ids, seed: u64) -> Content {
        let mut dice = Dice::new(&[seed]);
        let mut letter = || char::from(b'a' + dice.below(26) as u8);
        let words: Vec<String> = (0..WORDS)
            .map(|_| (1..WORD_BYTES).map(|_| letter()).chain([' ']).collect())
            .collect();
        let count = (NOISE_BYTES + bytes).div_ceil(WORD_BYTES);
        let noise: String = (0..count)
            .map(|_| words[dice.below(WORDS) as usize].as_str())
            .collect();
        Content {
            bytes: bytes.max(64),
            ids,
            noise: noise.into(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn ids(&self) -> Ids {
        self.ids
    }

    /// `_id` of document `n`.
    pub(super) fn id(&self, n: u64) -> i64 {
        match self.ids {
            Ids::Ascending => n as i64,
            Ids::Random => mix(n) as i64,
        }
    }

    /// `_id`s that part `docs` documents into `parts` of about the same size.
    pub(super) fn bounds(&self, docs: u64, parts: u64) -> Vec<i64> {
        let bound = |part: u64| match self.ids {
            Ids::Ascending => (docs * part / parts) as i64,
            Ids::Random => {
                ((u128::from(u64::MAX) * u128::from(part) / u128::from(parts)) as u64 ^ (1 << 63))
                    as i64
            }
        };
        (1..parts).map(bound).collect()
    }

    /// Document `n`; another `version` of it has another text.
    pub(super) fn document(&self, n: u64, version: u64) -> RawDocumentBuf {
        let at = mix(n ^ mix(version)) as usize % NOISE_BYTES;
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), self.id(n));
        document.append(cstr!("n"), n as i64);
        document.append(cstr!("v"), version as i64);
        document.append(
            cstr!("text"),
            &self.noise[at..at + self.bytes - FRAME_BYTES],
        );
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_size_asked_for() {
        for bytes in [64, 200, 1024, 102_400] {
            let content = Content::new(bytes, Ids::Ascending, 1);
            assert_eq!(content.document(7, 0).as_bytes().len(), bytes);
            assert_ne!(content.document(7, 0), content.document(7, 1));
        }
    }

    #[test]
    fn bounds_part_the_ids() {
        let docs = 10_000;
        for ids in [Ids::Ascending, Ids::Random] {
            let content = Content::new(64, ids, 1);
            let bounds = content.bounds(docs, 4);
            assert!(bounds.is_sorted() && bounds.len() == 3);
            let first = (0..docs).filter(|n| content.id(*n) < bounds[0]).count();
            assert!((2_000..3_000).contains(&first), "{first}");
        }
    }
}
