//! How far the copy of each collection is: the largest by name, all others as one, so that a
//! status stays small however many there are.

use std::cmp::Reverse;

/// Most that have a name.
pub const NAMED_MAX: usize = 100;
/// The name of all others: no collection has it.
pub const OTHERS: &str = "*";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionCopied {
    /// By its name on the target.
    pub ns: String,
    /// It is copied and has its indexes.
    pub is_done: bool,
    pub bytes_copied: u64,
    /// As the source estimates them.
    pub bytes: u64,
    pub indexes_built: u64,
}

impl CollectionCopied {
    fn join(&mut self, other: &CollectionCopied) {
        self.is_done &= other.is_done;
        self.bytes_copied += other.bytes_copied;
        self.bytes += other.bytes;
        self.indexes_built += other.indexes_built;
    }
}

/// Those of one name as one, then the largest, by name; all others are the last.
pub fn bounded(mut all: Vec<CollectionCopied>) -> Vec<CollectionCopied> {
    all.sort_by(|a, b| a.ns.cmp(&b.ns));
    all.dedup_by(|next, one| {
        let is_same = next.ns == one.ns;
        if is_same {
            one.join(next);
        }
        is_same
    });
    let (mut named, mut others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.ns != OTHERS);
    if NAMED_MAX < named.len() {
        named.sort_by_key(|one| Reverse(one.bytes));
        others.extend(named.split_off(NAMED_MAX));
        named.sort_by(|a, b| a.ns.cmp(&b.ns));
    }
    let others = others.into_iter().reduce(|mut all, other| {
        all.join(&other);
        all
    });
    named.extend(others.map(|others| CollectionCopied {
        ns: OTHERS.to_owned(),
        ..others
    }));
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(ns: &str, bytes_copied: u64, bytes: u64) -> CollectionCopied {
        CollectionCopied {
            ns: ns.to_owned(),
            is_done: bytes_copied == bytes,
            bytes_copied,
            bytes,
            indexes_built: 1,
        }
    }

    #[test]
    fn those_of_several_shards_are_one() {
        let all = vec![one("d.b", 1, 2), one("d.a", 5, 5), one("d.b", 3, 3)];
        let b = CollectionCopied {
            indexes_built: 2,
            ..one("d.b", 4, 5)
        };
        assert_eq!(bounded(all), [one("d.a", 5, 5), b]);
        assert_eq!(bounded(Vec::new()), []);
    }

    #[test]
    fn the_largest_have_a_name_and_nothing_is_left_out() {
        let many = 2_000;
        let all = (0..many).map(|i| one(&format!("d.c{i:04}"), i, i));
        let all = bounded(all.collect());
        assert_eq!(all.len(), NAMED_MAX + 1);
        assert_eq!(all[0].ns, "d.c1900");
        let others = &all[NAMED_MAX];
        assert_eq!(
            (others.ns.as_str(), others.indexes_built, others.is_done),
            (OTHERS, 1_900, true)
        );
        let sum: u64 = all.iter().map(|one| one.bytes).sum();
        assert_eq!(sum, many * (many - 1) / 2);
        // Those of two shards, each with its others.
        let again = bounded([all.clone(), all].concat());
        assert_eq!(again.len(), NAMED_MAX + 1);
        assert_eq!(again[NAMED_MAX].indexes_built, 3_800);
        assert_eq!(again[0].bytes, 3_800);
    }
}
