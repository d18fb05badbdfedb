//! Which ops become one statement, and where a flush ends.

use super::*;
use crate::bson::locate::Look;
use crate::cluster::catalog::Namespace;
use crate::pair::budget::Share;
use crate::pair::collection::Traits;
use crate::position::Position;
use bson::{RawBson, RawBsonRef};

const LIMITS: FlushLimits = FlushLimits {
    statements_max: 100,
    bytes_max: 1 << 20,
};

fn tracked(uuid: u8, capped: bool) -> Arc<Tracked> {
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let traits = Traits {
        capped,
        ..Traits::default()
    };
    Arc::new(Tracked::new(Uuid::from_bytes([uuid; 16]), ns, traits))
}

fn queued(collection: &Arc<Tracked>, id: RawBsonRef<'_>, position: u64) -> Queued {
    let (uuid, position) = (collection.uuid, Position::from_raw(position));
    let op = Op::delete(position, uuid, IdKey::of(id));
    Queued {
        op,
        collection: collection.clone(),
    }
}

/// `_id` and oldest position of each statement.
fn shown(writes: &CollectionWrites) -> Vec<(RawBson, u64)> {
    let shown = |s: &Statement| (s.id.value().readable().unwrap(), s.position.raw());
    writes.statements.iter().map(shown).collect()
}

#[tokio::test]
async fn ops_of_doubtful_documents_are_dropped_and_count_as_applied() {
    let collection = tracked(1, false);
    collection
        .doubts
        .add(&IdKey::of(RawBsonRef::Int32(2)), Position::from_raw(3));
    // Of the tail, and of held ops that were read again from the spool.
    let (share, replayed) = (Share::new(0), Share::new(0));
    let mut dropped = queued(&collection, RawBsonRef::Double(2.0), 5);
    dropped.op.permit = Some(share.reserve(100).await);
    let mut kept = [7, 8].map(|position| queued(&collection, RawBsonRef::Int32(1), position));
    kept[0].op.permit = Some(replayed.reserve(50).await);
    let mut queue: Queue = std::iter::once(dropped).chain(kept).collect();
    let writes = compile(&mut queue, LIMITS);
    assert_eq!(writes[0].ops, 3);
    assert_eq!(shown(&writes[0]), [(RawBson::Int32(1), 7)]);
    assert_eq!((share.used(), replayed.used()), (100, 50));
    drop(writes);
    assert_eq!((share.used(), replayed.used()), (0, 0));
}

#[test]
fn a_document_is_in_a_flush_once_unless_its_collection_is_in_order() {
    let [one, other] = [tracked(1, false), tracked(2, false)];
    let capped = tracked(3, true);
    let (int, double) = (RawBsonRef::Int32(1), RawBsonRef::Double(1.0));
    let mut queue: Queue = [
        queued(&one, int, 1),
        queued(&other, int, 2),
        queued(&capped, int, 3),
        queued(&one, RawBsonRef::Int32(0), 4),
        queued(&one, double, 5),
        queued(&other, int, 6),
        queued(&capped, int, 7),
    ]
    .into_iter()
    .collect();
    let writes = compile(&mut queue, LIMITS);
    assert!(queue.is_empty());
    let ops: Vec<u64> = writes.iter().map(|writes| writes.ops).collect();
    assert_eq!(ops, [3, 2, 2]);
    let (newest, int) = (RawBson::Double(1.0), RawBson::Int32(1));
    assert_eq!(shown(&writes[0]), [(RawBson::Int32(0), 4), (newest, 1)]);
    assert_eq!(shown(&writes[1]), [(int.clone(), 2)]);
    assert_eq!(shown(&writes[2]), [(int.clone(), 3), (int, 7)]);
}

#[test]
fn a_flush_ends_at_its_limits_and_before_a_chain_that_is_full() {
    let collection = tracked(1, false);
    let delta = |id: i32, bytes: usize| {
        let mut queued = queued(&collection, RawBsonRef::Int32(id), 1);
        queued.op.kind = OpKind::Delta;
        queued.op.body = vec![0; bytes].into();
        queued.op.look = Look::default();
        queued
    };
    let after_one = |limits, deltas: Vec<Queued>| {
        let mut queue: Queue = deltas.into_iter().collect();
        compile(&mut queue, limits);
        queue.len()
    };
    let few = FlushLimits {
        statements_max: 2,
        ..LIMITS
    };
    let small = FlushLimits {
        bytes_max: 1,
        ..LIMITS
    };
    assert_eq!(
        after_one(
            few,
            vec![delta(1, 1), delta(1, 1), delta(2, 1), delta(3, 1)]
        ),
        1
    );
    assert_eq!(after_one(small, vec![delta(1, 1), delta(2, 1)]), 1);
    // Of one document: 200 deltas are one chain, and so is what fits one command.
    assert_eq!(
        after_one(LIMITS, (0..201).map(|_| delta(1, 1)).collect()),
        1
    );
    let large = FlushLimits {
        bytes_max: 1 << 30,
        ..LIMITS
    };
    let mib = 1 << 20;
    assert_eq!(after_one(large, (0..8).map(|_| delta(1, mib)).collect()), 1);
}
