//! Which documents of a sharded collection one shard owns (R8).
//!
//! Reads a chunk map that was read elsewhere. Knows nothing about servers.

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::element::{elements, kind};
use crate::bson::order::compare_keys;
use crate::bson::shard_key::ShardKeyPattern;
use crate::cluster::catalog::Sharded;
use crate::error::Result;

/// The chunks of one shard, neighbours joined.
#[derive(Debug, Clone)]
pub struct Ownership {
    pub pattern: ShardKeyPattern,
    /// `[min, max)` in key order, disjoint, not touching.
    pub intervals: Vec<(RawDocumentBuf, RawDocumentBuf)>,
}

impl Ownership {
    /// The part of a collection that `shard` (index into `Deployment::shards`) owns.
    ///
    /// # Errors
    /// `Unsupported` for a shard key of an unknown form.
    pub fn of(sharded: &Sharded, shard: usize) -> Result<Self> {
        let mine = joined(sharded)
            .into_iter()
            .filter(|(.., owner)| *owner == shard);
        let intervals = mine.map(|(min, max, _)| (min, max)).collect();
        Ok(Ownership {
            pattern: ShardKeyPattern::new(sharded.key.clone())?,
            intervals,
        })
    }

    /// True if this shard owns `doc`. Allocates nothing.
    pub fn owns(&self, doc: &RawDocument) -> bool {
        let key = self.pattern.values(doc);
        let after = self
            .intervals
            .partition_point(|(min, _)| key.compare(min).is_ge());
        after.checked_sub(1).is_some_and(|at| {
            let max = &self.intervals[at].1;
            // The last chunk ends with the greatest of all keys. By a key that was refined since,
            // documents may have that in the fields of the older one.
            key.compare(max).is_lt() || is_end(max)
        })
    }

    /// True if this shard owns the whole key space: no document needs a look.
    pub fn owns_all(&self) -> bool {
        match &self.intervals[..] {
            [(min, max)] => elements(min).all(|e| e.kind == kind::MIN_KEY) && is_end(max),
            _ => false,
        }
    }
}

fn is_end(max: &RawDocument) -> bool {
    elements(max).all(|e| e.kind == kind::MAX_KEY)
}

/// The chunks of a collection with neighbours of the same owner joined:
/// `(min, max, shard)` in key order. A split changes chunks, never this.
pub fn joined(sharded: &Sharded) -> Vec<(RawDocumentBuf, RawDocumentBuf, usize)> {
    let mut joined: Vec<(RawDocumentBuf, RawDocumentBuf, usize)> = Vec::new();
    for chunk in &sharded.chunks {
        match joined.last_mut() {
            Some((_, max, owner))
                if *owner == chunk.shard && compare_keys(max, &chunk.min).is_eq() =>
            {
                *max = chunk.max.clone();
            }
            _ => joined.push((chunk.min.clone(), chunk.max.clone(), chunk.shard)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::catalog::Chunk;
    use bson::{Bson, rawdoc};
    use proptest::prelude::*;

    /// Chunks between `bounds` with the given owners, from MinKey to MaxKey.
    fn sharded(key: RawDocumentBuf, bounds: &[Bson], owners: &[usize]) -> Sharded {
        let name = key.iter().next().unwrap().unwrap().0.to_owned();
        let bound = |value: Bson| {
            let mut doc = RawDocumentBuf::new();
            doc.append(&name, bson::RawBson::try_from(value).unwrap());
            doc
        };
        let all: Vec<_> = [&[Bson::MinKey], bounds, &[Bson::MaxKey]]
            .concat()
            .into_iter()
            .map(bound)
            .collect();
        let chunks = all.windows(2).zip(owners);
        let chunks = chunks
            .map(|(b, &shard)| Chunk {
                min: b[0].clone(),
                max: b[1].clone(),
                shard,
            })
            .collect();
        Sharded {
            key,
            unique: false,
            chunks,
            zones: vec![],
            version: None,
        }
    }

    #[test]
    fn neighbours_of_one_owner_are_joined() {
        let map = sharded(
            rawdoc! { "a": 1 },
            &[0, 10, 20, 30].map(Bson::Int32),
            &[0, 0, 1, 0, 0],
        );
        let owners: Vec<_> = joined(&map).into_iter().map(|(.., shard)| shard).collect();
        assert_eq!(owners, [0, 1, 0]);
        assert_eq!(
            Ownership::of(&map, 1).unwrap().intervals,
            [(rawdoc! { "a": 10 }, rawdoc! { "a": 20 })]
        );
        assert!(!Ownership::of(&map, 0).unwrap().owns_all());
        assert!(
            Ownership::of(&sharded(rawdoc! { "a": 1 }, &[Bson::Int32(3)], &[1, 1]), 1)
                .unwrap()
                .owns_all()
        );
    }

    #[test]
    fn bounds_are_half_open_and_types_are_ordered() {
        let map = sharded(
            rawdoc! { "a.b": 1 },
            &[Bson::Int32(10), Bson::String("m".into())],
            &[0, 1, 0],
        );
        let one = Ownership::of(&map, 1).unwrap();
        assert!(one.owns(&rawdoc! { "_id": 1, "a": { "b": 10.0 } }));
        assert!(one.owns(&rawdoc! { "a": { "b": f64::INFINITY } }));
        assert!(one.owns(&rawdoc! { "a": { "b": "l" } }));
        assert!(!one.owns(&rawdoc! { "a": { "b": 9 } }));
        assert!(!one.owns(&rawdoc! { "a": { "b": "m" } }));
        assert!(
            !one.owns(&rawdoc! { "a.b": 11 }),
            "a literal dotted name is not the path"
        );
        assert!(
            Ownership::of(&map, 0).unwrap().owns(&rawdoc! { "x": 1 }),
            "missing is null"
        );
        assert!(
            !Ownership::of(&map, 2)
                .unwrap()
                .owns(&rawdoc! { "a": { "b": 10 } }),
            "owns nothing"
        );
        let greatest = rawdoc! { "a": { "b": bson::RawBson::MaxKey } };
        let owners = [0, 1, 2].map(|shard| Ownership::of(&map, shard).unwrap());
        let owned = owners.map(|owner| owner.owns(&greatest));
        assert_eq!(owned, [true, false, false], "it ends with the last chunk");
    }

    proptest! {
        #[test]
        fn every_document_has_exactly_one_owner(
            value in crate::bson::samples::any_value(),
            owners in prop::collection::vec(0usize..3, 5),
            hashed in any::<bool>(),
        ) {
            let (key, bounds) = if hashed {
                (rawdoc! { "k": "hashed" }, [i64::MIN / 2, -1, 1, i64::MAX / 2].map(Bson::Int64))
            } else {
                let bounds = [Bson::Null, Bson::Int32(0), Bson::String("a".into()), Bson::Boolean(true)];
                (rawdoc! { "k": 1 }, bounds)
            };
            let map = sharded(key, &bounds, &owners);
            let doc = bson::RawDocumentBuf::try_from(bson::doc! { "_id": 1, "k": value }).unwrap();
            let count = (0..3).filter(|&s| Ownership::of(&map, s).unwrap().owns(&doc)).count();
            prop_assert_eq!(count, 1);
        }
    }
}
