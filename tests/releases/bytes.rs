//! Whole documents of every kind, as each release stores them: byte for byte, or doubtful.

use std::sync::atomic::Ordering::SeqCst;

use bson::{RawDocumentBuf, doc, rawdoc};
use shardlift::bson::element::{elements, kind};
use shardlift::bson::identity::IdKey;
use shardlift::bson::locate;
use shardlift::pair::collection::Traits;
use shardlift::pair::write::statement::{Base, Statement};
use shardlift::position::Position;

use crate::bson_literal::rows;
use crate::bson_values::{document, embed, int};
use crate::releases::rig::{RELEASES, Rig, bytes_of, delta_for, of};

fn key(document: &RawDocumentBuf) -> IdKey {
    IdKey::new(locate::id_of(document).unwrap())
}

fn full(document: &RawDocumentBuf) -> Statement {
    Statement::full(
        key(document),
        bytes_of(document.clone()),
        Position::from_raw(1),
    )
}

fn replaced(document: &RawDocumentBuf) -> Statement {
    Statement {
        base: Base::Replaced(bytes_of(document.clone())),
        ..full(document)
    }
}

/// Another document with the same `_id`.
fn other(of: &RawDocumentBuf) -> RawDocumentBuf {
    let id = elements(of).find(|e| e.name == b"_id").unwrap();
    document(&[("_id", (id.kind, id.value.to_vec())), ("old", int(7))])
}

/// Names that 4.x take in inserts only, below the top level.
fn nested_dollars() -> RawDocumentBuf {
    let inner = embed(kind::DOCUMENT, &[("$id", int(1)), ("$gt", int(2))]);
    document(&[("_id", int(1)), ("x", inner)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_documents_arrive_byte_for_byte() {
    for release in RELEASES {
        let rig = Rig::start(release).await;
        let mut rows = rows();
        rows.push(("nested dollars", nested_dollars()));
        for (name, document) in rows {
            // Servers take the second `_id` for another one.
            if name == "two _ids" {
                continue;
            }
            let expect = |stored: Vec<RawDocumentBuf>, how: &str| {
                assert_eq!(
                    stored,
                    std::slice::from_ref(&document),
                    "{release}: {name}: {how}"
                );
            };
            rig.empty().await;
            rig.write(std::slice::from_ref(&document)).await;
            expect(rig.stored().await, "copied");
            for (how, statement) in [("full", full(&document)), ("replaced", replaced(&document))] {
                rig.empty().await;
                rig.write(&[other(&document)]).await;
                rig.flush(vec![statement]).await;
                // Nothing but a read again, in one transaction, can write it.
                if rig.tracked.doubts.ids().is_empty() {
                    expect(rig.stored().await, how);
                } else {
                    assert!(locate::needs_literal(&document), "{release}: {name}: {how}");
                    let ids = rig.tracked.doubts.ids();
                    rig.tracked.doubts.forget(&ids);
                }
            }
            rig.empty().await;
            rig.flush(vec![replaced(&document)]).await;
            assert_eq!(rig.stored().await.len(), 0, "{release}: {name}: made again");
            let ids = rig.tracked.doubts.ids();
            rig.tracked.doubts.forget(&ids);
        }
    }
}

/// Deltas on a whole document of the same flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_come_after_the_document_they_change() {
    for release in RELEASES {
        let rig = Rig::start(release).await;
        let zero = bson::Timestamp {
            time: 0,
            increment: 0,
        };
        let bases = [
            rawdoc! {"_id": 1, "a": 1},
            rawdoc! {"_id": 2, "a": 1, "t": zero},
            rawdoc! {"_id": 3, "a": 1},
        ];
        rig.write(&[rawdoc! {"_id": 1, "old": 1}, rawdoc! {"_id": 2, "old": 1}])
            .await;
        let deltas = || {
            [
                rawdoc! {"d": {"e": 1}},
                rawdoc! {"d": {"e": 2}, "a": {"f": 1}},
            ]
            .map(|fields| bytes_of(delta_for(release, fields)))
        };
        let mut statements: Vec<Statement> = bases.iter().map(full).collect();
        statements[2].base = Base::Replaced(bytes_of(bases[2].clone()));
        for statement in &mut statements {
            statement.deltas.extend(deltas());
        }
        rig.flush(statements).await;
        assert!(rig.tracked.doubts.is_empty(), "{release}");
        let expect = [
            rawdoc! {"_id": 1, "a": {"f": 1}, "d": {"e": 2}},
            rawdoc! {"_id": 2, "a": {"f": 1}, "t": zero, "d": {"e": 2}},
        ];
        let mut stored = rig.stored().await;
        stored.sort_by_key(|document| document.get_i32("_id").unwrap());
        assert_eq!(stored, expect, "{release}: no update makes a document");
    }
}

/// Deletes that the target makes by itself are refused before 6.0 (20), and are no loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_takes_its_ops_in_their_order() {
    for release in [of(4, 2), of(4, 4), of(5, 0)] {
        let create = doc! {"create": "c", "capped": true, "size": 4_096, "max": 3};
        let traits = Traits {
            capped: true,
            ..Traits::default()
        };
        let rig = Rig::with(release, create, traits).await;
        let document = |id: i32, n: i32| rawdoc! {"_id": id, "n": n, "s": {"m": n}};
        rig.write(&[document(1, 0), document(2, 0)]).await;
        let gone = |id: i32| Statement {
            base: Base::Gone,
            ..full(&document(id, 0))
        };
        let set = |id: i32| {
            let mut set = Statement::unknown(key(&document(id, 0)), Position::from_raw(1));
            let delta = delta_for(release, rawdoc! {"s": {"m": 9}});
            set.deltas.push(bytes_of(delta));
            set
        };
        rig.flush(vec![
            full(&document(3, 0)),
            set(3),
            set(2),
            gone(1),
            full(&document(4, 0)),
            set(1),
            gone(2),
            full(&nested_dollars_of(5)),
        ])
        .await;
        assert!(rig.tracked.doubts.is_empty(), "{release}");
        let expect = [
            rawdoc! {"_id": 3, "n": 0, "s": {"m": 9}},
            document(4, 0),
            nested_dollars_of(5),
        ];
        assert_eq!(rig.stored().await, expect, "{release}");
        // For a scan that begins again.
        rig.empty().await;
        assert_eq!(rig.stored().await.len(), 0, "{release}");
        rig.write(&[1, 2, 3, 4].map(|id| document(id, 0))).await;
        let newest = [2, 3, 4].map(|id| document(id, 0));
        assert_eq!(rig.stored().await, newest, "{release}: capped as before");
        let statements = || {
            let ordinary = [3, 4].map(|id| full(&document(id, 0)));
            let dollars = full(&nested_dollars_of(5));
            ordinary.into_iter().chain([dollars]).collect()
        };
        let expect = [document(3, 0), document(4, 0), nested_dollars_of(5)];
        for begun in ["for the first time", "again"] {
            rig.tracked.capped.inserts_make.store(false, SeqCst);
            rig.flush(statements()).await;
            assert_eq!(rig.stored().await, expect, "{release}: {begun}");
        }
    }
}

fn nested_dollars_of(id: i32) -> RawDocumentBuf {
    rawdoc! {"_id": id, "x": {"$gt": 1}}
}
