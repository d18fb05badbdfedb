//! Releases before 6.0 as a target: what a writer's statements become there, byte for byte,
//! and what a refused one leaves behind.

mod bytes;
mod expiry;
mod paths;
pub(crate) mod rig;
mod shard_keys;

use bson::{RawDocumentBuf, doc, rawdoc};

use crate::releases::rig::{RELEASES, Rig, delta_for, unknown};

/// Of one command: ops before a refused one are applied, those after it too, and a missing
/// document refuses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_ops_make_exactly_their_documents_doubtful() {
    for release in RELEASES {
        let rig = Rig::start(release).await;
        rig.index(doc! {"a": 1, "b": 1}, false).await;
        rig.index(doc! {"k": 1}, true).await;
        rig.index(doc! {"g": "2dsphere"}, false).await;
        let base = |id: i32, more: RawDocumentBuf| {
            let mut base = rawdoc! {"_id": id};
            for field in more.iter() {
                let (name, value) = field.unwrap();
                base.append(name, bson::RawBson::from(value));
            }
            base
        };
        let big = "x".repeat(9 << 20);
        let mut bases: Vec<_> = (0..40).map(|id| base(id, rawdoc! {"k": id})).collect();
        bases[3] = base(3, rawdoc! {"k": 3, "a": [1, 2]});
        bases[9] = base(9, rawdoc! {"k": 9, "big": big.as_str()});
        bases.remove(15);
        rig.write(&bases).await;
        let mut statements = Vec::new();
        for id in 0..40 {
            // None of them is a `$set` of plain values.
            let set = match id {
                3 => rawdoc! {"b": [1], "s": {"n": 1}},
                6 => rawdoc! {"k": 7, "s": {"n": 1}},
                9 => rawdoc! {"big2": big.as_str(), "s": {"n": 1}},
                12 => rawdoc! {"g": {"type": "Point", "coordinates": [1]}, "s": {"n": 1}},
                _ => rawdoc! {"s": {"n": 1}},
            };
            statements.push(unknown(id, vec![delta_for(release, set)]));
        }
        rig.flush(statements).await;
        let mut doubtful = rig.doubtful();
        doubtful.sort_unstable();
        assert_eq!(doubtful, [3, 6, 9, 12], "{release}");
        assert_eq!(rig.count(doc! {"s": {"n": 1}}).await, 35, "{release}");
        assert_eq!(
            rig.count(doc! {"_id": 15}).await,
            0,
            "{release}: no update makes one"
        );
    }
}

/// The first of several deltas are applied when the last is refused: once more they would
/// move fields, so the document is read again instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_takes_fields_out_is_not_sent_twice() {
    for release in RELEASES {
        let rig = Rig::start(release).await;
        rig.index(doc! {"u": 1}, true).await;
        rig.write(&[
            rawdoc! {"_id": 1, "a": 1, "x": 1, "u": 1},
            rawdoc! {"_id": 2, "u": 5},
        ])
        .await;
        let chain = vec![
            rawdoc! {"$v": 1, "$unset": {"x": true}},
            rawdoc! {"$v": 1, "$set": {"x": 1, "y": 1}},
            rawdoc! {"$v": 1, "$set": {"u": 5}},
        ];
        let frees = vec![rawdoc! {"$v": 1, "$unset": {"u": true}}];
        rig.flush(vec![unknown(1, chain), unknown(2, frees)]).await;
        assert_eq!(rig.doubtful(), [1], "{release}");
        assert_eq!(rig.count(doc! {"u": 5}).await, 0, "{release}");
    }
}

/// What the plain delta of the oplog does to a document that was there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_of_the_old_form_do_on_every_release_what_they_did_where_they_were_logged() {
    for release in RELEASES {
        let rig = Rig::start(release).await;
        let base = rawdoc! {"_id": 1, "x": {"y": 1}, "l": [1, 2, 3], "z": 5, "s": "s"};
        let rows = [
            (
                rawdoc! {"$v": 1, "$set": {"x.y": 2, "x.w": 3, "l.1": 9}},
                rawdoc! {"_id": 1, "x": {"y": 2, "w": 3}, "l": [1, 9, 3], "z": 5, "s": "s"},
            ),
            (
                rawdoc! {"$v": 1, "$unset": {"z": true}, "$set": {"a": {"$b": 1}}},
                rawdoc! {"_id": 1, "x": {"y": 1}, "l": [1, 2, 3], "s": "s", "a": {"$b": 1}},
            ),
            // A path through what is no document: nothing is done.
            (rawdoc! {"$v": 1, "$set": {"s.t": 2}}, base.clone()),
            // New names go in their own order, numbers among them as 4.x orders text.
            (
                rawdoc! {"$v": 1, "$set": {"10": 1, "9": 2, "x.10": 1, "x.9": 2}},
                rawdoc! {
                    "_id": 1, "x": {"y": 1, "10": 1, "9": 2}, "l": [1, 2, 3], "z": 5, "s": "s",
                    "10": 1, "9": 2,
                },
            ),
        ];
        for (delta, expect) in rows {
            rig.empty().await;
            rig.write(std::slice::from_ref(&base)).await;
            rig.flush(vec![unknown(1, vec![delta.clone()])]).await;
            assert_eq!(rig.doubtful(), [0i32; 0], "{release}: {delta:?}");
            assert_eq!(rig.stored().await, [expect], "{release}: {delta:?}");
        }
    }
}
