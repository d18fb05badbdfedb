//! How long a run is under way, and how long this process is.

use std::time::Instant;

use crate::observe::phase::Change;

#[derive(Debug)]
pub(super) struct Age {
    process: Instant,
    /// When the run began, ms since 1970: maybe in an earlier process.
    began_ms: u64,
}

impl Age {
    /// Both begin.
    pub(super) fn new(now_ms: u64) -> Self {
        Age {
            process: Instant::now(),
            began_ms: now_ms,
        }
    }

    /// The phases that earlier processes of the run recorded, oldest first. Without any, no
    /// more is known than this process.
    pub(super) fn recall(&mut self, earlier: &[Change]) {
        let first = earlier.first().map(|first| first.at_ms);
        self.began_ms = self.began_ms.min(first.unwrap_or(u64::MAX));
    }

    /// Another run begins in this process.
    pub(super) fn begin_anew(&mut self, now_ms: u64) {
        self.began_ms = now_ms;
    }

    pub(super) fn process_s(&self) -> f64 {
        self.process.elapsed().as_secs_f64()
    }

    pub(super) fn run_s(&self, now_ms: u64) -> f64 {
        now_ms.saturating_sub(self.began_ms) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::phase::Phase;

    #[test]
    fn a_run_is_as_old_as_its_first_process_and_its_way_back_as_it_is_itself() {
        let mut age = Age::new(10_000);
        assert_eq!(age.run_s(12_500), 2.5);
        age.recall(&[]);
        assert_eq!(age.run_s(12_500), 2.5, "nothing is recorded");
        let earlier = [4_000, 9_000].map(|at_ms| Change::new(Phase::Validating, at_ms, "begun"));
        age.recall(&earlier);
        assert_eq!(age.run_s(12_500), 8.5);
        age.recall(&[Change::new(Phase::Validating, 11_000, "begun")]);
        assert_eq!(age.run_s(12_500), 8.5, "a clock that was set back");
        age.begin_anew(12_000);
        assert_eq!(age.run_s(12_500), 0.5);
        assert_eq!(age.run_s(11_000), 0.0);
    }
}
