//! The optime gap: how far the target is behind the source's newest write, and whether
//! users' writes may stop at it.
//!
//! Pure: the pairs' gauges say how large it is.

use crate::observe::prepared;

/// What is less is shown as 0:00.
const ZERO_BELOW_MS: u64 = 1_000;

/// Why a cutover is not begun now: until the gap of every pair is zero, users would wait for
/// what was written before they stopped. `pairs`: their names and gaps, ms.
pub fn in_the_way<'a>(pairs: impl Iterator<Item = (&'a str, u64)>) -> Option<String> {
    let (name, gap_ms) = pairs.max_by_key(|(_, gap_ms)| *gap_ms)?;
    (ZERO_BELOW_MS <= gap_ms).then(|| {
        format!(
            "the optime gap of {name} is {}; wait until it is 0:00, or give `--block-writes`, with which a source of 6.0 refuses users' writes before the rest is applied",
            prepared::gap(gap_ms)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_gap_is_in_the_way_until_it_is_zero() {
        type Row<'a> = (&'a [(&'a str, u64)], Option<&'a str>);
        let rows: [Row<'_>; 6] = [
            (&[], None),
            (&[("a → x", 0)], None),
            (&[("a → x", 999), ("b → y", 0)], None),
            (&[("a → x", 1_000)], Some("of a → x is 0:01;")),
            (
                &[("a → x", 900), ("b → y", 42_500)],
                Some("of b → y is 0:42;"),
            ),
            (
                &[("a → x", 90_000), ("b → y", 1_000)],
                Some("of a → x is 1:30;"),
            ),
        ];
        for (pairs, expect) in rows {
            let found = in_the_way(pairs.iter().copied());
            assert_eq!(found.is_some(), expect.is_some(), "{pairs:?} {found:?}");
            if let (Some(found), Some(expect)) = (&found, expect) {
                assert!(found.contains(expect), "{found}");
            }
        }
    }
}
