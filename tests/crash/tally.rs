//! Where engines died, for the table at the end.

use std::collections::BTreeMap;
use std::fmt;

use shardlift::failpoint;

#[derive(Default)]
pub(crate) struct Tally {
    hits: BTreeMap<&'static str, usize>,
    missed: BTreeMap<&'static str, usize>,
    /// By reason and phase.
    killed: BTreeMap<(&'static str, String), usize>,
    restarts: usize,
    /// Lives that rightly did not go on, by reason.
    refused: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(crate) fn hit(&mut self, failpoint: &'static str) {
        *self.hits.entry(failpoint).or_default() += 1;
    }

    /// A life in which it was not reached, or none was left for it.
    pub(crate) fn missed(&mut self, failpoint: &'static str) {
        *self.missed.entry(failpoint).or_default() += 1;
    }

    pub(crate) fn killed(&mut self, why: &'static str, phase: String) {
        *self.killed.entry((why, phase)).or_default() += 1;
    }

    /// An end that the same command goes on from.
    pub(crate) fn restart(&mut self) {
        self.restarts += 1;
    }

    /// An end, or a cutover called off, that is right.
    pub(crate) fn refused(&mut self, why: &'static str) {
        *self.refused.entry(why).or_default() += 1;
    }

    pub(crate) fn kills(&self) -> usize {
        self.hits.values().chain(self.killed.values()).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of =
            |map: &BTreeMap<&str, usize>, name: &str| map.get(name).copied().unwrap_or_default();
        writeln!(f, "{:<22}{:>8}{:>14}", "failpoint", "aborts", "not reached")?;
        for name in failpoint::NAMES {
            let (hits, missed) = (of(&self.hits, name), of(&self.missed, name));
            if 0 < hits + missed {
                writeln!(f, "{name:<22}{hits:>8}{missed:>14}")?;
            }
        }
        for ((why, phase), count) in &self.killed {
            writeln!(f, "killed {why}, {phase}: {count}")?;
        }
        for (why, count) in &self.refused {
            writeln!(f, "refused {why}: {count}")?;
        }
        write!(
            f,
            "{} kills, {} other ends to go on from",
            self.kills(),
            self.restarts
        )
    }
}
