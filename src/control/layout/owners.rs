//! Changes of the owners of a collection's documents, found by its chunk map and the
//! map's version.
//!
//! Pure. Knows nothing about servers, and of a refined key only that it is no change (`refined`).

use std::sync::Arc;

use bson::RawDocumentBuf;

use crate::bson::order::compare_keys;
use crate::cluster::catalog::{Collection, MapVersion, Sharded};
use crate::cluster::deployment::Side;
use crate::cluster::ownership::joined;
use crate::control::layout::refined;
use crate::error::{Error, Kind, Result};

/// `(min, max, owner)` in key order, neighbours of one owner joined.
pub type Interval = (RawDocumentBuf, RawDocumentBuf, usize);

pub fn intervals(sharded: &Sharded) -> Vec<Interval> {
    joined(sharded)
}

/// The source's intervals as the target's shards own them.
pub fn mapped(sharded: &Sharded, pairs: &[usize]) -> Vec<Interval> {
    joined(sharded)
        .into_iter()
        .map(|(min, max, shard)| (min, max, pairs[shard]))
        .collect()
}

/// What changed since the owners were `before`; None if at no time any document changed
/// its owner. Another epoch alone is a rename: a refined key has other bounds (`refined`).
pub fn change(
    before: &[Interval],
    version: Option<MapVersion>,
    now: &Sharded,
) -> Option<&'static str> {
    (moved_since(version, now) || !same(before, &joined(now))).then_some("owners")
}

/// Whether a chunk of a map moved since it had this version.
pub(super) fn moved_since(version: Option<MapVersion>, now: &Sharded) -> bool {
    let versions = version.zip(now.version);
    versions.is_some_and(|(before, now)| {
        // A cleared jumbo flag counts the version on, too. A chunk that moved away and back
        // came to its shard later than any did before.
        before.major != now.major && (now.moved_at.is_none() || before.moved_at < now.moved_at)
    })
}

/// Whether a collection of the source was sharded since, and no chunk of it has moved: no
/// document has another owner.
pub fn is_sharded_in_place(before: &Collection, now: &Collection) -> bool {
    let is_sharded_now = before.sharded.is_none() && now.sharded.is_some();
    is_sharded_now && before.primary == now.primary && !has_moved(now)
}

/// Whether a collection of the source was sharded since, and all of it is where it was. Without
/// documents it may be on other shards at once.
pub fn stays_in_place(before: &Collection, now: &Collection) -> bool {
    let mut chunks = now.sharded.iter().flat_map(|sharded| &sharded.chunks);
    is_sharded_in_place(before, now) && chunks.all(|chunk| chunk.shard == before.primary)
}

/// # Errors
/// `Unsupported` if a collection of the source was laid out with other owners.
pub fn expect_same(laid_out: Option<&Arc<Collection>>, now: &Collection) -> Result<()> {
    match laid_out.filter(|before| !are_same(before, now)) {
        Some(before) => Err(changed(
            Side::Source,
            &format!("owners of {} changed", before.ns),
        )),
        None => Ok(()),
    }
}

/// Checks a collection that was never looked at before. If a chunk has moved, nobody saw
/// it, and the oplogs of its shards cannot be taken as they are.
///
/// # Errors
/// `Unsupported` if a chunk of it moved.
pub fn expect_never_moved(new: &Collection) -> Result<()> {
    if has_moved(new) {
        Err(changed(
            Side::Source,
            &format!("a chunk of the new collection {} moved", new.ns),
        ))
    } else {
        Ok(())
    }
}

/// Whether a chunk moved since the collection was sharded.
pub fn has_moved(collection: &Collection) -> bool {
    collection
        .sharded
        .as_ref()
        .and_then(|sharded| sharded.version)
        .is_some_and(|version| version.is_later_than_made())
}

fn same(a: &[Interval], b: &[Interval]) -> bool {
    let equal = |x, y| compare_keys(x, y).is_eq();
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(x, y)| x.2 == y.2 && equal(&x.0, &y.0) && equal(&x.1, &y.1))
}

/// Whether a collection of the source has the owners it had.
pub fn are_same(before: &Collection, now: &Collection) -> bool {
    match (&before.sharded, &now.sharded) {
        (None, None) => before.primary == now.primary,
        (Some(before), Some(now)) => {
            // It may have been laid out by another pair, which read it later.
            refined::is_of(before, now)
                || refined::is_of(now, before)
                || change(&joined(before), before.version, now).is_none()
        }
        // A drop under way: its metadata goes first, its shards follow one by one. What
        // ends sharding otherwise gives the collection another UUID.
        (Some(_), None) => true,
        (None, Some(_)) => stays_in_place(before, now),
    }
}

/// A collection of the source was sharded where it is. `shard`: the source's that had all of it.
pub(in crate::control) fn sharded_in_place(now: &Collection, shard: &str) -> Error {
    let ns = now.ns.public();
    let found = format!("{ns} was sharded on the source during the run");
    Error::new(Kind::Unsupported, found).remedy(format!(
        "copy that collection again, sharded as it is by now, with `shardlift recopy --shard {shard} --ns {ns}` with the same --source and --target, then run the same `shardlift migrate` again: all else goes on where it is"
    ))
}

/// What must not change during a run did.
pub(in crate::control) fn changed(side: Side, what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what} on the {side} during the run")).remedy(
        "keep the balancers off and move no chunks or primaries while shardlift runs; lay that collection out anew, as the source has it by now, with `shardlift recopy --ns <collection>` (where the primary of a database moved: `shardlift recopy --ns '<database>.*'`) with the same --source and --target, then run the same `shardlift migrate` again: all else goes on where it is",
    )
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::raw::cstr;
    use bson::{RawBson, RawBsonRef, Timestamp, rawdoc};

    use super::*;
    use crate::cluster::catalog::{Chunk, CollectionKind, Namespace};

    /// `[(begin, owner)]`, each up to the next.
    fn map(chunks: &[(i32, usize)], version: Option<MapVersion>) -> Sharded {
        let key = |n: Option<&(i32, usize)>, end: RawBson| match n {
            Some((n, _)) if *n != 0 => rawdoc! { "k": *n },
            _ => rawdoc! { "k": end },
        };
        let chunk = |(i, (_, shard)): (usize, &(i32, usize))| {
            let (min, max) = (
                key(chunks.get(i), RawBson::MinKey),
                key(chunks.get(i + 1), RawBson::MaxKey),
            );
            Chunk {
                min,
                max,
                shard: *shard,
            }
        };
        let chunks = chunks.iter().enumerate().map(chunk).collect();
        Sharded {
            key: rawdoc! { "k": 1 },
            unique: false,
            chunks,
            zones: Vec::new(),
            version,
        }
    }

    fn version(epoch: u8, major: u32, moved_at: u32) -> MapVersion {
        let moved_at = (moved_at != 0).then_some(Timestamp {
            time: moved_at,
            increment: 1,
        });
        MapVersion {
            epoch: ObjectId::from_bytes([epoch; 12]),
            major,
            moved_at,
        }
    }

    #[test]
    fn only_what_gives_a_document_another_owner_is_a_change() {
        const BEFORE: &[(i32, usize)] = &[(0, 0), (5, 1)];
        type Row<'a> = (
            &'a str,
            Option<MapVersion>,
            &'a [(i32, usize)],
            MapVersion,
            Option<&'a str>,
        );
        let v = |major, moved_at| version(1, major, moved_at);
        let was = Some(v(2, 100));
        let rows: [Row<'_>; 11] = [
            ("nothing", was, BEFORE, v(2, 100), None),
            ("a split", was, &[(0, 0), (5, 1), (9, 1)], v(2, 100), None),
            ("a jumbo flag cleared", was, BEFORE, v(3, 100), None),
            ("away and back", was, BEFORE, v(4, 101), Some("owners")),
            ("away", was, &[(0, 1), (5, 1)], v(3, 101), Some("owners")),
            (
                "away, and merged with an old one",
                was,
                &[(0, 1)],
                v(3, 101),
                Some("owners"),
            ),
            (
                "a move that no chunk tells of",
                was,
                BEFORE,
                v(3, 0),
                Some("owners"),
            ),
            ("renamed", was, BEFORE, version(2, 2, 100), None),
            (
                "renamed, and moved away and back",
                was,
                BEFORE,
                version(2, 4, 101),
                Some("owners"),
            ),
            ("recorded without a version", None, BEFORE, v(7, 300), None),
            (
                "so, and moved",
                None,
                &[(0, 0), (6, 1)],
                v(7, 300),
                Some("owners"),
            ),
        ];
        for (what, was, now, is, expect) in rows {
            let before = intervals(&map(BEFORE, was));
            assert_eq!(change(&before, was, &map(now, Some(is))), expect, "{what}");
        }
        // Bounds of the target may be other numbers of the same value.
        let mut doubles = map(BEFORE, None);
        doubles.chunks[0].max = rawdoc! { "k": 5.0 };
        doubles.chunks[1].min = rawdoc! { "k": 5.0 };
        assert_eq!(
            change(&mapped(&map(BEFORE, None), &[0, 1]), None, &doubles),
            None
        );
        assert_eq!(
            change(&mapped(&map(BEFORE, None), &[1, 0]), None, &doubles),
            Some("owners")
        );
    }

    #[test]
    fn what_was_refined_after_a_pair_had_read_it_is_the_same() {
        let read = map(&[(0, 0), (5, 1)], Some(version(1, 2, 100)));
        let mut refined = map(&[(0, 0), (5, 1)], Some(version(2, 2, 100)));
        refined.key.append(cstr!("u"), 1);
        for chunk in &mut refined.chunks {
            for bound in [&mut chunk.min, &mut chunk.max] {
                let is_last = matches!(bound.get("k"), Ok(Some(RawBsonRef::MaxKey)));
                let lowest = if is_last {
                    RawBson::MaxKey
                } else {
                    RawBson::MinKey
                };
                bound.append(cstr!("u"), lowest);
            }
        }
        let mut moved = refined.clone();
        moved.chunks[0].shard = 1;
        for (laid_out, now, same) in [
            (&read, &refined, true),
            (&refined, &read, true),
            (&moved, &read, false),
        ] {
            let [laid_out, now] = [laid_out, now].map(|map| Collection {
                sharded: Some(map.clone()),
                ..collection(0, None)
            });
            let expected = expect_same(Some(&Arc::new(laid_out)), &now);
            assert_eq!(expected.is_ok(), same, "{now:?}");
        }
    }

    fn collection(primary: usize, owner: Option<usize>) -> Collection {
        Collection {
            ns: Namespace {
                db: "d".to_owned(),
                coll: "c".to_owned(),
            },
            kind: CollectionKind::Plain,
            uuid: None,
            options: RawDocumentBuf::new(),
            primary,
            sharded: owner.map(|owner| map(&[(0, owner)], None)),
            key_index: None,
        }
    }

    #[test]
    fn a_drop_under_way_is_no_change_of_owners_nor_is_what_is_sharded_in_its_place() {
        for (before, now, same) in [
            ((0, None), (0, None), true),
            ((0, None), (1, None), false),
            ((0, Some(0)), (0, Some(0)), true),
            ((0, Some(0)), (0, Some(1)), false),
            ((0, None), (0, Some(0)), true),
            ((0, None), (0, Some(1)), false),
            ((1, None), (0, Some(0)), false),
            ((0, Some(1)), (0, None), true),
        ] {
            let [then, after] = [before, now].map(|(primary, owner)| collection(primary, owner));
            assert_eq!(are_same(&then, &after), same, "{before:?} {now:?}");
        }
    }
}
