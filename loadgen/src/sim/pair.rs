//! One pair of an attempt: the engine's gate, inboxes and ledger, driven step by
//! step as the engine's tasks drive them.
//!
//! Knows nothing about other pairs: what concerns several is `coordinator`'s.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bson::Uuid;
use futures_util::FutureExt;
use shardlift::bson::identity::IdKey;
use shardlift::bson::value::Value;
use shardlift::cluster::catalog::Namespace;
use shardlift::pair::budget::Share;
use shardlift::pair::gate::{Gate, Place, Verdict};
use shardlift::pair::op::{OpKind, OpRef};
use shardlift::pair::origin::Origin;
use shardlift::pair::restore::{Now, restore};
use shardlift::position::Position;
use shardlift::scope::Scope;
use shardlift::state::{PairState, UnitState};

use crate::layout::dice::Dice;
use crate::sim::body::{self, Key};
use crate::sim::chore::{Chore, Work};
use crate::sim::command::Command;
use crate::sim::flush::Doubted;
use crate::sim::lane::Lane;
use crate::sim::round::Rounds;
use crate::sim::scan::{Scan, Unit};
use crate::sim::source::{Change, Event, Source};
use crate::sim::target::Target;

/// Why a step did not come to its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// A fault the engine answers with a new attempt.
    Attempt(String),
    /// What must never happen.
    Wrong(String),
}

pub(super) type Step<T = ()> = Result<T, Halt>;

pub(super) fn wrong<T>(what: impl Into<String>) -> Step<T> {
    Err(Halt::Wrong(what.into()))
}

/// What a pair's step may touch.
pub(super) struct Reach<'a> {
    pub(super) source: &'a Source,
    pub(super) target: &'a mut Target,
    pub(super) dice: &'a mut Dice,
    /// The pair's term.
    pub(super) term: i64,
}

/// A majority write under way: its number among the target's writes, and the
/// term it was made in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) number: u64,
    pub(super) term: i64,
}

pub(super) struct Pair {
    pub(super) index: usize,
    pub(super) incarnation: i64,
    /// The term all writes must be acknowledged in.
    pub(super) term: i64,
    pub(super) gate: Gate,
    pub(super) lanes: Vec<Lane>,
    pub(super) scans: Vec<Scan>,
    pub(super) queue: VecDeque<Unit>,
    pub(super) rounds: Rounds,
    pub(super) chores: Vec<Chore>,
    /// In this attempt.
    pub(super) slow_tail: bool,
    /// Kept and not acknowledged, as the model counts them.
    pub(super) unapplied: BTreeMap<(Position, Uuid), u32>,
    /// Documents that are doubtful, as the model counts them, by the positions of the ops
    /// that made them so.
    pub(super) doubted: BTreeMap<(Uuid, Key), Position>,
    /// Units that were opened in this attempt: their keys, and the newest position of what
    /// they held or copied.
    pub(super) opened: BTreeMap<(Uuid, usize), (Range<Key>, Position)>,
    /// Commands nobody waits for any more, in this attempt.
    pub(super) orphans: Vec<Command>,
    /// Of the tail.
    share: Share,
    /// Of what is read again from the spool.
    replayed: Share,
    pub(super) catalog_position: Position,
    /// The source's newest entry as the attempt began.
    newest_at_start: Position,
    trace: bool,
    /// Index of the next entry.
    next: usize,
    /// Parts of the transaction at `next` that were classified.
    inside: Option<usize>,
}

/// Numbers of one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) lanes: usize,
    pub(super) scans: usize,
    pub(super) flush_ops: usize,
    /// The last lane is far slower than the others.
    pub(super) lame: bool,
    /// Checkpoints are rare, and in some attempts the tail is far slower than the scans.
    pub(super) uneven: bool,
    /// Attempts often end soon after their start.
    pub(super) restless: bool,
    /// The source changes documents that are not the shard's, too: such a change finds none.
    pub(super) strays: bool,
    /// Where memory is short, held bytes beyond these are left to the spool. None:
    /// it never is.
    pub(super) held_max: Option<u64>,
    /// Of so many outcomes of a statement the target takes all but one; 0: all.
    pub(super) refuses: u64,
    pub(super) trace: bool,
}

impl Pair {
    pub(super) fn start(
        state: &PairState,
        index: usize,
        (incarnation, term): (i64, i64),
        newest: Position,
        shape: Shape,
        source: &Source,
    ) -> Step<Self> {
        let lanes: Vec<Lane> = (0..shape.lanes)
            .map(|_| Lane::new(shape.flush_ops))
            .collect();
        let mut gate = Gate::new(
            state.resume,
            lanes.iter().map(|lane| lane.inbox.clone()).collect(),
        );
        let Some(at) = source.find(state.resume) else {
            return wrong(format!("{:?} is no entry to resume at", state.resume));
        };
        let (mut begun, mut waiting) = (Vec::new(), Vec::new());
        for collection in &state.collections {
            let now = Now {
                shard: index,
                shard_name: "simulated",
                scope: &Scope::default(),
                clock: newest,
                gone: !collection.dead && !source.has(&collection.uuid),
            };
            let tracked =
                restore(&mut gate, collection, now).expect("the model's collections are readable");
            if !tracked.counts() {
                continue;
            }
            for (unit, state) in Unit::all(&tracked, &collection.bounds)
                .into_iter()
                .zip(&collection.units)
            {
                match state {
                    UnitState::Settled => {}
                    UnitState::Waiting => waiting.push(unit),
                    UnitState::Copying(_) => begun.push(unit),
                }
            }
        }
        Ok(Pair {
            index,
            incarnation,
            term,
            gate,
            lanes,
            scans: (0..shape.scans).map(|_| Scan::Idle).collect(),
            queue: begun.into_iter().chain(waiting).collect(),
            rounds: Rounds::default(),
            chores: Vec::new(),
            slow_tail: false,
            unapplied: BTreeMap::new(),
            doubted: BTreeMap::new(),
            opened: BTreeMap::new(),
            orphans: Vec::new(),
            share: Share::new(0),
            replayed: Share::new(0),
            catalog_position: state.catalog_position,
            newest_at_start: newest,
            trace: shape.trace,
            next: at + 1,
            inside: None,
        })
    }

    /// The tail takes one entry, or one part of a prepared transaction.
    pub(super) fn tail(&mut self, source: &Source) -> Step {
        let Some(entry) = source.log.get(self.next) else {
            return Ok(());
        };
        let position = entry.mark.position;
        if self.inside.is_none() {
            self.gate.begin(position);
        }
        match &entry.event {
            Event::Ops(ops) => self.classify(ops, position)?,
            Event::Commit(parts) => {
                let done = self.inside.unwrap_or(0);
                if let Some(part) = parts.get(done) {
                    self.classify(source.part(*part), position)?;
                    self.inside = Some(done + 1);
                    return Ok(());
                }
                self.inside = None;
            }
            Event::Create(uuid, name) => self.create(*uuid, name, source, position),
            Event::Drop(uuid) => self.drop_collection(*uuid, position),
            Event::Rename(renamed) => self.rename(renamed, position)?,
            Event::Modify(uuid) => self.modify(uuid, position),
            Event::Noop | Event::Part(_) => {}
        }
        self.gate.pass(entry.mark);
        self.next += 1;
        Ok(())
    }

    /// No entry beyond was ever met.
    pub(super) fn reached(&self) -> Position {
        self.gate.begun().max(self.newest_at_start)
    }

    pub(super) fn at_head(&self, source: &Source) -> bool {
        self.next == source.log.len()
    }

    fn classify(&mut self, ops: &[Change], position: Position) -> Step {
        let mut origin = origin(&self.share);
        for op in ops {
            let verdict = with_op(op, position, |op| self.gate.classify(op, &mut origin));
            self.note(|| format!("{position}: {op:?} is {verdict:?}"));
            match verdict {
                Verdict::Held | Verdict::Queued => {
                    *self.unapplied.entry((position, op.uuid)).or_default() += 1
                }
                Verdict::Unknown if self.catalog_position < position => {
                    return wrong(format!(
                        "the op at {position} is on a collection never seen"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ops of an entry that may have been left to the spool, read from it again.
    pub(super) fn replay(&mut self, place: &Place, ops: &[&Change], position: Position) {
        let mut origin = origin(&self.replayed);
        for op in ops {
            with_op(op, position, |op| self.gate.replay(place, op, &mut origin));
        }
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("        pair {}: {}", self.index, what());
        }
    }

    /// Writes of these documents were refused, or only the source knows them.
    pub(super) fn doubt(&mut self, doubted: Vec<Doubted>) {
        for (uuid, key, position) in doubted {
            self.note(|| format!("document {key} of {uuid} is doubtful since {position}"));
            let first = self.doubted.entry((uuid, key)).or_insert(position);
            *first = position.min(*first);
        }
    }

    /// These were read again.
    pub(super) fn resolved(&mut self, uuid: Uuid, ids: &[IdKey]) {
        for id in ids {
            self.doubted.remove(&(uuid, body::key_of(id)));
        }
    }

    /// The ops of one take of a lane are acknowledged.
    pub(super) fn applied(&mut self, ops: &[(Position, Uuid)]) {
        for op in ops {
            let count = self
                .unapplied
                .get_mut(op)
                .expect("it was counted when it was kept");
            *count -= 1;
            if *count == 0 {
                self.unapplied.remove(op);
            }
        }
    }

    /// Majority writes under way.
    pub(super) fn waits(&self) -> Vec<Wait> {
        let scans = self.scans.iter().filter_map(Scan::wait);
        let chores = self.chores.iter().filter_map(Chore::wait);
        scans.chain(chores).chain(self.rounds.wait()).collect()
    }

    /// A command on this collection is under way, but for one of its chores, which come one
    /// after the other.
    pub(super) fn is_writing_to(&self, uuid: &Uuid) -> bool {
        let lanes = self.lanes.iter().flat_map(Lane::sent);
        let mut sent = lanes.chain(self.scans.iter().flat_map(Scan::sent));
        sent.any(|sent| sent.collection.uuid == *uuid)
    }

    /// A command is under way, or a majority write.
    pub(super) fn is_writing(&self) -> bool {
        let rereads = |chore: &Chore| matches!(&chore.work, Work::Exact(e) if e.is_writing());
        self.lanes.iter().any(Lane::is_writing)
            || self.chores.iter().any(rereads)
            || !self.waits().is_empty()
    }
}

/// The op as the engine reads it from an entry.
fn with_op<T>(op: &Change, position: Position, work: impl FnOnce(OpRef<'_>) -> T) -> T {
    let body = match op.kind {
        OpKind::Delete | OpKind::Unclear => None,
        OpKind::Delta => Some(body::diff(&op.delta)),
        _ => op.doc.or(op.stray).map(|doc| body::document(op.key, &doc)),
    };
    let id = Value::from(body::id(op.key, op.spelling).as_raw_bson_ref());
    let body = body.as_ref().map_or(&[][..], |body| body.as_bytes());
    work(OpRef {
        position,
        uuid: op.uuid,
        kind: op.kind,
        id: id.as_ref(),
        body,
    })
}

pub(super) fn namespace(name: &str) -> Namespace {
    Namespace {
        db: "sim".to_owned(),
        coll: name.to_owned(),
    }
}

fn origin(share: &Share) -> Origin {
    let mut permit = share
        .reserve_reply()
        .now_or_never()
        .expect("the model keeps few bytes");
    permit.shrink_to(1 << 20);
    Origin::copied(permit)
}
