//! Writes the target refuses: logs replayed over a target that is ahead of them
//! already, indexes and all, as after a crash. What arrives is compared byte by
//! byte.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use bson::raw::{RawArrayBuf, cstr};
use bson::{Document, RawBson, RawDocument, RawDocumentBuf, Timestamp, Uuid, doc, rawdoc};
use futures_util::StreamExt;
use loadgen::cluster::ReplicaSet;
use loadgen::entry::Entry as LoadEntry;
use loadgen::populate::types;
use mongodb::Client;
use parking_lot::Mutex;
use shardlift::bson::identity::IdKey;
use shardlift::bson::locate;
use shardlift::cluster::catalog::{self, Namespace};
use shardlift::cluster::deployment::{Deployment, Shard};
use shardlift::error::{Error, Kind};
use shardlift::observe::counters::PairMetrics;
use shardlift::pair::budget::Share;
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::pair::gate::replay::Replayer;
use shardlift::pair::gate::{Gate, Verdict};
use shardlift::pair::lanes::inbox::Inbox;
use shardlift::pair::lanes::lane;
use shardlift::pair::mend::doubtful::{DOCUMENTS_MAX, Doubtful};
use shardlift::pair::mend::reread::Source;
use shardlift::pair::oplog::cursor::Oplog;
use shardlift::pair::oplog::entry::Entry;
use shardlift::pair::oplog::feed::Feed;
use shardlift::pair::oplog::proven::Lister;
use shardlift::pair::origin::Origin;
use shardlift::pair::write::bulk::Writer;
use shardlift::pair::write::statement::FlushLimits;
use shardlift::pair::write::target::Target;
use shardlift::position::{Mark, Position};
use shardlift::spool::log::{Limits, OplogLog};
use shardlift::spool::quota::Quota;
use shardlift::state::Incarnation;
use tokio::task::JoinSet;

use crate::bson_values::{document, int, timestamp};
use crate::fixture::{self, run};

mod reread;
mod rig;

pub(crate) use rig::{Replay, Sides};

pub(crate) const DB: &str = "d";
const LANES: usize = 3;
/// Every op by itself: nothing is coalesced away.
const ONE_BY_ONE: FlushLimits = FlushLimits {
    statements_max: 1,
    bytes_max: 1,
};
pub(crate) const MANY: FlushLimits = FlushLimits {
    statements_max: 10_000,
    bytes_max: 16 << 20,
};

/// Every document, by `_id` without a collation.
pub(crate) async fn all(client: &Client, ns: &Namespace) -> Vec<RawDocumentBuf> {
    let collection = client
        .database(&ns.db)
        .collection::<RawDocumentBuf>(&ns.coll);
    let cursor = collection
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await
        .unwrap();
    cursor.map(|document| document.unwrap()).collect().await
}

pub(crate) fn rows() -> Namespace {
    Namespace {
        db: DB.to_owned(),
        coll: "rows".to_owned(),
    }
}

fn update(id: i32, change: Document) -> Document {
    doc! { "update": "rows", "updates": [{ "q": { "_id": id }, "u": change }] }
}

fn index(key: Document, unique: bool) -> Document {
    doc! { "createIndexes": "rows", "indexes": [{ "key": key, "name": "i", "unique": unique }] }
}

async fn write(client: &Client, command: Document) {
    let reply = run(client, DB, command).await;
    assert!(!reply.contains_key("writeErrors"), "{reply}");
}

async fn copy_all(sides: &Sides, ns: &Namespace) {
    let documents = all(&sides.source, ns).await;
    let rows = sides
        .target
        .database(&ns.db)
        .collection::<RawDocumentBuf>(&ns.coll);
    rows.insert_many(documents).await.unwrap();
}

/// The target holds the final state; the log is replayed over it from its start,
/// twice. `refused`: documents of which an op must be refused.
async fn replays_over_the_final_state(
    key: Document,
    first: Document,
    log: Vec<Document>,
    refused: u64,
) {
    let sides = Sides::start().await;
    sides.on_both(doc! { "create": "rows" }).await;
    sides.on_both(index(key, false)).await;
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [first] },
    )
    .await;
    let start = sides.newest().await.position;
    for command in log {
        write(&sides.source, command).await;
    }
    copy_all(&sides, &rows()).await;
    for _ in 0..2 {
        let replay = sides.replay(&rows(), Traits::default(), ONE_BY_ONE).await;
        assert_eq!(replay.to_the_end(start).await, refused);
        replay.expect_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_arrays_that_never_were_do_not_change_the_result() {
    let log = vec![
        update(1, doc! { "$set": { "n": 1 } }),
        update(1, doc! { "$set": { "a": [1, 2], "n": 2 } }),
        update(1, doc! { "$set": { "a": 3 } }),
        update(1, doc! { "$set": { "b": [1, 2] } }),
    ];
    let first = doc! { "_id": 1, "n": 0, "a": 0, "b": 0 };
    replays_over_the_final_state(doc! { "a": 1, "b": 1 }, first, log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shapes_that_never_were_do_not_change_the_result() {
    let line = doc! { "type": "LineString", "coordinates": [[0, 0], [1, 1]] };
    let log = vec![
        update(1, doc! { "$set": { "n": 1 } }),
        update(1, doc! { "$set": { "g.coordinates.0": 5, "n": 2 } }),
        update(1, doc! { "$set": { "g": line } }),
    ];
    let first = doc! { "_id": 1, "n": 0, "g": { "type": "Point", "coordinates": [1, 1] }, "pad": "x".repeat(500) };
    replays_over_the_final_state(doc! { "g": "2dsphere" }, first, log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_that_never_were_do_not_change_the_result() {
    let large = "x".repeat(9 << 20);
    let log = vec![
        update(1, doc! { "$set": { "n": 1 } }),
        update(1, doc! { "$set": { "a": &large, "n": 2 } }),
        update(1, doc! { "$unset": { "a": 1 } }),
        update(1, doc! { "$set": { "b": &large } }),
    ];
    replays_over_the_final_state(doc! { "n": 1 }, doc! { "_id": 1, "n": 0 }, log, 1).await;
}

/// Each document takes over the value of the next; each is in another lane, and
/// every lane has only the last state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_go_round_over_three_lanes() {
    let sides = Sides::start().await;
    sides.on_both(doc! { "create": "rows" }).await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    let ids: Vec<i32> = (1..=9).collect();
    let documents: Vec<Document> = ids
        .iter()
        .map(|id| doc! { "_id": id, "u": id, "n": 0 })
        .collect();
    sides
        .on_both(doc! { "insert": "rows", "documents": documents })
        .await;
    let start = sides.newest().await.position;
    write(&sides.source, update(1, doc! { "$set": { "u": 100 } })).await;
    for id in ids.iter().rev().filter(|id| **id > 1) {
        write(
            &sides.source,
            update(*id, doc! { "$set": { "u": id % 9 + 1, "n": 1 } }),
        )
        .await;
        write(&sides.source, update(*id, doc! { "$set": { "n": 2 } })).await;
    }
    write(&sides.source, update(1, doc! { "$set": { "u": 2 } })).await;
    for _ in 0..2 {
        let replay = sides.replay(&rows(), Traits::default(), MANY).await;
        replay.to_the_end(start).await;
        replay.expect_equal().await;
    }
}

/// Written in the order of `_id`, each takes its value before the one that frees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_go_round_in_one_flush_make_nothing_doubtful() {
    let sides = Sides::start().await;
    sides.on_both(doc! { "create": "rows" }).await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    let ids: Vec<i32> = (1..=90).collect();
    let documents: Vec<Document> = ids.iter().map(|id| doc! { "_id": id, "u": id }).collect();
    sides
        .on_both(doc! { "insert": "rows", "documents": documents })
        .await;
    let start = sides.newest().await.position;
    write(
        &sides.source,
        doc! { "delete": "rows", "deletes": [{ "q": { "_id": 90 }, "limit": 1 }] },
    )
    .await;
    for id in ids.iter().rev().skip(1) {
        write(&sides.source, update(*id, doc! { "$set": { "u": id + 1 } })).await;
    }
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [{ "_id": 0, "u": 1 }] },
    )
    .await;
    let replay = sides.replay_in(1, &rows(), Traits::default(), MANY).await;
    assert_eq!(replay.to_the_end(start).await, 0);
    replay.expect_equal().await;
}

/// Inserts that take a value before the delete that frees it: by an op that is
/// refused, and by a copied document that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_document_that_is_refused_holds_the_watermark_below_its_fence() {
    let sides = Sides::start().await;
    sides.on_both(doc! { "create": "rows" }).await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    write(
        &sides.target,
        doc! { "insert": "rows", "documents": [{ "_id": 1, "u": 1 }, { "_id": 3, "u": 3 }] },
    )
    .await;
    write(&sides.source, doc! { "insert": "rows", "documents": [{ "_id": 2, "u": 1 }, { "_id": 3, "u": 3, "n": 1 }] })
        .await;
    let replay = sides.replay(&rows(), Traits::default(), MANY).await;
    let fence = sides.newest().await.position;
    let documents = all(&sides.source, &rows()).await;
    let documents: Vec<&[u8]> = documents.iter().map(|d| d.as_bytes()).collect();
    replay
        .doubtful
        .writer
        .copy(&replay.tracked, &documents, fence)
        .await
        .unwrap();
    assert_eq!(
        (replay.tracked.doubts.len(), replay.tracked.doubts.oldest()),
        (1, fence)
    );
    // What stood in its way is gone from the source, as a later op would tell;
    // document 3 was there already.
    replay
        .tracked
        .doubts
        .add(&IdKey::of(bson::RawBsonRef::Int32(1)), fence);
    replay
        .tracked
        .doubts
        .add(&IdKey::of(bson::RawBsonRef::Double(3.0)), fence);
    replay.to_the_end(fence).await;
    replay.expect_equal().await;
}

/// Under a collation the refused one stops its ordered batch, not what follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_does_not_stop_what_follows_in_order() {
    let sides = Sides::start().await;
    sides
        .on_both(doc! { "create": "rows", "collation": { "locale": "en", "strength": 2 } })
        .await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    let start = sides.newest().await.position;
    write(
        &sides.target,
        doc! { "insert": "rows", "documents": [{ "_id": "other", "u": 1 }] },
    )
    .await;
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [{ "_id": "a", "u": 1 }, { "_id": "b", "u": 2 }] },
    )
    .await;
    write(
        &sides.source,
        doc! { "delete": "rows", "deletes": [{ "q": { "_id": "a" }, "limit": 1 }] },
    )
    .await;
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [{ "_id": "A", "u": 1, "n": 1 }, { "_id": "c", "u": 3 }] },
    )
    .await;
    let traits = Traits {
        collated: true,
        ..Traits::default()
    };
    let replay = sides.replay(&rows(), traits, MANY).await;
    replay.log_since(start).await;
    replay.flushed().await;
    assert_eq!(replay.tracked.doubts.len(), 2);
    assert_eq!(all(&sides.target, &rows()).await.len(), 3);
    replay
        .tracked
        .doubts
        .add(&IdKey::of(bson::RawBsonRef::String("other")), start);
    replay.resolve().await.unwrap();
    replay.expect_equal().await;
}

/// An index that the source dropped since must not stop it for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_the_source_lost_is_dropped_ahead_of_the_log() {
    let sides = Sides::start().await;
    sides.on_both(doc! { "create": "rows" }).await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    let start = sides.newest().await.position;
    run(
        &sides.source,
        DB,
        doc! { "dropIndexes": "rows", "index": "i" },
    )
    .await;
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [{ "_id": 1, "u": 1 }, { "_id": 2, "u": 1 }] },
    )
    .await;
    let replay = sides.replay(&rows(), Traits::default(), MANY).await;
    assert_eq!(replay.to_the_end(start).await, 1);
    replay.expect_equal().await;
}
