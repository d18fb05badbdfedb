//! The touched documents of the verification ahead, kept few: they are looked at again, and
//! those that are equal are touched no more.
//!
//! Which of them a cutover still has to read is for the gate to say.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::sweeper::{LOOK_MAX, POLL, Sweep, key_of, late};
use crate::bson::identity::IdKey;
use crate::error::Result;
use crate::pair::run::Pair;
use crate::position::Position;
use crate::verify::part::Part;
use crate::verify::recheck;

/// Touched documents of a pair that are left to the cutover: a few reads.
const TOUCHED_FEW: usize = 1_000;
/// Documents of one collection that are compared in one go.
const RECHECKED_AT_A_TIME: usize = 16_000;
/// A document touched less than so many seconds ago will soon be touched again.
const HOT_S: u64 = 2;
/// Pause after a go that found less than half of what it looked at equal.
const RECHECK_PAUSE: Duration = Duration::from_secs(5);

impl Sweep {
    /// Compares touched documents of the pairs that have many. Returns false if there
    /// were none to compare. An error of one part does not stop the others.
    pub(super) async fn recheck_touched(&mut self) -> bool {
        let crowded = |pair: &Arc<Pair>| TOUCHED_FEW < pair.with_gate(|gate| gate.touched_count());
        let crowded: Vec<Arc<Pair>> = self
            .of
            .pairs
            .iter()
            .filter(|pair| crowded(pair))
            .cloned()
            .collect();
        let (mut looked, mut found_equal, mut trouble) = (0, 0, false);
        for pair in &crowded {
            let of_pair = self
                .parts
                .iter()
                .filter(|part| part.shard == pair.index && !self.is_resting(&key_of(part)));
            for part in of_pair.cloned().collect::<Vec<_>>() {
                let look = timeout(LOOK_MAX, self.recheck_part(pair, &part)).await;
                match look.unwrap_or_else(|_| Err(late(&part))) {
                    Ok((of_part, equal)) => {
                        looked += of_part;
                        found_equal += equal;
                    }
                    Err(_) if !self.is_called(&part) => self.was_renamed(key_of(&part)),
                    Err(e) => {
                        trouble = true;
                        self.later(&part, &e);
                    }
                }
            }
        }
        if trouble || found_equal * 2 <= looked {
            self.recheck_after = Instant::now()
                + if self.is_short_of_room() {
                    POLL
                } else {
                    RECHECK_PAUSE
                };
        }
        0 < looked
    }

    /// Returns how many documents were compared, and how many of them are equal.
    async fn recheck_part(&mut self, pair: &Pair, part: &Part) -> Result<(usize, usize)> {
        let (key, any_age) = (key_of(part), self.is_short_of_room());
        let Some(round) = self.of.ahead.round(&key) else {
            return Ok((0, 0));
        };
        let taken = pair.with_gate(|gate| {
            let position = gate.look_at(&key.1, round)?;
            let until = if any_age {
                Position::MAX
            } else {
                seconds_before(gate.begun(), HOT_S)
            };
            Some((
                position,
                gate.touched_of(&key.1, round, until, RECHECKED_AT_A_TIME)?,
            ))
        });
        let Some((position, ids)) = taken.filter(|(_, ids)| !ids.is_empty()) else {
            return Ok((0, 0));
        };
        let looked = ids.len();
        let mut found_equal = 0;
        let Some(part) = self.at(part, position).await? else {
            return Ok((0, 0));
        };
        for ids in recheck::chunks(&ids) {
            let different: HashSet<IdKey> = recheck::different(&part, ids)
                .await?
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            let equal: Vec<IdKey> = ids
                .iter()
                .filter(|id| !different.contains(*id))
                .cloned()
                .collect();
            found_equal += equal.len();
            pair.with_gate(|gate| gate.found_equal(&key.1, round, &equal, position));
        }
        Ok((looked, found_equal))
    }
}

fn seconds_before(position: Position, seconds: u64) -> Position {
    Position::from_raw(position.raw().saturating_sub(seconds << 32))
}
