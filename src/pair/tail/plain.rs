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
    let op = entry.crud(position)?;
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
mod tests {
    use std::sync::Arc;

    use bson::{RawDocumentBuf, Timestamp, Uuid, rawdoc};

    use super::*;
    use crate::bson::shard_key::ShardKeyPattern;
    use crate::cluster::catalog::Namespace;
    use crate::cluster::ownership::Ownership;
    use crate::pair::budget::Share;
    use crate::pair::collection::{Tracked, Traits};
    use crate::pair::gate::held::Stretch;
    use crate::pair::gate::opening::Opening;
    use crate::position::Mark;
    use crate::state;

    /// How many entries are passed, by a tail that has passed 5.
    async fn passed(entries: &[RawDocumentBuf]) -> Result<u64> {
        let start = Mark {
            position: Timestamp {
                time: 5,
                increment: 0,
            }
            .into(),
            term: 1,
        };
        let (gate, view, metrics) = (
            Gate::new(start, Vec::new()).into(),
            Mutex::default(),
            PairMetrics::default(),
        );
        let mut plain = Plain {
            gate: &gate,
            view: &view,
            metrics: &metrics,
            unseen: Unseen {
                scope: &Scope::default(),
                catalog_position: Position::default(),
                begun: Position::default(),
            },
            transactions: &mut Transactions::default(),
            at: &mut start.position.clone(),
        };
        let mut origin = Origin::copied(Share::new(0).reserve_reply().await);
        plain.pass(&mut entries.iter().map(|raw| Ok(&**raw)), &mut origin)?;
        Ok(metrics.entries_read.load(Relaxed))
    }

    #[tokio::test]
    async fn what_was_passed_is_skipped_and_what_has_no_position_is_an_error() {
        let no_op = |time| rawdoc! { "ts": Timestamp { time, increment: 0 }, "t": 1i64, "op": "n", "ns": "", "o": {} };
        assert_eq!(
            passed(&[no_op(4), no_op(5), no_op(6), no_op(7)])
                .await
                .unwrap(),
            2
        );
        let error = passed(&[no_op(6), rawdoc! { "op": "n", "ns": "", "o": {} }])
            .await
            .unwrap_err();
        assert!(error.message.contains("without a position"), "{error}");
    }

    /// What happens to a marked entry of a collection in the state that `track` leaves it
    /// in.
    async fn marked(op: &str, k: i32, track: impl FnOnce(&mut Gate, &Arc<Tracked>)) -> (bool, u64) {
        let at = |raw| Position::from_raw(raw);
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let tracked = Arc::new(Tracked::new(
            Uuid::from_bytes([7; 16]),
            ns,
            Traits::default(),
        ));
        let mut gate = Gate::new(
            Mark {
                position: at(1),
                term: 1,
            },
            vec![Arc::default()],
        );
        track(&mut gate, &tracked);
        let o2 = rawdoc! { "_id": 1 };
        let o = if op == "d" {
            o2.clone()
        } else {
            rawdoc! { "_id": 1, "k": k }
        };
        let ui = bson::Binary::from(tracked.uuid);
        let raw =
            rawdoc! { "op": op, "ns": "d.c", "ui": ui, "fromMigrate": true, "o": o, "o2": o2 };
        gate.begin(at(5));
        let mut origin = Origin::copied(Share::new(0).reserve_reply().await);
        let change = classify(
            &mut gate,
            &Entry::read(&raw).unwrap(),
            at(5),
            Unseen {
                scope: &Scope::default(),
                catalog_position: at(1),
                begun: at(1),
            },
            &mut origin,
        )
        .unwrap();
        let counted = change.is_some();
        gate.pass(Mark {
            position: at(5),
            term: 1,
        });
        (counted, gate.watermark().raw())
    }

    /// Owns `k` from 0 on.
    fn half(gate: &mut Gate, tracked: &Arc<Tracked>) {
        let (min, max) = (rawdoc! { "k": 0 }, rawdoc! { "k": bson::RawBson::MaxKey });
        let pattern = ShardKeyPattern::new(rawdoc! { "k": 1 }).unwrap();
        tracked.own(Ownership {
            pattern,
            intervals: vec![(min, max)],
        });
        tracked.bind(Uuid::new());
        gate.admit(tracked.clone(), &[], &[state::UnitState::Settled]);
    }

    fn unsharded(gate: &mut Gate, tracked: &Arc<Tracked>) {
        tracked.bind(Uuid::new());
        gate.admit(tracked.clone(), &[], &[state::UnitState::Settled]);
    }

    #[tokio::test]
    async fn a_marked_entry_counts_unless_a_chunk_of_its_collection_may_move() {
        for op in ["i", "u", "d"] {
            assert_eq!(
                marked(op, 1, unsharded).await,
                (true, 4),
                "{op}: queued, and not applied yet"
            );
            let owned = if op == "i" { (true, 4) } else { (false, 5) };
            assert_eq!(
                marked(op, 1, half).await,
                owned,
                "{op} of what this shard owns"
            );
            assert_eq!(
                marked(op, -1, half).await,
                (false, 5),
                "{op} of what it does not own"
            );
        }
    }

    #[tokio::test]
    async fn what_is_marked_in_a_collection_just_created_is_read_again_when_that_is_known() {
        for op in ["i", "u", "d"] {
            let new = |gate: &mut Gate, tracked: &Arc<Tracked>| gate.admit_new(tracked.clone());
            assert_eq!(marked(op, 1, new).await, (true, 4), "{op}: held");
        }
        let mut gate = Gate::new(
            Mark {
                position: Position::from_raw(1),
                term: 1,
            },
            Vec::new(),
        );
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let tracked = Arc::new(Tracked::new(
            Uuid::from_bytes([7; 16]),
            ns,
            Traits::default(),
        ));
        gate.admit_new(tracked.clone());
        gate.leave_from(&tracked.uuid, Position::from_raw(5));
        gate.begin(Position::from_raw(5));
        gate.pass(Mark {
            position: Position::from_raw(5),
            term: 1,
        });
        let stretch = Stretch {
            after: Position::from_raw(4),
            to: Position::from_raw(5),
        };
        assert_eq!(gate.release(&tracked.uuid), Opening::Spooled(stretch));
    }
}
