//! Doubtful documents of the simulation are read again, as `shardlift::pair::mend::reread` and
//! `doubtful` do it: all in one transaction, or part by part; parts that collide are
//! halved, and what is left over goes together.
//!
//! By hand: the engine's own reads and writes are async. The doubts are the engine's.

use std::sync::Arc;

use bson::RawBsonRef;
use shardlift::bson::identity::IdKey;
use shardlift::pair::collection::Tracked;
use shardlift::position::Position;

use crate::sim::body::{self, Key};
use crate::sim::command::Command;
use crate::sim::pair::{Pair, Reach, Step};
use crate::sim::scan::reply;
use crate::sim::sent::Sent;

pub(super) struct Reread {
    parts: Vec<Vec<IdKey>>,
    /// Those that no part of their own could bring.
    rest: Vec<IdKey>,
    under_way: Option<Transaction>,
}

struct Transaction {
    ids: Vec<IdKey>,
    /// Nothing is left to be halved.
    is_last: bool,
    sent: Sent,
}

pub(super) enum Outcome {
    UnderWay,
    /// None of them is doubtful any more.
    Resolved,
    /// Another position may do.
    Stopped,
}

/// One reading in so many is more than one transaction takes.
const TOO_LARGE: u64 = 3;
/// One in so many finds no history at its position.
const HISTORY_GONE: u64 = 12;

impl Reread {
    pub(super) fn new(mut ids: Vec<IdKey>, reach: &mut Reach<'_>) -> Self {
        // A hash map's order is not the seed's.
        ids.sort_by_key(body::key_of);
        let (parts, rest) = if reach.dice.one_in(TOO_LARGE) {
            (ids.chunks(2).map(<[_]>::to_vec).collect(), Vec::new())
        } else {
            (Vec::new(), ids)
        };
        Reread {
            parts,
            rest,
            under_way: None,
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn into_command(self) -> Option<Command> {
        self.under_way.map(|transaction| transaction.sent.command)
    }

    pub(super) fn step(
        &mut self,
        tracked: &Arc<Tracked>,
        position: Position,
        pair: &mut Pair,
        reach: &mut Reach<'_>,
    ) -> Step<Outcome> {
        let Some(mut transaction) = self.under_way.take() else {
            return Ok(self.begin(tracked, position, pair, reach));
        };
        if !transaction.sent.step(reach)? {
            self.under_way = Some(transaction);
            return Ok(Outcome::UnderWay);
        }
        transaction.sent.answered(reach)?;
        let Transaction {
            mut ids,
            is_last,
            sent,
        } = transaction;
        if sent.command.refused.is_empty() {
            tracked.doubts.forget(&ids);
            pair.resolved(tracked.uuid, &ids);
            reach.target.tally.reread += ids.len() as u64;
            return Ok(Outcome::UnderWay);
        }
        reach.target.tally.collided += 1;
        if is_last {
            return Ok(Outcome::Stopped);
        }
        if ids.len() == 1 {
            self.rest.append(&mut ids);
        } else {
            let second = ids.split_off(ids.len() / 2);
            self.parts.extend([ids, second]);
        }
        Ok(Outcome::UnderWay)
    }

    fn begin(
        &mut self,
        tracked: &Arc<Tracked>,
        position: Position,
        pair: &Pair,
        reach: &mut Reach<'_>,
    ) -> Outcome {
        let (ids, is_last) = match self.parts.pop() {
            Some(part) => (part, false),
            None => (std::mem::take(&mut self.rest), true),
        };
        if ids.is_empty() {
            return Outcome::Resolved;
        }
        if reach.dice.one_in(HISTORY_GONE) {
            return Outcome::Stopped;
        }
        let shown = reach.source.collections[&tracked.uuid].shown_at(position);
        let clock = Position::clock_of(&reply(position, reach.source.newest()));
        tracked.raise_horizon(clock);
        let documents: Vec<(Key, _)> = ids
            .iter()
            .map(body::key_of)
            .map(|key| (key, shown.get(&key).copied()))
            .collect();
        let command = Command::exact(tracked, &documents);
        pair.note(|| {
            let ns = &tracked.ns();
            format!("documents of {ns} are read again at {position}: {documents:?}")
        });
        self.under_way = Some(Transaction {
            ids,
            is_last,
            sent: Sent::new(command, tracked.clone()),
        });
        Outcome::UnderWay
    }
}

/// As the engine knows a document.
pub(super) fn id_of(key: Key) -> IdKey {
    IdKey::of(RawBsonRef::Int64(key))
}
