//! Entries that are not commands, as the tail passes them: many under one lock of the
//! gate. Decides what a change means for the gate, and for a cutover that watches for
//! changes.
//!
//! Knows nothing about commands and transactions, and never waits.

use std::sync::atomic::Ordering::Relaxed;

use bson::RawDocument;
use parking_lot::Mutex;

use crate::cluster::probe;
use crate::error::Result;
use crate::observe::counters::PairMetrics;
use crate::pair::collection::Sharding;
use crate::pair::ddl::entry::RESHARDING;
use crate::pair::gate::{Gate, Verdict};
use crate::pair::op::OpKind;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::transactions::Transactions;
use crate::pair::origin::Origin;
use crate::pair::tail::view::{Change, TailView};
use crate::position::Position;
use crate::scope::Scope;

/// Entries passed under one lock, for which others wait: small ones take some 100 µs.
const ENTRIES_MAX: u64 = 256;

/// State with which the tail passes plain entries.
pub struct Plain<'t> {
    pub gate: &'t Mutex<Gate>,
    pub view: &'t Mutex<TailView>,
    pub metrics: &'t PairMetrics,
    pub unseen: Unseen<'t>,
    pub transactions: &'t mut Transactions,
    /// The newest entry that was passed.
    pub at: &'t mut Position,
}

/// What a pair need not know of.
#[derive(Debug, Clone, Copy)]
pub struct Unseen<'t> {
    /// What is not in it.
    pub scope: &'t Scope,
    /// What was dropped before the catalog was read here.
    pub catalog_position: Position,
    /// The source's clock as the attempt began: what it is like was asked later.
    pub begun: Position,
}

/// What comes after the entries that were passed.
pub enum Next<'e> {
    /// Perhaps more plain entries.
    Plain,
    /// An entry that is not plain, and not passed yet.
    Other(Entry<'e>, &'e RawDocument),
    Nothing,
}

impl Plain<'_> {
    /// Passes entries up to the first that is not plain. Those that were passed before
    /// are skipped: a block may begin with such.
    pub fn pass<'e>(
        &mut self,
        entries: &mut impl Iterator<Item = Result<&'e RawDocument>>,
        origin: &mut Origin,
    ) -> Result<Next<'e>> {
        let mut gate = self.gate.lock();
        // Under the gate's lock (`view`).
        let mut view = self.view.lock();
        let (mut passed, mut ops) = (0, 0);
        let next = loop {
            if passed == ENTRIES_MAX {
                break Ok(Next::Plain);
            }
            let Some(raw) = entries.next() else {
                break Ok(Next::Nothing);
            };
            match self.entry(&mut gate, &mut view, raw, origin) {
                Ok(Met::Op) => (passed, ops) = (passed + 1, ops + 1),
                Ok(Met::NoOp) => passed += 1,
                Ok(Met::Before) => {}
                Ok(Met::Other(entry, raw)) => break Ok(Next::Other(entry, raw)),
                Err(error) => break Err(error),
            }
        };
        self.metrics.entries_read.fetch_add(passed, Relaxed);
        self.metrics.ops_read.fetch_add(ops, Relaxed);
        next
    }

    #[inline]
    fn entry<'e>(
        &mut self,
        gate: &mut Gate,
        view: &mut TailView,
        raw: Result<&'e RawDocument>,
        origin: &mut Origin,
    ) -> Result<Met<'e>> {
        let raw = raw?;
        let entry = Entry::read(raw)?;
        if entry.position <= *self.at {
            // One without a position must not pass for such.
            Entry::mark_of(raw)?;
            return Ok(Met::Before);
        }
        if !entry.is_crud() && entry.op != "n" || entry.is_of_views() {
            return Ok(Met::Other(entry, raw));
        }
        self.transactions.ended(&entry);
        gate.begin(entry.position);
        let counts = entry.is_crud() && counts(&entry);
        if counts {
            view.note(classify(gate, &entry, entry.position, self.unseen, origin)?);
        } else if entry.tells_of_a_move() {
            view.move_sign = Some(entry.position);
        }
        gate.pass(entry.mark());
        *self.at = entry.position;
        view.walls.passed(entry.position, entry.wall_ms);
        Ok(if counts { Met::Op } else { Met::NoOp })
    }
}

/// The kinds of entry.
enum Met<'e> {
    Op,
    NoOp,
    Before,
    Other(Entry<'e>, &'e RawDocument),
}

/// Whether a CRUD entry is for the gate: not what is never migrated.
pub(in crate::pair) fn counts(entry: &Entry<'_>) -> bool {
    !entry.is_internal()
}

/// Hands one CRUD entry that `counts` to the gate.
pub(in crate::pair) fn classify<'a>(
    gate: &mut Gate,
    entry: &Entry<'a>,
    position: Position,
    unseen: Unseen<'_>,
    origin: &mut Origin,
) -> Result<Option<Change<'a>>> {
    let op = match entry.crud(position) {
        // What cannot be followed stops nothing where the copy has it.
        Err(_) if is_past(gate, entry, position) => return Ok(None),
        op => op?,
    };
    if entry.from_migrate {
        match gate.tracked(&op.uuid).map(|tracked| tracked.sharding()) {
            Some(Sharding::Sharded) if entry.is_of_a_move() => return Ok(None),
            Some(Sharding::Unknown) => gate.leave_from(&op.uuid, position),
            _ => {}
        }
    }
    let verdict = gate.classify(op, origin);
    if verdict == Verdict::Unknown {
        return unknown(entry, position, unseen);
    }
    let expires = |uuid| gate.tracked(uuid).is_some_and(|t| t.expires.load(Relaxed));
    let expiry = op.kind == OpKind::Delete && expires(&op.uuid);
    Ok((verdict != Verdict::Foreign).then_some(Change {
        position,
        ns: entry.ns,
        expiry,
    }))
}

fn is_past(gate: &Gate, entry: &Entry<'_>, position: Position) -> bool {
    let tracked = entry.uuid.and_then(|uuid| gate.tracked(&uuid));
    tracked.is_some_and(|tracked| tracked.is_past(position))
}

/// A UUID that was dropped before the catalog was read is of no interest; a
/// later one should have been seen being created.
fn unknown(
    entry: &Entry<'_>,
    position: Position,
    unseen: Unseen<'_>,
) -> Result<Option<Change<'static>>> {
    let (db, coll) = entry.ns.split_once('.').unwrap_or((entry.ns, ""));
    if position <= unseen.catalog_position {
        return Ok(None);
    }
    if entry.changes_fcv() && unseen.begun < position {
        return Err(entry
            .unsupported("a change of the feature compatibility version")
            .remedy(probe::FCV_CHANGED));
    }
    let is_servers = coll == "system.profile" || coll.starts_with(RESHARDING);
    if !unseen.scope.concerns(db, coll) || is_servers {
        return Ok(None);
    }
    Err(entry.unsupported("a write to a collection this shard does not hold"))
}

#[cfg(test)]
mod tests;
