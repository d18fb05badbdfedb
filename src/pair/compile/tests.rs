//! What becomes of ops on one document, and where a flush ends.

use super::*;
use crate::cluster::catalog::Namespace;
use crate::pair::budget::Share;
use crate::pair::collection::Traits;
use crate::pair::op::Op;
use OpKind::*;
use bson::Uuid;

/// Folds ops given as (kind, body) on one document; shows base and deltas.
fn folded(ops: &[(OpKind, &str)]) -> String {
    let id = || IdKey::of(bson::RawBsonRef::Int32(1));
    let mut s = Statement::unknown(id(), Position::default());
    ops.iter().for_each(|(kind, body)| {
        s.fold(*kind, id(), Bytes::copy_from_slice(body.as_bytes()), false)
    });
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let base = match &s.base {
        Base::Unknown => "?".to_owned(),
        Base::Replaced(doc) => format!("replaced {}", text(doc)),
        Base::Full(doc) => format!("full {}", text(doc)),
        Base::Gone => "gone".to_owned(),
        Base::Unclear => "unclear".to_owned(),
    };
    s.deltas
        .iter()
        .fold(base, |shown, delta| format!("{shown} +{}", text(delta)))
}

#[test]
fn one_state_stands_for_any_sequence_of_ops() {
    for (ops, expect) in [
        (&[(Delta, "a"), (Delta, "b")][..], "? +a +b"),
        (&[(Delta, "a"), (Insert, "D"), (Delta, "b")], "full D +b"),
        (&[(Insert, "D"), (Replace, "E")], "full E"),
        (
            &[(Delta, "a"), (Replace, "E"), (Delta, "b")],
            "replaced E +b",
        ),
        (&[(Insert, "D"), (Delete, "")], "gone"),
        // An update never brings a document back (R3).
        (&[(Delete, ""), (Replace, "E"), (Delta, "a")], "gone"),
        (&[(Delete, ""), (Insert, "D")], "full D"),
        // Only what says all of the document makes it clear again.
        (
            &[(Insert, "D"), (Unclear, ""), (Delta, "a"), (Replace, "E")],
            "unclear",
        ),
        (&[(Delete, ""), (Unclear, "")], "unclear"),
        (&[(Unclear, ""), (Insert, "D"), (Delta, "a")], "full D +a"),
        (&[(Unclear, ""), (Delete, "")], "gone"),
    ] {
        assert_eq!(folded(ops), expect, "{ops:?}");
    }
}

#[test]
fn deltas_that_set_fields_are_one_write() {
    let id = || IdKey::of(bson::RawBsonRef::Int32(1));
    let set = |fields: bson::RawDocumentBuf| bson::rawdoc! { "$v": 2, "diff": { "u": fields } };
    let unset = bson::rawdoc! { "$v": 2, "diff": { "d": { "a": false } } };
    let mut s = Statement::unknown(id(), Position::default());
    let fold = |s: &mut Statement, kind, body: &bson::RawDocumentBuf| {
        s.fold(kind, id(), Bytes::copy_from_slice(body.as_bytes()), false)
    };
    fold(&mut s, Delta, &set(bson::rawdoc! { "a": 1 }));
    fold(&mut s, Delta, &set(bson::rawdoc! { "b": 2, "a": 3 }));
    fold(&mut s, Delta, &unset);
    fold(&mut s, Delta, &set(bson::rawdoc! { "c": 4 }));
    let expect = [
        set(bson::rawdoc! { "a": 3, "b": 2 }),
        unset,
        set(bson::rawdoc! { "c": 4 }),
    ];
    assert!(
        s.deltas
            .iter()
            .map(|d| &**d)
            .eq(expect.iter().map(|d| d.as_bytes())),
        "{:?}",
        s.deltas
    );
    fold(&mut s, Insert, &bson::rawdoc! { "_id": 1, "a": 1 });
    fold(&mut s, Delta, &set(bson::rawdoc! { "a": 2, "b": 3 }));
    assert_eq!(
        s.base,
        Base::Full(
            bson::rawdoc! { "_id": 1, "a": 2, "b": 3 }
                .into_bytes()
                .into()
        )
    );
    assert!(s.deltas.is_empty());
}

const LIMITS: FlushLimits = FlushLimits {
    ops_max: 100,
    bytes_max: 1 << 20,
};

fn queued(collection: &Arc<Tracked>, id: bson::RawBsonRef<'_>, position: u64) -> Queued {
    let (uuid, position) = (collection.uuid, Position::from_raw(position));
    let op = Op::delete(position, uuid, IdKey::of(id));
    Queued {
        op,
        collection: collection.clone(),
    }
}

#[tokio::test]
async fn ops_of_doubtful_documents_are_dropped_and_count_as_applied() {
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let collection = Arc::new(Tracked::new(
        Uuid::from_bytes([1; 16]),
        ns,
        Traits::default(),
    ));
    collection.doubts.add(
        &IdKey::of(bson::RawBsonRef::Int32(2)),
        Position::from_raw(3),
    );
    // Of the tail, and of held ops that were read again from the spool.
    let (share, replayed) = (Share::new(0), Share::new(0));
    let mut dropped = queued(&collection, bson::RawBsonRef::Double(2.0), 5);
    dropped.op.permit = Some(share.reserve(100).await);
    let mut kept = [7, 8].map(|position| queued(&collection, bson::RawBsonRef::Int32(1), position));
    kept[0].op.permit = Some(replayed.reserve(50).await);
    let mut queue: Queue = std::iter::once(dropped).chain(kept).collect();
    let writes = compile(&mut queue, LIMITS);
    let statements: Vec<_> = writes[0]
        .statements
        .iter()
        .map(|s| (s.id.value().readable(), s.position.raw()))
        .collect();
    assert_eq!(
        (writes[0].ops, statements),
        (3, vec![(Some(bson::RawBson::Int32(1)), 7)])
    );
    assert_eq!((share.used(), replayed.used()), (100, 50));
    drop(writes);
    assert_eq!((share.used(), replayed.used()), (0, 0));
}
