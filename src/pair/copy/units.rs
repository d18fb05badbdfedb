//! Splitting a collection into units: `_id` ranges of about equal size, bounds
//! from a sample. Bounds are hints: any ascending ones give a right copy.

use std::cmp::Ordering;

use bson::raw::cstr;
use bson::{RawBson, RawDocumentBuf, rawdoc};

use crate::bson::order;
use crate::cluster::catalog::Collection;
use crate::cluster::deployment::Shard;
use crate::cluster::sample;
use crate::error::Result;
use crate::pair::collection::Traits;

/// Size of a collection, as estimated by the source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Size {
    pub documents: u64,
    pub bytes: u64,
}

/// Sampled `_id`s per range: the largest range is then rarely twice the mean.
const SAMPLES_PER_RANGE: u64 = 20;

/// Most units of one collection: each costs a cursor and a record.
const UNITS_MAX: u64 = 4096;

/// Below this share of a collection the server samples by a random cursor
/// instead of reading it whole (`$sample` documentation: 5 %).
const SAMPLE_SHARE_MAX: u64 = 20;

/// Units a collection of `size` should be split into.
pub fn unit_count(size: Size, range_bytes: u64, one_unit: bool) -> u64 {
    if one_unit {
        return 1;
    }
    size.bytes.div_ceil(range_bytes.max(1)).clamp(1, UNITS_MAX)
}

/// Lower bounds of all units but the first.
///
/// # Errors
/// As the source's `$sample` gives them.
pub async fn bounds(
    source: &Shard,
    collection: &Collection,
    size: Size,
    range_bytes: u64,
) -> Result<Vec<RawBson>> {
    let units = unit_count(
        size,
        range_bytes,
        Traits::of(&collection.options).one_unit(),
    );
    if units <= 1 {
        return Ok(Vec::new());
    }
    let samples = (units * SAMPLES_PER_RANGE)
        .min(size.documents / SAMPLE_SHARE_MAX)
        .max(units);
    Ok(thin_out(pick(
        sample::ids(&source.client, &collection.ns, samples).await?,
        units as usize,
    )))
}

/// `{_id: bound}`.
pub fn key(bound: &RawBson) -> RawDocumentBuf {
    rawdoc! { "_id": bound.clone() }
}

/// The `find` commands that together read `[lower, upper)` in `_id` order: `head` plus
/// the bounds, given as `{_id: …}`. A bound that is None is open.
///
/// With only `min` given a server stops before `MaxKey` (6.0.5), so the document with
/// that `_id` is read by a command of its own.
pub fn between(
    head: RawDocumentBuf,
    lower: Option<RawDocumentBuf>,
    upper: Option<RawDocumentBuf>,
) -> Vec<RawDocumentBuf> {
    let ends_open = lower.is_some() && upper.is_none();
    let mut range = head.clone();
    for (name, bound) in [(cstr!("min"), lower), (cstr!("max"), upper)] {
        if let Some(bound) = bound {
            range.append(name, bound);
        }
    }
    let mut finds = vec![range];
    if ends_open {
        let mut last = head;
        last.append(cstr!("filter"), key(&RawBson::MaxKey));
        finds.push(last);
    }
    finds
}

/// Bounds of one collection are stored in one document.
const BOUNDS_BYTES_MAX: usize = 4 << 20;

/// Huge `_id`s: every other bound goes until the rest can be stored.
fn thin_out(mut bounds: Vec<RawBson>) -> Vec<RawBson> {
    let bytes = |bounds: &[RawBson]| {
        bounds
            .iter()
            .map(|b| crate::bson::identity::IdKey::of(b.as_raw_bson_ref()).bytes())
            .sum::<usize>()
    };
    while BOUNDS_BYTES_MAX < bytes(&bounds) {
        let mut keep = false;
        bounds.retain(|_| {
            keep = !keep;
            keep
        });
    }
    bounds
}

/// Every n-th of the sorted sample, without repeats.
fn pick(mut ids: Vec<RawBson>, units: usize) -> Vec<RawBson> {
    let compare =
        |a: &RawBson, b: &RawBson| order::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref());
    ids.sort_by(compare);
    ids.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    let units = units.min(ids.len() + 1);
    let mut bounds: Vec<RawBson> = (1..units)
        .map(|i| ids[i * ids.len() / units].clone())
        .collect();
    bounds.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    bounds
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
    }

    #[test]
    fn collections_that_keep_their_order_are_one_unit() {
        let size = Size {
            documents: 1_000,
            bytes: 1 << 30,
        };
        assert_eq!(unit_count(size, 64 << 20, true), 1);
        assert_eq!(unit_count(size, 64 << 20, false), 16);
        assert_eq!(unit_count(Size::default(), 64 << 20, false), 1);
    }
}
