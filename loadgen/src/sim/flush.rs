//! One flush of a lane on its way: the order in which `shardlift::pair::bulk` sends its
//! commands, and what it makes of refusals. Between any two statements anything can
//! happen.
//!
//! By hand: the engine's own is async. What it leaves out is listed in `mod`.

use std::collections::VecDeque;

use bson::Uuid;
use shardlift::pair::compile::{Base, CollectionWrites, Statement};
use shardlift::pair::position::Position;
use shardlift::pair::render::{render, render_in_transaction, render_inserts};
use shardlift::wire::message::Request;

use crate::sim::body::{self, Key};
use crate::sim::command::Command;
use crate::sim::pair::{Reach, Step, wrong};
use crate::sim::sent::Sent;

/// A document that became doubtful, and the position of the op it did so with.
pub(super) type Doubted = (Uuid, Key, Position);

pub(super) struct Flush {
    pub(super) writes: Vec<CollectionWrites>,
    /// Commands that are not answered.
    parts: Vec<Part>,
    /// Statements that were refused once, by collection and place.
    again: Vec<(usize, usize)>,
    /// Commands of those, to go one after the other.
    queue: VecDeque<Part>,
    pub(super) doubted: Vec<Doubted>,
}

/// A command under way.
struct Part {
    sent: Sent,
    collection: usize,
    /// Places of its statements in the collection's.
    statements: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Documents as if none were there.
    Inserts,
    Changes,
    /// Changes, in one transaction.
    AtOnce,
    /// Refused before.
    Again,
    /// The next stretch of a collection in order.
    InOrder,
}

/// One flush in so many tries a transaction.
const AT_ONCE: u64 = 3;

impl Flush {
    pub(super) fn new(writes: Vec<CollectionWrites>, reach: &mut Reach<'_>) -> Self {
        let mut flush = Flush {
            writes,
            parts: Vec::new(),
            again: Vec::new(),
            queue: VecDeque::new(),
            doubted: Vec::new(),
        };
        for collection in 0..flush.writes.len() {
            if flush.writes[collection].collection.in_order() {
                flush.send_in_order(collection, 0, reach);
            } else {
                flush.send(collection, reach);
            }
        }
        flush
    }

    /// One step. True once all is answered.
    pub(super) fn step(&mut self, reach: &mut Reach<'_>) -> Step<bool> {
        let is_free = |part: &Part| part.kind != Kind::InOrder;
        if !self.parts.iter().any(is_free) {
            self.send_again();
        }
        if self.parts.is_empty() {
            return Ok(true);
        }
        let which = reach.dice.below(self.parts.len() as u64) as usize;
        if self.parts[which].sent.step(reach)? {
            self.parts[which].sent.answered(reach)?;
            let part = self.parts.swap_remove(which);
            self.answered(part, reach)?;
        }
        Ok(false)
    }

    pub(super) fn is_sent(&self) -> bool {
        !self.parts.is_empty()
    }

    /// What may still run once nobody waits for it.
    pub(super) fn into_commands(self) -> impl Iterator<Item = Command> {
        self.parts.into_iter().map(|part| part.sent.command)
    }

    fn send(&mut self, collection: usize, reach: &mut Reach<'_>) {
        let statements = &self.writes[collection].statements;
        let places = |is: &dyn Fn(&Statement) -> bool| -> Vec<usize> {
            let places = 0..statements.len();
            places.filter(|place| is(&statements[*place])).collect()
        };
        let inserts = places(&|s| s.is_insert());
        let changes = places(&|s| !s.is_insert() && s.base != Base::Unclear);
        for place in places(&|s| s.base == Base::Unclear) {
            self.doubt(collection, place, reach);
        }
        if !inserts.is_empty() {
            self.begin(collection, inserts, Kind::Inserts);
        }
        if 1 < changes.len() && reach.dice.one_in(AT_ONCE) {
            self.begin(collection, changes, Kind::AtOnce);
        } else {
            self.send_by_kind(collection, changes, Kind::Changes);
        }
    }

    /// Updates, and deletes: a command each.
    fn send_by_kind(&mut self, collection: usize, places: Vec<usize>, kind: Kind) {
        for places in self.by_kind(collection, places) {
            self.begin(collection, places, kind);
        }
    }

    fn by_kind(&self, collection: usize, places: Vec<usize>) -> Vec<Vec<usize>> {
        let is_delete = |place: &usize| self.statement(collection, *place).base == Base::Gone;
        let (deletes, updates): (Vec<_>, Vec<_>) = places.into_iter().partition(is_delete);
        [updates, deletes]
            .into_iter()
            .filter(|places| !places.is_empty())
            .collect()
    }

    fn begin(&mut self, collection: usize, statements: Vec<usize>, kind: Kind) {
        let part = self.part(collection, statements, kind);
        self.parts.push(part);
    }

    fn part(&self, collection: usize, statements: Vec<usize>, kind: Kind) -> Part {
        let writes = &self.writes[collection];
        let batch: Vec<&Statement> = statements
            .iter()
            .map(|place| &writes.statements[*place])
            .collect();
        let mut command = match kind {
            Kind::Inserts => Command::read(&render_inserts(&writes.collection, &batch)),
            Kind::AtOnce => self.transaction(collection, &statements),
            _ => Command::read(&render(&writes.collection, &batch, kind == Kind::InOrder)),
        };
        if matches!(kind, Kind::Changes | Kind::AtOnce) {
            let horizon = writes.collection.horizon();
            let must_find = batch.iter().filter(|s| s.must_find(horizon));
            command.must_find = must_find.map(|s| body::key_of(&s.id)).collect();
        }
        Part {
            sent: Sent::new(command, writes.collection.clone()),
            collection,
            statements,
            kind,
        }
    }

    /// Updates and deletes as one command, as far as the target is concerned.
    fn transaction(&self, collection: usize, statements: &[usize]) -> Command {
        let writes = &self.writes[collection];
        let requests: Vec<Request> = self
            .by_kind(collection, statements.to_vec())
            .iter()
            .map(|places| {
                let batch: Vec<&Statement> =
                    places.iter().map(|p| &writes.statements[*p]).collect();
                render_in_transaction(&writes.collection, &batch)
            })
            .collect();
        Command::transaction(&requests)
    }

    fn answered(&mut self, part: Part, reach: &mut Reach<'_>) -> Step {
        let Part {
            sent,
            collection,
            statements,
            kind,
        } = part;
        let refused: Vec<usize> = sent
            .command
            .refused
            .iter()
            .map(|refusal| refusal.index)
            .collect();
        if 0 < sent.command.missed && !reach.source.strays && !sent.collection.is_dead() {
            return wrong(format!(
                "a write to {} found no document where one must be",
                sent.collection.ns
            ));
        }
        match kind {
            Kind::Inserts if refused.is_empty() => {}
            Kind::Inserts => {
                let there = refused.iter().map(|index| statements[*index]).collect();
                self.begin(collection, there, Kind::Changes);
            }
            Kind::Changes => {
                let refused = refused.iter().map(|index| (collection, statements[*index]));
                self.again.extend(refused);
            }
            Kind::AtOnce if refused.is_empty() => reach.target.tally.at_once += 1,
            Kind::AtOnce => {
                reach.target.tally.not_at_once += 1;
                self.send_by_kind(collection, statements, Kind::Changes);
            }
            Kind::Again => {
                for index in refused {
                    self.doubt(collection, statements[index], reach);
                }
            }
            Kind::InOrder => {
                let last = refused.last().copied().unwrap_or(statements.len() - 1);
                for index in refused {
                    self.doubt(collection, statements[index], reach);
                }
                self.send_in_order(collection, statements[last] + 1, reach);
            }
        }
        Ok(())
    }

    /// Those that were refused, in the order of their ops, once all else is answered.
    fn send_again(&mut self) {
        let writes = &self.writes;
        let order = |(collection, place): &(usize, usize)| {
            let writes = &writes[*collection];
            (writes.collection.uuid, writes.statements[*place].position)
        };
        let mut again = std::mem::take(&mut self.again);
        again.sort_by_key(order);
        for same in again.chunk_by(|(a, _), (b, _)| a == b) {
            let places = same.iter().map(|(_, place)| *place).collect();
            for places in self.by_kind(same[0].0, places) {
                let part = self.part(same[0].0, places, Kind::Again);
                self.queue.push_back(part);
            }
        }
        self.parts.extend(self.queue.pop_front());
    }

    /// The next run of updates, or of deletes, from `place` on. A document may come again:
    /// once it is doubtful, what follows of it is dropped.
    fn send_in_order(&mut self, collection: usize, mut place: usize, reach: &mut Reach<'_>) {
        let count = self.writes[collection].statements.len();
        let mut run: Vec<usize> = Vec::new();
        while place < count {
            let tracked = &self.writes[collection].collection;
            let next = self.statement(collection, place);
            let is_doubtful = tracked.doubts.contains(&next.id);
            if run.is_empty() && is_doubtful {
                place += 1;
            } else if run.is_empty() && next.base == Base::Unclear {
                self.doubt(collection, place, reach);
                place += 1;
            } else {
                let is_delete = |place: usize| self.statement(collection, place).base == Base::Gone;
                let is_alike = run.first().is_none_or(|first| {
                    next.base != Base::Unclear && is_delete(*first) == is_delete(place)
                });
                if is_doubtful || !is_alike {
                    break;
                }
                run.push(place);
                place += 1;
            }
        }
        if !run.is_empty() && !self.writes[collection].collection.is_dead() {
            self.begin(collection, run, Kind::InOrder);
        }
    }

    fn statement(&self, collection: usize, place: usize) -> &Statement {
        &self.writes[collection].statements[place]
    }

    /// As `Writer::doubt` and `ask_source`: before the op leaves its lane.
    fn doubt(&mut self, collection: usize, place: usize, reach: &mut Reach<'_>) {
        let writes = &self.writes[collection];
        let Statement { id, position, .. } = &writes.statements[place];
        if writes.collection.is_dead() {
            return;
        }
        writes.collection.doubts.add(id, *position);
        reach.target.tally.doubtful += 1;
        let doubted = (writes.collection.uuid, body::key_of(id), *position);
        self.doubted.push(doubted);
    }
}
