//! Which cases of a batch failed, and what is the least of one that still does.
//!
//! Knows nothing about how the engine is run.

use std::time::{Duration, Instant};

use super::batch::{Case, Runs, Verdict};
use super::shrink;
use crate::error::{Error, Result};

/// Copies of a case that are run side by side: not each one meets the same moment.
const COPIES: usize = 4;
/// Parts to begin with.
const PARTS: usize = 6;

/// A case that failed, and how.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) case: Case,
    pub(super) why: String,
}

/// Those of `cases` that fail. Where the engine stopped nobody knows whose fault it is:
/// each half is run by itself.
pub(super) async fn of(runs: &mut Runs<'_>, cases: &[Case], trouble: u64) -> Result<Vec<Failure>> {
    let mut failures = Vec::new();
    let mut left = vec![cases.to_vec()];
    while let Some(cases) = left.pop() {
        match runs.run(&cases, trouble).await? {
            Verdict::Equal => {}
            Verdict::Differ(differences) => {
                let owned = |found| cases.iter().any(|case| case.owns(found));
                if let Some(stray) = differences.iter().find(|found| !owned(found)) {
                    return Err(Error::new(format!("a difference of no case: {stray:?}")));
                }
                let failed = cases.iter().filter_map(|case| {
                    let own = differences.iter().filter(|found| case.owns(found));
                    let lines: Vec<String> = own
                        .map(|found| format!("{}: {}: {}", found.ns, found.kind, found.detail))
                        .collect();
                    let why = lines.join("\n");
                    (!lines.is_empty()).then(|| Failure {
                        case: case.clone(),
                        why,
                    })
                });
                failures.extend(failed);
            }
            Verdict::Stopped(e) => match &cases[..] {
                [case] => failures.push(Failure {
                    case: case.clone(),
                    why: e.to_string(),
                }),
                _ => {
                    eprintln!("the engine stopped on {} cases: {}", cases.len(), e.message);
                    let (one, other) = cases.split_at(cases.len() / 2);
                    left.extend([other.to_vec(), one.to_vec()]);
                }
            },
        }
    }
    Ok(failures)
}

/// The least that was found to fail within `time`; None if it does not fail again.
pub(super) async fn shrunk(
    runs: &mut Runs<'_>,
    failure: &Failure,
    trouble: u64,
    time: Duration,
) -> Result<Option<Failure>> {
    let (began, seed) = (Instant::now(), failure.case.seed);
    let count = failure.case.plan(runs.settings).ops.len();
    let mut round = 0;
    let mut cases = |kept: Vec<Vec<usize>>| -> Vec<Case> {
        round += 1;
        let numbered = kept.into_iter().enumerate();
        numbered
            .map(|(i, kept)| Case {
                seed,
                database: format!("s{seed}r{round}c{i}"),
                kept: Some(kept),
            })
            .collect()
    };
    let all: Vec<usize> = (0..count).collect();
    let copies = cases(vec![all; COPIES]);
    let Some(mut least) = of(runs, &copies, trouble).await?.pop() else {
        return Ok(None);
    };
    let mut parts = Some(PARTS);
    while let Some(now) = parts {
        let kept = least.case.kept.clone().unwrap_or_default();
        if time <= began.elapsed() || kept.len() < 2 {
            break;
        }
        let tried = cases(shrink::candidates(&kept, now));
        let failing = of(runs, &tried, trouble).await?.into_iter();
        let size = |failure: &Failure| failure.case.kept.as_ref().map_or(count, Vec::len);
        let smallest = failing.min_by_key(size);
        let smaller = smallest.is_some();
        least = smallest.unwrap_or(least);
        eprintln!("seed {seed}: {} ops still fail", size(&least));
        parts = shrink::next_parts(now, size(&least), smaller);
    }
    Ok(Some(least))
}
