//! Splitting a collection into units: `_id` ranges of about equal size, bounds
//! from a sample. Bounds are hints: any ascending ones give a right copy.

use bson::RawBson;

use crate::cluster::catalog::Collection;
use crate::cluster::deployment::Shard;
use crate::cluster::ranges;
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
    let traits = Traits::of(&collection.options);
    let hinted = !traits.clustered || source.writes.clustered_hint;
    let units = unit_count(size, range_bytes, traits.one_unit() || !hinted);
    if units <= 1 {
        return Ok(Vec::new());
    }
    let samples = (units * SAMPLES_PER_RANGE)
        .min(size.documents / SAMPLE_SHARE_MAX)
        .max(units);
    let bounds = ranges::bounds(&source.client, &collection.ns, units, samples).await?;
    Ok(thin_out(bounds))
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

#[cfg(test)]
mod tests {
    use super::*;

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
