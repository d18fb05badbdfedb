//! A lane of the simulation: the steps of `shardlift::pair::lanes::lane`, between which
//! anything can happen.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::Uuid;
use shardlift::pair::lanes::compile::compile;
use shardlift::pair::lanes::inbox::{Inbox, Oldest};
use shardlift::pair::lanes::queue::Queue;
use shardlift::pair::write::statement::FlushLimits;
use shardlift::position::Position;

use crate::sim::command::Command;
use crate::sim::flush::{Doubted, Flush};
use crate::sim::pair::{Reach, Step};
use crate::sim::sent::Sent;

pub(super) struct Lane {
    pub(super) inbox: Arc<Inbox>,
    limits: FlushLimits,
    taken: Option<Queue>,
    oldest: Oldest,
    /// Of all that was taken.
    ops: Vec<(Position, Uuid)>,
    /// How many of them are acknowledged.
    applied: usize,
    flush: Option<Flush>,
}

/// What came of one step.
#[derive(Default)]
pub(super) struct Stepped {
    /// The ops of a flush, when all of them are acknowledged.
    pub(super) applied: Vec<(Position, Uuid)>,
    /// Documents that became doubtful.
    pub(super) doubted: Vec<Doubted>,
}

impl Lane {
    pub(super) fn new(flush_ops: usize) -> Self {
        let limits = FlushLimits {
            statements_max: flush_ops,
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
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.taken.is_none() && self.inbox.is_empty()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.flush.as_ref().is_some_and(Flush::is_sent)
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.flush.iter().flat_map(Flush::sent)
    }

    /// What may still run once nobody waits for it.
    pub(super) fn into_commands(self) -> impl Iterator<Item = Command> {
        self.flush.into_iter().flat_map(Flush::into_commands)
    }

    pub(super) fn step(&mut self, reach: &mut Reach<'_>) -> Step<Stepped> {
        let mut stepped = Stepped::default();
        if let Some(flush) = &mut self.flush {
            let is_done = flush.step(reach)?;
            stepped.doubted = std::mem::take(&mut flush.doubted);
            if is_done {
                stepped.applied = self.acknowledge();
            }
        } else if let Some(taken) = &mut self.taken {
            if taken.is_empty() {
                self.taken = None;
            } else {
                let writes = compile(taken, self.limits);
                self.flush = Some(Flush::new(writes, self.limits, reach));
            }
        } else if let Some(taken) = self.inbox.try_take() {
            (self.oldest, self.applied) = (Oldest::of(&taken), 0);
            self.ops = taken
                .iter()
                .map(|queued| (queued.op.position, queued.op.uuid))
                .collect();
            self.taken = Some(taken);
        }
        Ok(stepped)
    }

    /// The flush is answered.
    fn acknowledge(&mut self) -> Vec<(Position, Uuid)> {
        let writes = self.flush.take().map_or(Vec::new(), |flush| flush.writes);
        for writes in &writes {
            writes.collection.in_lanes.fetch_sub(writes.ops, SeqCst);
        }
        let (ops, before) = (writes.iter().map(|w| w.ops).sum(), self.applied);
        self.applied += ops as usize;
        self.inbox
            .applied(ops, self.oldest.after(self.applied as u64));
        self.ops[before..self.applied].to_vec()
    }
}
