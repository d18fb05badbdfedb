//! When, what, where and how long: a pure function of the seed, without an end.
//!
//! Knows nothing about what is up or down by then.

use std::time::Duration;

use crate::faults::Fault;
use crate::layout::dice::Dice;

/// Whether a fault hits the source's or the target's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Source,
    Target,
}

/// A member of a deployment, as far as it can be said ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub side: Side,
    /// Taken modulo the number of sets.
    pub set: usize,
    /// 0 for whoever is primary then, else the n-th of the others.
    pub member: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// Since the clock began.
    pub at: Duration,
    pub fault: Fault,
    pub place: Place,
    /// Zero for faults that are instant.
    pub lasts: Duration,
    /// 0 to 1: how strong, where that can be chosen.
    pub strength: f64,
    /// Share of the connections, for faults of a proxy.
    pub share: f64,
}

/// An endless iterator of faults in order of time.
#[derive(Debug, Clone)]
pub struct Plan {
    dice: Dice,
    /// Each as often as it weighs.
    kinds: Vec<Fault>,
    every: Duration,
    at: Duration,
}

/// How long faults last, ms: some are over before anyone noticed, some outlast
/// an election (4 s).
const LASTS_MS: std::ops::Range<u64> = 300..9_000;
/// Longer than a lock is asked for, so that none is taken after its end.
const FSYNC_LASTS_MIN: Duration = Duration::from_secs(3);
const SHARES: [f64; 4] = [1.0, 1.0, 0.5, 0.2];

impl Plan {
    /// A fault about `every` so often, of the given kinds.
    pub fn new(seed: u64, kinds: &[Fault], every: Duration) -> Plan {
        let kinds = kinds
            .iter()
            .flat_map(|kind| std::iter::repeat_n(*kind, kind.weight() as usize))
            .collect();
        Plan {
            dice: Dice::new(&[seed, 0xFA17]),
            kinds,
            every,
            at: Duration::ZERO,
        }
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let dice = &mut self.dice;
        self.at += self.every.mul_f64(0.5 + dice.unit());
        let fault = dice.pick(&self.kinds);
        let side = if dice.one_in(2) {
            Side::Source
        } else {
            Side::Target
        };
        let place = Place {
            side,
            set: dice.below(1 << 20) as usize,
            member: dice.below(4).saturating_sub(1) as usize,
        };
        let lasts = LASTS_MS.start + dice.below(LASTS_MS.end - LASTS_MS.start);
        let lasts = match fault {
            Fault::FsyncLock => Duration::from_millis(lasts).max(FSYNC_LASTS_MIN),
            _ if fault.is_instant() => Duration::ZERO,
            _ => Duration::from_millis(lasts),
        };
        Some(Planned {
            at: self.at,
            fault,
            place,
            lasts,
            strength: dice.unit(),
            share: dice.pick(&SHARES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_each_time_and_all_of_them() {
        let all = Fault::ALL.map(|(fault, ..)| fault);
        let plan = |seed| {
            Plan::new(seed, &all, Duration::from_secs(4))
                .take(1_000)
                .collect::<Vec<_>>()
        };
        let faults = plan(1);
        assert_eq!(faults, plan(1));
        assert_ne!(faults, plan(2));
        assert!(faults.is_sorted_by_key(|planned| planned.at));
        assert!(
            (3_800..4_200).contains(&faults[999].at.as_secs()),
            "{:?}",
            faults[999].at
        );
        assert!(
            Fault::ALL
                .iter()
                .all(|(fault, ..)| faults.iter().any(|planned| planned.fault == *fault))
        );
        assert!(
            faults
                .iter()
                .all(|planned| planned.lasts.as_millis() < u128::from(LASTS_MS.end))
        );
    }

    #[test]
    fn only_the_kinds_asked_for() {
        let mut plan = Plan::new(1, &[Fault::Cut], Duration::from_secs(1));
        assert!(
            plan.by_ref()
                .take(50)
                .all(|planned| planned.fault == Fault::Cut && planned.lasts.is_zero())
        );
    }
}
