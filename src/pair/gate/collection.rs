//! One collection as the gate knows it: its units, which of them holds an `_id`, where ops
//! wait, and the lane of a document.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bson::{RawDocument, Uuid};

use super::unit::{Unit, UnitState, Way};
use crate::bson::{order, value::ValueRef};
use crate::pair::collection::Tracked;
use crate::pair::gate::held::Held;
use crate::pair::lanes::inbox::Inbox;
use crate::pair::lanes::queue::Queued;
use crate::pair::op::{Op, OpKind, OpRef};
use crate::pair::oplog::delta;

#[derive(Debug)]
pub(super) struct Collection {
    pub(super) tracked: Arc<Tracked>,
    pub(super) units: Vec<Unit>,
    /// While Some, ops of copied units wait here (unique builds, DDL).
    pub(super) hold: Option<Held>,
}

impl Collection {
    /// Of an insert its document tells whether this shard owns it (R8); other ops may name no
    /// more than an `_id`.
    pub(super) fn owns(&self, op: &OpRef<'_>) -> bool {
        if op.kind != OpKind::Insert {
            return true;
        }
        RawDocument::from_bytes(op.body).is_ok_and(|document| self.tracked.owns(document))
    }

    /// The unit that holds this `_id`.
    pub(super) fn unit_of(&self, id: ValueRef<'_>) -> usize {
        let id = id.view();
        let starts_at_or_before = |unit: &Unit| match &unit.lower {
            None => true,
            Some(lower) => {
                order::compare_views(&lower.as_raw_bson_ref().into(), &id) != Ordering::Greater
            }
        };
        self.units.partition_point(starts_at_or_before) - 1
    }

    /// Where ops wait: those of a unit, or (None) those of all the collection. None if they
    /// do not.
    pub(super) fn held(&mut self, unit: Option<usize>) -> Option<&mut Held> {
        let Some(unit) = unit else {
            return self.hold.as_mut();
        };
        self.units[unit].held_mut()
    }

    pub(super) fn way(&self) -> Way {
        Way::of(&self.tracked)
    }

    /// Hands an op over to the lane of its document. One that would not do what it did on
    /// the source becomes unclear (R3).
    ///
    /// IMPORTANT: a document that has a name twice is remembered as its op is classified, under
    /// the gate's lock: what a later read gives of it goes to its lane, too (`copy::natural`).
    pub(super) fn queue(&self, op: Op, lanes: &[Arc<Inbox>]) {
        let op = if self.may_move_fields(&op) {
            op.unclear()
        } else {
            op
        };
        // A delta may also set a value in which a name occurs twice.
        if op.look.duplicate_names {
            self.tracked.duplicate_names.remember(op.id.clone());
        }
        let hash = if self.tracked.in_order() {
            0
        } else {
            op.id.hash()
        };
        self.tracked.in_lanes.fetch_add(1, SeqCst);
        lanes[lane_of(&op.uuid, hash, lanes.len())].push(Queued {
            op,
            collection: self.tracked.clone(),
        });
    }

    /// Whether its document may be newer than the op, and the op then change the order of
    /// its fields. The units are asked last: there may be many.
    fn may_move_fields(&self, op: &Op) -> bool {
        op.kind == OpKind::Delta
            && op.position <= self.tracked.horizon()
            && delta::may_move_fields(&op.body)
            && self.units[self.unit_of(op.id.value())].may_show(op.position)
    }

    pub(super) fn is_copied(&self) -> bool {
        self.units
            .iter()
            .all(|unit| matches!(unit.state, UnitState::Copied { .. }))
    }
}

/// The lane of a document: by collection and `_id`, as the `_id` index compares (R4).
fn lane_of(uuid: &Uuid, id_hash: u64, lanes: usize) -> usize {
    let uuid = u128::from_le_bytes(uuid.bytes());
    let mixed = (id_hash ^ uuid as u64 ^ (uuid >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 32) as usize) % lanes
}
