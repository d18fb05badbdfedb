//! One flush of a lane on its way, and what becomes of refusals. Between any two
//! statements anything can happen.
//!
//! Which commands it becomes the engine says (`shardlift::pair::write::flush`); that they are sent
//! as `shardlift::pair::write::bulk` sends them is written here by hand, for that is async. What
//! it leaves out is listed in `mod`.

use std::collections::VecDeque;

use bson::Uuid;
use shardlift::cluster::dialect::{Dialect, WriteForms};
use shardlift::pair::write::flush::{FlushPlan, One, once_more};
use shardlift::pair::write::in_order::{Next, next_in_order};
use shardlift::pair::write::parts::Bulk;
use shardlift::pair::write::render::{render, render_in_transaction, render_inserts};
use shardlift::pair::write::statement::{Base, CollectionWrites, FlushLimits, Statement};
use shardlift::position::Position;
use shardlift::wire::message::Request;

use crate::sim::body::{self, Key};
use crate::sim::command::Command;
use crate::sim::pair::{Reach, Step, wrong};
use crate::sim::sent::Sent;

/// A document that became doubtful, and the position of the op it did so with.
pub(super) type Doubted = (Uuid, Key, Position);

pub(super) struct Flush {
    pub(super) writes: Vec<CollectionWrites>,
    /// Of one command.
    limits: FlushLimits,
    /// Commands that are not answered.
    parts: Vec<Part>,
    /// Statements that were refused once, by collection and place.
    again: Vec<(usize, usize)>,
    /// Commands of those, to go one after the other.
    queue: VecDeque<Places>,
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

/// The simulated target is one of 6.0.
pub(super) fn forms() -> WriteForms {
    Dialect::newest().writes
}

/// Statements of a flush: the place of their collection in it, and theirs in the
/// collection.
struct Places {
    collection: usize,
    statements: Vec<usize>,
}

impl Flush {
    /// `limits`: of the flush. Of its commands half as much is the most.
    pub(super) fn new(
        writes: Vec<CollectionWrites>,
        limits: FlushLimits,
        reach: &mut Reach<'_>,
    ) -> Self {
        let limits = FlushLimits {
            statements_max: limits.statements_max.div_ceil(2),
            ..limits
        };
        let plan = FlushPlan::of(&writes, limits, forms());
        assert!(plan.delicate.is_empty(), "no field name is there twice");
        let unclear: Vec<(usize, usize)> =
            plan.unclear.iter().map(|one| place(&writes, one)).collect();
        let inserts: Vec<Places> = plan.inserts.iter().map(|b| places(&writes, b)).collect();
        let changes = plan.changes.iter().flat_map(|group| &group.bulks);
        let changes: Vec<Places> = changes.map(|bulk| places(&writes, bulk)).collect();
        let mut flush = Flush {
            writes,
            limits,
            parts: Vec::new(),
            again: Vec::new(),
            queue: VecDeque::new(),
            doubted: Vec::new(),
        };
        for (collection, statement) in unclear {
            flush.doubt(collection, statement, reach);
        }
        for bulk in inserts {
            flush.begin(bulk.collection, bulk.statements, Kind::Inserts);
        }
        for same in changes.chunk_by(|a, b| a.collection == b.collection) {
            flush.change(same, reach);
        }
        for collection in 0..flush.writes.len() {
            if flush.writes[collection].collection.in_order() {
                flush.send_in_order(collection, 0, reach);
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

    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.parts.iter().map(|part| &part.sent)
    }

    /// What may still run once nobody waits for it.
    pub(super) fn into_commands(self) -> impl Iterator<Item = Command> {
        self.parts.into_iter().map(|part| part.sent.command)
    }

    /// Commands of one collection, in one transaction or by themselves.
    fn change(&mut self, bulks: &[Places], reach: &mut Reach<'_>) {
        let collection = bulks[0].collection;
        let all: Vec<usize> = bulks.iter().flat_map(|b| b.statements.clone()).collect();
        if 1 < all.len() && reach.dice.one_in(AT_ONCE) {
            self.begin(collection, all, Kind::AtOnce);
            return;
        }
        for bulk in bulks {
            self.begin(collection, bulk.statements.clone(), Kind::Changes);
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
            Kind::Inserts => Command::read(&render_inserts(&writes.collection, forms(), &batch)),
            Kind::AtOnce => self.transaction(collection, &statements),
            _ => Command::read(&render(
                &writes.collection,
                forms(),
                &batch,
                kind == Kind::InOrder,
            )),
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
                render_in_transaction(&writes.collection, forms(), &batch)
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
                sent.collection.ns()
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

    /// Those that were refused, once all else is answered.
    fn send_again(&mut self) {
        let again = std::mem::take(&mut self.again).into_iter();
        let refused = again.map(|(collection, place)| {
            let writes = &self.writes[collection];
            (&*writes.collection, &writes.statements[place])
        });
        for bulk in once_more(refused.collect(), self.limits, forms()) {
            self.queue.push_back(places(&self.writes, &bulk));
        }
        if let Some(next) = self.queue.pop_front() {
            self.begin(next.collection, next.statements, Kind::Again);
        }
    }

    /// The next run of a collection in order, from `place` on.
    fn send_in_order(&mut self, collection: usize, mut place: usize, reach: &mut Reach<'_>) {
        loop {
            let writes = &self.writes[collection];
            if writes.collection.is_dead() {
                return;
            }
            match next_in_order(
                &writes.collection,
                &writes.statements[place..],
                self.limits,
                forms(),
            ) {
                None => return,
                Some(Next::Nothing) => {}
                Some(Next::Unclear(_)) => self.doubt(collection, place, reach),
                Some(Next::Delicate(_)) => unreachable!("no field name is there twice"),
                Some(Next::Run(run)) => {
                    let statements = places(&self.writes, &run).statements;
                    return self.begin(collection, statements, Kind::InOrder);
                }
            }
            place += 1;
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

fn place(writes: &[CollectionWrites], (collection, statement): &One<'_>) -> (usize, usize) {
    let is_it = |w: &CollectionWrites| w.collection.uuid == collection.uuid;
    let collection = writes.iter().position(is_it).expect("it is of the flush");
    let mut statements = writes[collection].statements.iter();
    let place = statements.position(|known| std::ptr::eq(known, *statement));
    (collection, place.expect("it is of the flush"))
}

fn places(writes: &[CollectionWrites], bulk: &Bulk<'_>) -> Places {
    let statements = bulk.statements.iter();
    let places: Vec<(usize, usize)> = statements
        .map(|statement| place(writes, &(bulk.collection, statement)))
        .collect();
    Places {
        collection: places[0].0,
        statements: places.into_iter().map(|(_, place)| place).collect(),
    }
}
