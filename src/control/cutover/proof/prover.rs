//! The proof in the background. Once everything is copied it compares both sides again
//! and again, has differences repaired where the run can, and reports the obstacles to a
//! cutover.
//!
//! What differs at one look may be DDL on its way. So it is looked at again after the
//! tails have passed everything that the first look may have shown, and only what differs
//! in the same way both times counts. What the source was seen to have is then durable
//! (`listing`). Its errors end nothing: what could not be compared is an obstacle.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::control::across::ddl::Coordinator;
use crate::control::cutover::proof::repairs::Repairs;
use crate::control::cutover::proof::{self, Difference, Listed};
use crate::control::layout::listing;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::observe::phase::Phase;
use crate::pair::oplog::proven;
use crate::pair::run::Pair;
use crate::position::Position;

/// The obstacle's name.
const CAUSE: &str = "proof";
/// How often it looks whether the pairs are complete.
const POLL: Duration = Duration::from_millis(50);
/// Between two looks, at least; and as a multiple of what a look takes.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_PER_LOOK: u32 = 20;
/// The same while there is an obstacle. Looking takes at most half of the time.
const PAUSE_DIFFERENT: Duration = Duration::from_secs(1);
const PAUSE_PER_LOOK_DIFFERENT: u32 = 1;
/// How long the pairs may take to reach what a look showed.
const PASSED_WITHIN: Duration = Duration::from_secs(60);
/// How long one look may take in all: a frozen server never answers.
const LOOK_MAX: Duration = Duration::from_secs(180);
/// The same for a report that is no obstacle.
const TELL_MAX: Duration = Duration::from_secs(10);

pub struct Prover {
    pub sides: Sides,
    pub pairs: Vec<Arc<Pair>>,
    pub coordinator: Arc<Coordinator>,
    pub run: Arc<Run>,
}

/// Sets the obstacle that stands until the first look: nothing is proven yet.
pub fn nothing_yet(run: &Run) {
    run.obstacles.set(
        CAUSE,
        "collections, options, views and indexes of both sides are not compared yet",
    );
}

impl Prover {
    /// Goes on for as long as the attempt does.
    pub async fn run(self) {
        let mut repairs = Repairs::default();
        loop {
            if !self.may_look() {
                sleep(POLL).await;
                continue;
            }
            let began = Instant::now();
            // The next look will tell.
            let _ = timeout(
                TELL_MAX,
                proof::tell_left_behind(&self.sides.source, &self.run),
            )
            .await;
            let text = match timeout(LOOK_MAX, self.look(&mut repairs)).await {
                Ok(Ok(found)) => found,
                Ok(Err(e)) => Some(format!("both sides could not be compared: {e}")),
                Err(_) => Some(format!(
                    "both sides could not be compared within {} s",
                    LOOK_MAX.as_secs()
                )),
            };
            let pause = pause(text.is_some(), began.elapsed());
            self.run.obstacles.put(CAUSE, text);
            sleep(pause).await;
        }
    }

    /// A cutover looks by itself.
    fn may_look(&self) -> bool {
        matches!(self.run.phase(), Phase::Following | Phase::Ready) && self.is_complete()
    }

    fn is_complete(&self) -> bool {
        self.pairs.iter().all(|pair| pair.is_complete())
    }

    /// What is in the way of a cutover.
    async fn look(&self, repairs: &mut Repairs) -> Result<Option<String>> {
        let found = self.different(repairs).await?;
        if !found.is_empty() {
            return Ok(Some(format!(
                "source and target differ: {}",
                proof::told(&found).join("; ")
            )));
        }
        let moving = proof::moving(&self.sides).await?;
        Ok((!moving.is_empty()).then(|| format!("chunks may move: {}", moving.join("; "))))
    }

    /// What differs for good. Repairs of it, where possible and due, have begun.
    async fn different(&self, repairs: &mut Repairs) -> Result<Vec<Difference>> {
        let first = self.compare().await?;
        if first.is_empty() {
            *repairs = Repairs::default();
            return Ok(first);
        }
        let before = listing::newest(&self.sides.source).await?;
        self.pass().await?;
        let mut found = self.compare().await?;
        let known: HashSet<_> = first
            .iter()
            .map(|difference| (&difference.what, difference.uuid))
            .collect();
        found.retain(|difference| known.contains(&(&difference.what, difference.uuid)));
        if found.is_empty() {
            return Ok(found);
        }
        listing::notes(&self.sides.source, &self.run.id(), PASSED_WITHIN).await?;
        let after = listing::newest(&self.sides.source).await?;
        if !proven::same_terms(&before, &after) {
            return Err(Error::new(
                Kind::Transient,
                "a source shard held an election meanwhile",
            ));
        }
        // A cutover that began meanwhile mends by itself, and once it is over nothing may
        // change any more.
        if self.may_look() {
            let due = repairs.due(&found, Instant::now());
            proof::repair(&due, &self.pairs, &self.coordinator).await?;
        }
        Ok(found)
    }

    async fn compare(&self) -> Result<Vec<Difference>> {
        let listed = Listed::read(&self.sides, &self.pairs, &self.coordinator).await?;
        Ok([listed.definitions(), listed.owners()].concat())
    }

    /// Waits until all that the source showed until now is applied.
    async fn pass(&self) -> Result<()> {
        let deadline = Instant::now() + PASSED_WITHIN;
        let notes = listing::notes(&self.sides.source, &self.run.id(), PASSED_WITHIN).await?;
        let passed = |(pair, note): (&Arc<Pair>, &Position)| *note <= pair.watermark();
        while !(self.pairs.iter().zip(&notes).all(passed) && self.is_complete()) {
            if deadline <= Instant::now() {
                return Err(Error::new(
                    Kind::Transient,
                    "a difference may be a change still on its way, which takes long",
                ));
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// Until the next look, after one that took so long.
fn pause(in_the_way: bool, took: Duration) -> Duration {
    if in_the_way {
        PAUSE_DIFFERENT.max(took * PAUSE_PER_LOOK_DIFFERENT)
    } else {
        PAUSE_MIN.max(took * PAUSE_PER_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_are_far_between() {
        let s = Duration::from_secs;
        assert_eq!((pause(false, s(0)), pause(false, s(2))), (s(5), s(40)));
        assert_eq!((pause(true, s(0)), pause(true, s(30))), (s(1), s(30)));
    }
}
