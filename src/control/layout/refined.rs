//! A shard key that was refined: it got more fields at its end, and each bound of a chunk the
//! lowest values for them. So no document has another owner, and what was known of owners holds.
//!
//! Pure. Knows nothing about servers.

use bson::RawDocument;

use crate::bson::element::{document, elements, kind};
use crate::bson::order::{compare_keys, compare_views};
use crate::bson::view::View;
use crate::cluster::catalog::{MapVersion, Namespace, Sharded};
use crate::cluster::ownership::joined;
use crate::control::layout::owners::{Interval, moved_since};
use crate::error::{Error, Kind};

/// Whether a map of the source was refined since, and nothing else happened.
pub fn is_of(before: &Sharded, now: &Sharded) -> bool {
    is_refined((&before.key, &joined(before)), before.version, now)
}

/// Whether the shard key was refined since the owners were `before`, by `key`, and nothing
/// else happened.
pub fn is_refined(
    (key, before): (&RawDocument, &[Interval]),
    version: Option<MapVersion>,
    now: &Sharded,
) -> bool {
    let fields = elements(key).count();
    let is_longer = fields < elements(&now.key).count();
    if !is_longer || !is_begin(key, &now.key) || moved_since(version, now) {
        return false;
    }
    let now = joined(now);
    before.len() == now.len()
        && before.iter().zip(&now).all(|(before, now)| {
            before.2 == now.2
                && is_longer_bound(&before.0, &now.0, fields)
                && is_longer_bound(&before.1, &now.1, fields)
        })
}

/// Whether a shard key is the other one, or that is it refined. A direction is any number of its
/// value.
pub fn is_begin(key: &RawDocument, of: &RawDocument) -> bool {
    let mut longer = elements(of);
    elements(key).all(|field| {
        longer.next().is_some_and(|other| {
            let order = compare_views(&View::from(field), &View::from(other));
            field.name == other.name && order.is_eq()
        })
    })
}

/// Whether both bounds lie between the same documents. The greatest of all has the greatest
/// values in its new fields, any other the lowest.
fn is_longer_bound(before: &RawDocument, now: &RawDocument, fields: usize) -> bool {
    let begin = document(elements(now).take(fields));
    let is_last = elements(&begin).all(|field| field.kind == kind::MAX_KEY);
    let fill = if is_last {
        kind::MAX_KEY
    } else {
        kind::MIN_KEY
    };
    compare_keys(before, &begin).is_eq()
        && elements(now).skip(fields).all(|field| field.kind == fill)
}

/// The shard key of a time series of the source was refined.
pub(in crate::control) fn of_series(ns: &Namespace) -> Error {
    let ns = ns.public();
    let found =
        format!("the shard key of the time series {ns} was refined on the source during the run");
    Error::new(Kind::Unsupported, found).remedy(
        "a refined key of a time series is not followed: refine it before the migration or after its cutover, and start over with `shardlift migrate --restart`",
    )
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{RawBson, RawDocumentBuf, Timestamp, rawdoc};

    use super::*;
    use crate::cluster::catalog::Chunk;
    use crate::control::layout::owners::{intervals, mapped};

    /// Of a document by `k`, and by `u` if there is a value for it.
    fn bound(k: RawBson, u: Option<&RawBson>) -> RawDocumentBuf {
        let mut bound = rawdoc! { "k": k };
        if let Some(u) = u {
            bound.append(bson::cstr!("u"), u.clone());
        }
        bound
    }

    /// `[(begin, owner)]`, each up to the next. The new field: its value in bounds within, and
    /// in the last one.
    fn map(
        chunks: &[(i32, usize)],
        (epoch, major, moved_at): (u8, u32, u32),
        new: Option<[RawBson; 2]>,
    ) -> Sharded {
        let within = new.as_ref().map(|[within, _]| within);
        let last = new.as_ref().map(|[_, last]| last);
        let min = |at: usize| match chunks.get(at) {
            Some((k, _)) if 0 < at => bound(RawBson::Int32(*k), within),
            Some(_) => bound(RawBson::MinKey, within),
            None => bound(RawBson::MaxKey, last),
        };
        let chunk = |(at, (_, shard)): (usize, &(i32, usize))| Chunk {
            min: min(at),
            max: min(at + 1),
            shard: *shard,
        };
        Sharded {
            key: bound(RawBson::Int32(1), new.as_ref().map(|_| &RawBson::Int32(1))),
            unique: false,
            chunks: chunks.iter().enumerate().map(chunk).collect(),
            zones: Vec::new(),
            version: Some(MapVersion {
                epoch: ObjectId::from_bytes([epoch; 12]),
                major,
                moved_at: Some(Timestamp {
                    time: moved_at,
                    increment: 1,
                }),
            }),
        }
    }

    #[test]
    fn a_refined_key_gives_no_document_another_owner() {
        const BEFORE: &[(i32, usize)] = &[(0, 0), (5, 1)];
        let split = &[(0, 0), (5, 1), (9, 1)];
        let moved = &[(0, 1), (5, 1)];
        let (min, max) = (RawBson::MinKey, RawBson::MaxKey);
        let usual = || Some([min.clone(), max.clone()]);
        let within = || Some([RawBson::Int32(3), max.clone()]);
        let short = || Some([min.clone(), min.clone()]);
        let rows = [
            ("as a server does it", BEFORE, (2, 2, 100), usual(), true),
            ("and split", split, (2, 2, 100), usual(), true),
            (
                "and a jumbo flag cleared",
                BEFORE,
                (2, 3, 100),
                usual(),
                true,
            ),
            (
                "and moved away and back",
                BEFORE,
                (2, 4, 101),
                usual(),
                false,
            ),
            ("and moved", moved, (2, 3, 101), usual(), false),
            (
                "within what had one owner",
                BEFORE,
                (2, 2, 100),
                within(),
                false,
            ),
            ("not to the end", BEFORE, (2, 2, 100), short(), false),
            ("nothing", BEFORE, (2, 2, 100), None, false),
        ];
        let before = map(BEFORE, (1, 2, 100), None);
        for (what, chunks, version, new, expect) in rows {
            let now = map(chunks, version, new);
            assert_eq!(is_of(&before, &now), expect, "{what}");
        }
        // On the target, whose shards are in another order.
        let there = map(&[(0, 1), (5, 0)], (2, 2, 100), usual());
        let on_target =
            |pairs: &[usize]| is_refined((&before.key, &mapped(&before, pairs)), None, &there);
        assert!(on_target(&[1, 0]) && !on_target(&[0, 1]));
        let mut other = map(BEFORE, (2, 2, 100), usual());
        other.key = rawdoc! { "k": "hashed", "u": 1 };
        let of = (&*before.key, &intervals(&before)[..]);
        assert!(!is_refined(of, before.version, &other));
    }

    #[test]
    fn a_key_is_the_begin_of_itself_and_of_what_it_is_refined_to() {
        let rows = [
            (rawdoc! {"k": 1}, rawdoc! {"k": 1}, true),
            (rawdoc! {"k": 1}, rawdoc! {"k": 1.0, "u": 1.0}, true),
            (rawdoc! {"k": 1, "u": 1}, rawdoc! {"k": 1}, false),
            (rawdoc! {"k": 1}, rawdoc! {"u": 1, "k": 1}, false),
            (rawdoc! {"k": 1}, rawdoc! {"k": "hashed", "u": 1}, false),
            (
                rawdoc! {"k": "hashed"},
                rawdoc! {"k": "hashed", "u": 1},
                true,
            ),
        ];
        for (key, of, expect) in rows {
            assert_eq!(is_begin(&key, &of), expect, "{key:?} {of:?}");
        }
    }
}
