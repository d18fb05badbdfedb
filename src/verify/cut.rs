//! Cutting a part into `_id` ranges of about the same size.
//!
//! Knows nothing about digests.

use bson::RawBson;

use crate::cluster;
use crate::cluster::catalog::{self, Estimate};
use crate::cluster::ranges::key;
use crate::error::Result;
use crate::verify::part::{Order, Part};
use crate::verify::range::Range;
use crate::verify::read;

/// Size of a range: about a second of reading, so that the last ones of a run
/// still keep every lane busy.
const RANGE_BYTES: u64 = 64 * 1024 * 1024;
const RANGE_DOCUMENTS: u64 = 100_000;

/// `_id`s sampled per range: the ranges then differ by about a third.
const SAMPLES_PER_RANGE: u64 = 10;

/// Up to this share of a collection the server samples by random access; beyond
/// it reads everything (documented for `$sample`: 5 %).
const SAMPLED_SHARE_MAX: f64 = 0.04;

/// The ranges of a part, in order; together they hold every `_id`.
///
/// # Errors
/// If the source shard cannot be read.
pub async fn ranges(part: &Part) -> Result<Vec<Range>> {
    let size = catalog::estimate(&part.source.shard, &part.ns).await?;
    let batch_documents = read::batch_documents(size.document_bytes_average);
    let count = range_count(&size);
    let bounds = match part.order {
        Order::Id if 1 < count => {
            let samples = sample_count(count, &size);
            let ns = part.ns.own(&part.source.shard.scope);
            cluster::ranges::bounds(&part.source.client, &ns, count, samples).await?
        }
        _ => Vec::new(),
    };
    Ok(between(bounds, batch_documents))
}

fn range_count(size: &Estimate) -> u64 {
    size.bytes
        .div_ceil(RANGE_BYTES)
        .max(size.document_count.div_ceil(RANGE_DOCUMENTS))
}

/// How many `_id`s are sampled for so many ranges.
fn sample_count(ranges: u64, size: &Estimate) -> u64 {
    let share = (size.document_count as f64 * SAMPLED_SHARE_MAX) as u64;
    (ranges * SAMPLES_PER_RANGE).min(share).max(1)
}

/// The ranges between `bounds`, open at both ends; the last of several is that of
/// `MaxKey` alone (`cluster::ranges::bound`).
fn between(mut bounds: Vec<RawBson>, batch_documents: u32) -> Vec<Range> {
    if bounds.last().is_some_and(|last| *last != RawBson::MaxKey) {
        bounds.push(RawBson::MaxKey);
    }
    let ends = bounds.iter().map(|id| Some(key(id))).chain([None]);
    let starts = [None]
        .into_iter()
        .chain(bounds.iter().map(|id| Some(key(id))));
    starts
        .zip(ends)
        .map(|(min, max)| Range {
            min,
            max,
            batch_documents,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[test]
    fn ranges_meet_and_are_open_at_the_ends() {
        let ranges = between([25, 50, 75].map(RawBson::Int32).into(), 100);
        let ends: Vec<_> = ranges
            .iter()
            .map(|r| (r.min.clone(), r.max.clone()))
            .collect();
        let key = |v: i32| Some(rawdoc! { "_id": v });
        let end = Some(rawdoc! { "_id": RawBson::MaxKey });
        let expect = [
            (None, key(25)),
            (key(25), key(50)),
            (key(50), key(75)),
            (key(75), end.clone()),
            (end, None),
        ];
        assert_eq!(ends, expect);
        assert_eq!(between(Vec::new(), 1).len(), 1);
    }

    #[test]
    fn size_decides_how_many() {
        let size = |document_count, bytes| Estimate {
            document_count,
            bytes,
            document_bytes_average: 0,
        };
        assert_eq!(range_count(&size(1000, RANGE_BYTES * 3)), 3);
        assert_eq!(range_count(&size(RANGE_DOCUMENTS * 5 + 1, 1)), 6);
        assert_eq!(range_count(&size(0, 0)), 0);
    }
}
