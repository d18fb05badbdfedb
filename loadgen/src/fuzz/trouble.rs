//! What happens to the engine and to both sides meanwhile, and when: a pure function of a
//! seed.
//!
//! Knows nothing about ops.

use std::time::Duration;

use super::ground::Ground;
use super::tally::Tally;
use crate::cluster::{Deployment, ReplicaSet};
use crate::engine::keeper::Keeper;
use crate::error::Result;
use crate::layout::dice::Dice;

const OF_TROUBLE: u64 = 0xF2;
const KILLS_MAX: u64 = 2;
/// One run in so many has an election of a side.
const ELECTION_ONE_IN: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Kill,
    ElectSource,
    ElectTarget,
}

/// What happens when, from the start of the engine on, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble(Vec<(Duration, Event)>);

impl Trouble {
    pub(super) fn of(seed: u64, span: Duration) -> Trouble {
        let mut dice = Dice::new(&[OF_TROUBLE, seed]);
        let mut events = vec![Event::Kill; dice.below(KILLS_MAX + 1) as usize];
        for election in [Event::ElectSource, Event::ElectTarget] {
            if dice.one_in(ELECTION_ONE_IN) {
                events.push(election);
            }
        }
        let mut timed: Vec<_> = events
            .into_iter()
            .map(|event| (span.mul_f64(dice.unit()), event))
            .collect();
        timed.sort_by_key(|(at, _)| *at);
        Trouble(timed)
    }

    pub(super) async fn happen(&self, engine: &Keeper, ground: &Ground) -> Result<Tally> {
        let began = tokio::time::Instant::now();
        let mut tally = Tally::default();
        for (at, event) in &self.0 {
            tokio::time::sleep_until(began + *at).await;
            match event {
                Event::Kill => {
                    engine.signal(libc::SIGKILL);
                    tally.kills += 1;
                }
                Event::ElectSource => one_of(&ground.source, *at).elect().await?,
                Event::ElectTarget => one_of(&ground.target, *at).elect().await?,
            }
            if *event != Event::Kill {
                tally.elections += 1;
            }
        }
        Ok(tally)
    }
}

/// One of its replica sets, by the time.
fn one_of(side: &Deployment, at: Duration) -> &ReplicaSet {
    let sets = side.sets();
    sets[at.subsec_micros() as usize % sets.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_trouble_comes_up_and_is_the_same_for_a_seed() {
        let span = Duration::from_secs(3);
        let all: Vec<_> = (0..50).flat_map(|seed| Trouble::of(seed, span).0).collect();
        for event in [Event::Kill, Event::ElectSource, Event::ElectTarget] {
            assert!(all.iter().any(|(at, other)| *other == event && *at < span));
        }
        assert_eq!(Trouble::of(9, span), Trouble::of(9, span));
    }
}
