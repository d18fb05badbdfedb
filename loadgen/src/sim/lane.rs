//! A lane of the simulation: the steps of `shardlift::pair::lane`, between which
//! anything can happen.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::Uuid;
use shardlift::pair::collection::Tracked;
use shardlift::pair::compile::compile;
use shardlift::pair::flush::{Next, Plan, next_in_order};
use shardlift::pair::inbox::{Inbox, Oldest};
use shardlift::pair::position::Position;
use shardlift::pair::queue::Queue;
use shardlift::pair::render::render;
use shardlift::pair::statement::{CollectionWrites, FlushLimits};
use shardlift::state::same_term;

use crate::sim::body;
use crate::sim::pair::{Halt, Reach, Step, wrong};
use crate::sim::target::Command;

pub(super) struct Lane {
    pub(super) inbox: Arc<Inbox>,
    limits: FlushLimits,
    taken: Option<Queue>,
    oldest: Oldest,
    /// Of all that was taken.
    ops: Vec<(Position, Uuid)>,
    /// How many of them are acknowledged.
    applied: usize,
    flush: Option<Vec<CollectionWrites>>,
    /// Commands of the flush that were not answered.
    pub(super) sent: Vec<Sent>,
}

/// A command under way.
pub(super) struct Sent {
    pub(super) command: Command,
    pub(super) collection: Arc<Tracked>,
    /// The term its last statement ran in.
    term: i64,
}

impl Lane {
    pub(super) fn new(flush_ops: usize) -> Self {
        let limits = FlushLimits {
            ops_max: flush_ops,
            bytes_max: 1 << 20,
        };
        Lane {
            inbox: Arc::default(),
            limits,
            taken: None,
            oldest: Oldest::of(&Queue::default()),
            ops: Vec::new(),
            applied: 0,
            flush: None,
            sent: Vec::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.taken.is_none() && self.inbox.is_empty()
    }

    /// Returns the ops of a flush when all of them are acknowledged.
    pub(super) fn step(&mut self, reach: &mut Reach<'_>) -> Step<Vec<(Position, Uuid)>> {
        if !self.sent.is_empty() {
            let which = reach.dice.below(self.sent.len() as u64) as usize;
            // Commands on a collection in order go one after the other.
            let which = if self.sent[which].collection.in_order() {
                0
            } else {
                which
            };
            if self.sent[which].step(reach)? {
                self.sent[which].reply(reach)?;
                let sent = self.sent.remove(which);
                if 0 < sent.command.missed && !reach.source.strays && !sent.collection.is_dead() {
                    return wrong(format!(
                        "a write to {} found no document where one must be",
                        sent.collection.ns
                    ));
                }
            }
        } else if let Some(flush) = self.flush.take() {
            for writes in &flush {
                writes.collection.in_lanes.fetch_sub(writes.ops, SeqCst);
            }
            let (ops, before) = (flush.iter().map(|writes| writes.ops).sum(), self.applied);
            self.applied += ops as usize;
            self.inbox
                .applied(ops, self.oldest.after(self.applied as u64));
            return Ok(self.ops[before..self.applied].to_vec());
        } else if let Some(taken) = &mut self.taken {
            if !taken.is_empty() {
                let flush = compile(taken, self.limits);
                self.sent = commands(&flush, self.limits);
                self.flush = Some(flush);
            } else {
                self.taken = None;
            }
        } else if let Some(taken) = self.inbox.try_take() {
            (self.oldest, self.applied) = (Oldest::of(&taken), 0);
            self.ops = taken
                .iter()
                .map(|queued| (queued.op.position, queued.op.uuid))
                .collect();
            self.taken = Some(taken);
        }
        Ok(Vec::new())
    }
}

impl Sent {
    pub(super) fn new(command: Command, collection: Arc<Tracked>) -> Self {
        Sent {
            command,
            collection,
            term: 0,
        }
    }

    /// Runs some of its statements. True once all are run, and one step later.
    pub(super) fn step(&mut self, reach: &mut Reach<'_>) -> Step<bool> {
        if self.command.writes.is_empty() {
            return Ok(true);
        }
        let all = self.command.writes.len() as u64;
        let count = if reach.dice.below(4) == 0 {
            1 + reach.dice.below(all)
        } else {
            all
        };
        for _ in 0..count {
            if !reach.target.run(&mut self.command, reach.dice) {
                self.command.writes.clear();
                if !self.collection.is_dead() {
                    return wrong(format!(
                        "a write to {}, which the target no longer has",
                        self.collection.ns
                    ));
                }
                break;
            }
        }
        self.term = reach.target.term;
        Ok(false)
    }

    fn reply(&self, reach: &Reach<'_>) -> Step {
        let ours = reach.term;
        same_term(ours, self.term).map_err(|e| Halt::Attempt(e.message))
    }

    /// As a scan's write is acknowledged.
    pub(super) fn acknowledged(&self, reach: &Reach<'_>) -> Step {
        self.reply(reach)
    }
}

/// The commands of a flush as `flush::Plan` has them, all under way at once. An insert
/// goes as what it becomes where a document is; nothing goes in one transaction.
fn commands(flush: &[CollectionWrites], limits: FlushLimits) -> Vec<Sent> {
    let plan = Plan::of(flush, limits);
    for (collection, statement) in &plan.unclear {
        collection.doubts.add(&statement.id, statement.position);
    }
    assert!(plan.delicate.is_empty(), "no field name is there twice");
    let changes = plan.changes.iter().flat_map(|group| &group.bulks);
    let mut sent = Vec::new();
    for bulk in plan.inserts.iter().chain(changes) {
        let horizon = bulk.collection.horizon();
        let must_find = bulk.statements.iter().filter(|s| s.must_find(horizon));
        let must_find = must_find.map(|s| body::key_of(&s.id)).collect();
        let mut command = Command::read(&render(bulk.collection, &bulk.statements, false));
        command.must_find = must_find;
        let writes = flush
            .iter()
            .find(|w| w.collection.uuid == bulk.collection.uuid);
        let writes = writes.expect("a bulk is of a collection of the flush");
        sent.push(Sent::new(command, writes.collection.clone()));
    }
    for writes in &plan.in_order {
        sent.extend(runs(writes, limits));
    }
    sent
}

/// Run after run of a collection in order.
fn runs(writes: &CollectionWrites, limits: FlushLimits) -> Vec<Sent> {
    let collection = &writes.collection;
    let mut left = &writes.statements[..];
    let mut sent = Vec::new();
    while let Some(next) = next_in_order(collection, left, limits) {
        let done = match next {
            Next::Doubtful => 1,
            Next::Unclear(statement) => {
                collection.doubts.add(&statement.id, statement.position);
                1
            }
            Next::Delicate(_) => unreachable!("no field name is there twice"),
            Next::Run(run) => {
                let command = Command::read(&render(collection, &run.statements, true));
                sent.push(Sent::new(command, collection.clone()));
                run.statements.len()
            }
        };
        left = &left[done..];
    }
    sent
}
