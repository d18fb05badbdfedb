//! Cutting a collection into ranges of `_id`, and what a server is asked for one of them.
//!
//! Bounds are hints: any ascending ones give a right copy, and a right comparison. Knows
//! nothing about what is done with a range; how many there are is the caller's to say.

use std::cmp::Ordering;

use bson::raw::cstr;
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use mongodb::Client;

use crate::bson::order;
use crate::cluster::catalog::Namespace;
use crate::cluster::sample;
use crate::error::Result;

/// Lower bounds of all ranges but the first, ascending and distinct: at most `ranges - 1`,
/// by so many `samples`.
///
/// # Errors
/// As `sample::ids`.
pub async fn bounds(
    shard: &Client,
    ns: &Namespace,
    ranges: u64,
    samples: u64,
) -> Result<Vec<RawBson>> {
    Ok(pick(
        sample::ids(shard, ns, samples).await?,
        ranges as usize,
    ))
}

/// Every n-th of the sorted sample, without repeats.
fn pick(mut ids: Vec<RawBson>, ranges: usize) -> Vec<RawBson> {
    let compare =
        |a: &RawBson, b: &RawBson| order::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref());
    ids.sort_by(compare);
    ids.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    let ranges = ranges.min(ids.len() + 1);
    let mut bounds: Vec<RawBson> = (1..ranges)
        .map(|i| ids[i * ids.len() / ranges].clone())
        .collect();
    bounds.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    bounds
}

/// The hint of a read by `_id`: without it the plan of a clustered collection counts as a
/// scan, which `notablescan` refuses.
///
/// `taken`: false for a clustered collection on a server that does not take it there.
pub fn id_hint(taken: bool) -> RawDocumentBuf {
    if taken {
        rawdoc! { "_id": 1 }
    } else {
        rawdoc! { "$natural": 1 }
    }
}

/// `{_id: bound}`.
pub fn key(bound: &RawBson) -> RawDocumentBuf {
    rawdoc! { "_id": bound.clone() }
}

/// The key of the last of all `_id`s.
pub fn max_key() -> RawDocumentBuf {
    key(&RawBson::MaxKey)
}

/// Bounds a `find` in `_id` order to `[lower, upper)`, each given as `{_id: …}`; None is
/// open.
///
/// With only `min` given a server stops before `MaxKey` (6.0.5): a range that is open at
/// the end must be cut there, and the document with that `_id` asked for by itself. This
/// does so for the range that begins there.
pub fn bound(find: &mut RawDocumentBuf, lower: Option<&RawDocument>, upper: Option<&RawDocument>) {
    if lower.is_some_and(is_max_key) {
        find.append(cstr!("filter"), max_key());
        return;
    }
    for (name, bound) in [(cstr!("min"), lower), (cstr!("max"), upper)] {
        if let Some(bound) = bound {
            find.append(name, bound.to_owned());
        }
    }
}

fn is_max_key(key: &RawDocument) -> bool {
    matches!(key.get("_id"), Ok(Some(RawBsonRef::MaxKey)))
}

/// The `find` commands that together read `[lower, upper)`: `head`, each with its bounds.
pub fn between(
    head: RawDocumentBuf,
    lower: Option<RawDocumentBuf>,
    upper: Option<RawDocumentBuf>,
) -> Vec<RawDocumentBuf> {
    let mut ranges = vec![(lower.as_deref(), upper.as_deref())];
    let last = max_key();
    if upper.is_none() && lower.as_ref().is_some_and(|lower| !is_max_key(lower)) {
        ranges.push((Some(&last), None));
    }
    ranges
        .into_iter()
        .map(|(lower, upper)| {
            let mut find = head.clone();
            bound(&mut find, lower, upper);
            find
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_never_repeat() {
        let ids: Vec<RawBson> = [5, 1, 9, 1, 3, 7, 7, 2].map(RawBson::Int32).into();
        let bounds = pick(ids, 4);
        let values: Vec<i32> = bounds.iter().filter_map(|b| b.as_i32()).collect();
        assert_eq!(values.len(), 3);
        assert!(
            values.windows(2).all(|pair| pair[0] < pair[1]),
            "{values:?}"
        );
        assert!(pick(Vec::new(), 4).is_empty());
        assert_eq!(pick(vec![RawBson::Int32(1)], 9).len(), 1);
        let equal = vec![RawBson::Int32(1), RawBson::Double(1.0), RawBson::Int64(1)];
        assert_eq!(pick(equal, 9).len(), 1);
        let many: Vec<_> = (0..100).rev().map(RawBson::Int32).collect();
        assert_eq!(pick(many, 4), [25, 50, 75].map(RawBson::Int32));
    }

    #[test]
    fn the_last_of_all_ids_is_asked_for_by_itself() {
        let (seven, last) = (key(&RawBson::Int32(7)), max_key());
        let bounds_of = |lower: Option<&RawDocumentBuf>, upper: Option<&RawDocumentBuf>| {
            between(rawdoc! {}, lower.cloned(), upper.cloned())
        };
        let (from_seven, at_last) = (
            rawdoc! { "min": seven.clone() },
            rawdoc! { "filter": last.clone() },
        );
        assert_eq!(bounds_of(None, None), [rawdoc! {}]);
        assert_eq!(bounds_of(Some(&seven), None), [from_seven, at_last.clone()]);
        assert_eq!(
            bounds_of(Some(&seven), Some(&last)),
            [rawdoc! { "min": seven.clone(), "max": last.clone() }]
        );
        assert_eq!(bounds_of(Some(&last), None), [at_last]);
    }
}
