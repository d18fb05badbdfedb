//! Maps by collection UUID. Asked once per op; the keys are as good as random
//! already, so folding them is hash enough.
//!
//! Knows nothing about what is kept under them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bson::Uuid;

pub type ByUuid<T> = HashMap<Uuid, T, BuildHasherDefault<Fold>>;

#[derive(Debug, Default)]
pub struct Fold(u64);

impl Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }

    /// Both halves of the product, so that every bit of a word reaches every other.
    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0xd6e8_feb8_6659_fd93) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64 ^ (product >> 64) as u64).rotate_left(23);
    }

    #[inline]
    fn write_usize(&mut self, _length: usize) {
        // Of a UUID it is always the same.
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::Hash;

    #[test]
    fn uuids_that_differ_in_one_byte_hash_differently() {
        let hash = |bytes: [u8; 16]| {
            let mut fold = Fold::default();
            Uuid::from_bytes(bytes).hash(&mut fold);
            fold.finish()
        };
        let one = |at: usize, byte: u8| std::array::from_fn(|i| if i == at { byte } else { 7 });
        let hashes: HashSet<u64> = (0..16).flat_map(|at| (8..=255).map(move |byte| hash(one(at, byte)))).collect();
        assert_eq!(hashes.len(), 16 * 248);
    }
}
