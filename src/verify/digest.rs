//! The digest of a set of documents: how many, how large, which bytes, and the order
//! where that counts.
//!
//! Knows nothing about where documents come from.

use xxhash_rust::xxh3::xxh3_128;

/// Digest of documents read so far.
///
/// `sum` adds up an XXH3-128 of each document's bytes, so ranges and shards may
/// be read in any order; `chain` depends on the order as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    pub documents: u64,
    /// Raw BSON, uncompressed.
    pub bytes: u64,
    pub sum: u128,
    pub chain: u64,
}

impl Digest {
    /// Adds a document and every byte of it.
    #[inline]
    pub fn add(&mut self, document: &[u8]) {
        self.count(document);
        let hash = xxh3_128(document);
        self.sum = self.sum.wrapping_add(hash);
        self.chain = (self.chain.rotate_left(5) ^ hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Adds a document without looking at its bytes.
    #[inline]
    pub fn count(&mut self, document: &[u8]) {
        self.documents += 1;
        self.bytes += document.len() as u64;
    }

    /// True if both hold the same documents, in whatever order.
    pub fn same_documents(&self, other: &Digest) -> bool {
        (self.documents, self.sum) == (other.documents, other.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(documents: &[&str]) -> Digest {
        let mut digest = Digest::default();
        documents.iter().for_each(|d| digest.add(d.as_bytes()));
        digest
    }

    #[test]
    fn order_shows_in_the_chain_only() {
        let (one, other) = (of(&["a", "b"]), of(&["b", "a"]));
        assert!(one.same_documents(&other));
        assert_ne!(one, other);
        assert_eq!(one, of(&["a", "b"]));
    }

    #[test]
    fn a_byte_a_document_or_a_doubled_one_shows() {
        let one = of(&["aa", "bb"]);
        for other in [
            of(&["aa", "bc"]),
            of(&["aa"]),
            of(&["aa", "bb", "bb"]),
            of(&["a", "abb"]),
            of(&[]),
        ] {
            assert!(!one.same_documents(&other));
        }
    }
}
