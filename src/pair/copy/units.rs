//! Splitting a collection into units: `_id` ranges of about equal size, bounds
//! from a sample. Bounds are hints: any ascending ones give a right copy. A collection that
//! is scanned in the order of the disk is one unit.

use bson::RawBson;

use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::Shard;
use crate::cluster::{disk_order, ranges};
use crate::codes;
use crate::error::{Kind, Result};
use crate::pair::collection::Traits;
use crate::state::ScanOrder;

/// Size of a collection, as estimated by the source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Size {
    pub documents: u64,
    pub bytes: u64,
}

/// How collections are to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Size of one range.
    pub range_bytes: u64,
    /// None: by what the disk shows of each.
    pub order: Option<ScanOrder>,
}

/// How often a collection may be read from its first document in the order of the disk, before
/// it is read by `_id`: a range that was interrupted costs no more than itself.
pub const WHOLE_READS_MAX: usize = 4;

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

/// The order in which a collection is scanned, and lower bounds of all its units but the
/// first.
///
/// # Errors
/// As the source's `$sample` gives them.
pub async fn plan(
    source: &Shard,
    ns: &Namespace,
    traits: Traits,
    size: Size,
    cut: Cut,
) -> Result<(ScanOrder, Vec<RawBson>)> {
    let order = order(source, ns, traits, size, cut).await?;
    let bounds = match order {
        ScanOrder::Id => bounds(source, ns, traits, size, cut.range_bytes).await?,
        ScanOrder::Natural => Vec::new(),
    };
    Ok((order, bounds))
}

/// The order in which a collection is scanned.
///
/// # Errors
/// As the source gives them, where it has to be looked at.
pub async fn order(
    source: &Shard,
    ns: &Namespace,
    traits: Traits,
    size: Size,
    cut: Cut,
) -> Result<ScanOrder> {
    // These have paths of their own, and the order of `_id` on the disk or one that counts.
    let has_its_own = traits.in_order() || traits.clustered;
    // What takes a field out would have to be read again, until all is copied.
    if has_its_own || !source.writes.logs_diffs {
        return Ok(ScanOrder::Id);
    }
    match cut.order {
        Some(order) => Ok(order),
        None if size.bytes <= cut.range_bytes => Ok(ScanOrder::Id),
        None => by_the_disk(source, ns).await,
    }
}

/// One that the source does not let us look at is read by `_id`.
async fn by_the_disk(source: &Shard, ns: &Namespace) -> Result<ScanOrder> {
    match disk_order::ascending(&source.client, &ns.own(&source.scope)).await {
        Ok(Some(ascending)) if disk_order::is_mixed(ascending) => Ok(ScanOrder::Natural),
        Ok(_) => Ok(ScanOrder::Id),
        Err(e) if e.kind == Kind::Server || e.code == Some(codes::MAX_TIME_EXPIRED) => {
            tracing::warn!("{ns} is read in the order of `_id`: {e}");
            Ok(ScanOrder::Id)
        }
        Err(e) => Err(e),
    }
}

async fn bounds(
    source: &Shard,
    ns: &Namespace,
    traits: Traits,
    size: Size,
    range_bytes: u64,
) -> Result<Vec<RawBson>> {
    let hinted = !traits.clustered || source.writes.clustered_hint;
    let units = unit_count(size, range_bytes, traits.one_unit() || !hinted);
    if units <= 1 {
        return Ok(Vec::new());
    }
    let samples = (units * SAMPLES_PER_RANGE)
        .min(size.documents / SAMPLE_SHARE_MAX)
        .max(units);
    let ns = ns.own(&source.scope);
    let bounds = ranges::bounds(&source.client, &ns, units, samples).await?;
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
