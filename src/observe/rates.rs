//! Rates and ETA, from the snapshots of the last seconds.
//!
//! Keeps no counters of its own.

use std::collections::VecDeque;

use crate::observe::counters::PairSnapshot;
use crate::observe::status::Snapshot;

/// Rates are averages over this long, seconds.
const WINDOW_S: f64 = 10.0;
/// Snapshots closer than this are not kept, seconds.
const SPACING_S: f64 = 0.5;
/// Lag below this is no catching up, ms.
const LAG_SMALL_MS: u64 = 1_000;

/// Earlier snapshots of one run, oldest first: at most
/// `WINDOW_S / SPACING_S` of them and one more.
#[derive(Debug, Default)]
pub struct Rates {
    kept: VecDeque<Snapshot>,
}

impl Rates {
    /// Sets the rates and ETA of every pair of `now`, and remembers it.
    pub fn fill(&mut self, now: &mut Snapshot) {
        if self
            .kept
            .back()
            .is_some_and(|last| now.elapsed_s < last.elapsed_s || now.run_id != last.run_id)
        {
            self.kept.clear();
        }
        while 1 < self.kept.len() && self.kept[0].elapsed_s + WINDOW_S < now.elapsed_s {
            self.kept.pop_front();
        }
        if let Some(then) = self.kept.front() {
            fill_since(then, now);
        }
        if self
            .kept
            .back()
            .is_none_or(|last| last.elapsed_s + SPACING_S <= now.elapsed_s)
        {
            self.kept.push_back(now.clone());
        }
    }
}

fn fill_since(then: &Snapshot, now: &mut Snapshot) {
    let span_s = now.elapsed_s - then.elapsed_s;
    if span_s < 0.05 {
        return;
    }
    for pair in &mut now.pairs {
        let Some(before) = then.pairs.iter().find(|p| p.name == pair.name) else {
            continue;
        };
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span_s;
        pair.documents_per_s = rate(pair.documents_copied, before.documents_copied);
        pair.bytes_per_s = rate(pair.bytes_copied, before.bytes_copied);
        pair.ops_per_s = rate(pair.ops_applied, before.ops_applied);
        pair.eta_s = eta_s(pair, rate(before.lag_ms, pair.lag_ms));
    }
}

/// While copying: until the copy is done. Then: until lag is gone, if it falls.
fn eta_s(pair: &PairSnapshot, lag_ms_fallen_per_s: f64) -> Option<f64> {
    if !pair.is_copied() {
        let left = pair.bytes_total.checked_sub(pair.bytes_done)?;
        return (0 < left && 0.0 < pair.bytes_per_s).then(|| left as f64 / pair.bytes_per_s);
    }
    (LAG_SMALL_MS < pair.lag_ms && 0.0 < lag_ms_fallen_per_s)
        .then(|| pair.lag_ms as f64 / lag_ms_fallen_per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(elapsed_s: f64, bytes_copied: u64, units_copied: u64, lag_ms: u64) -> Snapshot {
        let pair = PairSnapshot {
            name: "a → b".into(),
            bytes_total: 1_000,
            bytes_copied,
            bytes_done: bytes_copied,
            units_total: 2,
            units_copied,
            lag_ms,
            ..Default::default()
        };
        Snapshot {
            elapsed_s,
            pairs: vec![pair],
            ..Default::default()
        }
    }

    fn filled(rates: &mut Rates, mut snapshot: Snapshot) -> PairSnapshot {
        rates.fill(&mut snapshot);
        snapshot.pairs.remove(0)
    }

    #[test]
    fn rates_and_eta_come_from_the_window() {
        let mut rates = Rates::default();
        let first = filled(&mut rates, at(0.0, 0, 0, 0));
        assert_eq!((first.bytes_per_s, first.eta_s), (0.0, None));
        let second = filled(&mut rates, at(2.0, 200, 0, 0));
        assert_eq!((second.bytes_per_s, second.eta_s), (100.0, Some(8.0)));
        let stalled = filled(&mut rates, at(30.0, 200, 0, 0));
        assert_eq!((stalled.bytes_per_s, stalled.eta_s), (0.0, None));
    }

    #[test]
    fn after_the_copy_eta_is_that_of_the_lag() {
        let mut rates = Rates::default();
        filled(&mut rates, at(0.0, 1_000, 2, 9_000));
        assert_eq!(
            filled(&mut rates, at(2.0, 1_000, 2, 5_000)).eta_s,
            Some(2.5)
        );
        assert_eq!(filled(&mut rates, at(3.0, 1_000, 2, 500)).eta_s, None);
    }

    #[test]
    fn another_run_begins_anew_and_memory_is_bounded() {
        let mut rates = Rates::default();
        for i in 0..1_000u64 {
            filled(&mut rates, at(i as f64 / 10.0, i, 0, 0));
        }
        assert!(rates.kept.len() <= 22, "{}", rates.kept.len());
        assert_eq!(filled(&mut rates, at(0.0, 5, 0, 0)).bytes_per_s, 0.0);
        assert_eq!(rates.kept.len(), 1);
    }
}
