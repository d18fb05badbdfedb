//! A failing seed, made smaller: ops are left out as long as it still fails.
//!
//! Knows nothing about ops and engines: a case is what of it is kept.

/// What to try next with these kept: each of `parts` parts alone, and all but each.
pub(super) fn candidates(kept: &[usize], parts: usize) -> Vec<Vec<usize>> {
    let size = kept.len().div_ceil(parts.max(1)).max(1);
    let alone = kept.chunks(size).map(<[usize]>::to_vec);
    let without = kept.chunks(size).map(|part| {
        let rest = kept.iter().filter(|at| !part.contains(at));
        rest.copied().collect::<Vec<_>>()
    });
    let mut all: Vec<_> = alone.chain(without).collect();
    all.retain(|candidate| !candidate.is_empty() && candidate.len() < kept.len());
    all.sort();
    all.dedup();
    all
}

/// How many parts to try after a round: fewer ops in the same size of parts, or finer ones.
/// None if there is nothing finer.
pub(super) fn next_parts(parts: usize, kept: usize, smaller: bool) -> Option<usize> {
    if smaller {
        Some(parts.min(kept).max(2))
    } else if parts < kept {
        Some((2 * parts).min(kept))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the command does, with a function in place of the engine.
    fn shrink(all: usize, fails: impl Fn(&[usize]) -> bool) -> Vec<usize> {
        let mut kept: Vec<usize> = (0..all).collect();
        let mut parts = Some(4);
        while let Some(now) = parts.filter(|_| 1 < kept.len()) {
            let failing = candidates(&kept, now)
                .into_iter()
                .filter(|candidate| fails(candidate))
                .min_by_key(Vec::len);
            parts = next_parts(
                now,
                failing.as_ref().unwrap_or(&kept).len(),
                failing.is_some(),
            );
            kept = failing.unwrap_or(kept);
        }
        kept
    }

    #[test]
    fn what_is_left_is_what_it_takes() {
        for wanted in [vec![17], vec![3, 90], vec![0, 50, 51, 119]] {
            let fails = |kept: &[usize]| wanted.iter().all(|at| kept.contains(at));
            assert_eq!(shrink(120, fails), wanted);
        }
    }
}
