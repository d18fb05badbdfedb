//! Sources of the releases before 6.0: what their oplogs say, and how they are read.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use loadgen::server::version::Release;
use mongodb::Client;
use mongodb::options::ReadConcern;
use shardlift::pair::collection::Traits;
use shardlift::pair::gate::Verdict;

use crate::doubtful::{DB, MANY, Replay, Sides, rows};
use crate::engine::Engine;
use crate::fixture::run;
use crate::migrate::expect_equal;

pub(crate) const fn release(major: u32, minor: u32) -> Release {
    Release {
        major,
        minor,
        patch: None,
    }
}

async fn set_of(name: &str, release: Release) -> ReplicaSet {
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        release,
        cache_gb: 0.25,
        oplog_mb: Some(128),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

async fn insert(client: &Client, coll: &str, ids: std::ops::Range<i32>) {
    let documents = ids.map(|i| doc! {"_id": i, "n": i, "x": 0, "note": "x".repeat(200)});
    client
        .database(DB)
        .collection::<Document>(coll)
        .insert_many(documents)
        .await
        .unwrap();
}

/// Documents that are there, whole ones that come, and changed ones; collections and indexes
/// made while they are followed, also in a transaction (4.4+); transactions in one entry and
/// in several; a capped collection whose oldest go.
async fn is_followed(source: Release, target: Release) {
    let (a, b) = tokio::join!(set_of("a", source), set_of("b", target));
    let client = a.client().await.unwrap();
    insert(&client, "rows", 0..3_000).await;
    let capped = doc! {"create": "capped", "capped": true, "size": 20_000};
    run(&client, DB, capped).await;
    insert(&client, "capped", 0..200).await;
    // What is recorded of it has names that begin with a dollar.
    let checked = doc! {"create": "checked", "validator": {"n": {"$type": "int"}}};
    run(&client, DB, checked).await;
    insert(&client, "checked", 0..10).await;
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;

    insert(&client, "rows", 3_000..3_500).await;
    run(&client, DB, doc! {"create": "later"}).await;
    let index = doc! {"createIndexes": "later", "indexes": [{"key": {"n": 1}, "name": "n"}]};
    run(&client, DB, index).await;
    insert(&client, "later", 0..200).await;
    insert(&client, "capped", 200..300).await;
    let index = doc! {"createIndexes": "rows", "indexes": [{"key": {"n": 1}, "name": "n"}]};
    run(&client, DB, index).await;
    let rows = client.database(DB).collection::<Document>("rows");
    for id in 0..20 {
        let whole = doc! {"n": -id, "replaced": true};
        rows.replace_one(doc! {"_id": id}, whole).await.unwrap();
        rows.delete_one(doc! {"_id": 100 + id}).await.unwrap();
        for change in [
            doc! {"$set": {"in.a": 1, "b": [1]}, "$unset": {"x": 1}},
            doc! {"$push": {"b": 2}, "$rename": {"note": "noted"}},
            doc! {"$inc": {"n": 1, "x": 1}, "$pop": {"b": -1}},
        ] {
            rows.update_one(doc! {"_id": 300 + id}, change)
                .await
                .unwrap();
        }
    }
    for large in [0, 6 << 20] {
        let mut session = client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        for id in 0..3 {
            let document = doc! {"_id": format!("{large} {id}"), "pad": "y".repeat(large)};
            rows.insert_one(document)
                .session(&mut session)
                .await
                .unwrap();
        }
        rows.delete_one(doc! {"_id": 200})
            .session(&mut session)
            .await
            .unwrap();
        session.commit_transaction().await.unwrap();
    }
    if (4, 4) <= (source.major, source.minor) {
        makes_collections(&client).await;
    }
    engine.cut_over().await;
    expect_equal(&a.uri(), &b.uri()).await;
}

/// In a transaction.
async fn makes_collections(client: &Client) {
    let db = client.database(DB);
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let made = db.create_collection("made").session(&mut session);
    made.await.unwrap();
    let index = doc! {"createIndexes": "made", "indexes": [{"key": {"n": 1}, "name": "n"}]};
    db.run_command(index).session(&mut session).await.unwrap();
    let rows = db.collection::<Document>("made");
    let first = rows.insert_one(doc! {"_id": 1, "n": 1});
    first.session(&mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
}

/// The engine ends once what a transaction made is recorded, before what else the
/// transaction did to it: its index, its document.
async fn made_in_a_transaction_before_a_crash(release: Release) {
    let (a, b) = tokio::join!(set_of("a", release), set_of("b", release));
    let client = a.client().await.unwrap();
    insert(&client, "rows", 0..100).await;
    let (source, target) = (a.uri(), b.uri());
    let mut engine = Engine::start_to_crash(&source, &target, &[], "creation-recorded").await;
    engine.until_ready().await;
    makes_collections(&client).await;
    engine.crashed().await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    let there = b.client().await.unwrap();
    let made = there.database(DB).collection::<Document>("made");
    let document = made.find_one(doc! {"_id": 1}).await.unwrap();
    assert_eq!(document, Some(doc! {"_id": 1, "n": 1}), "{release}");
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_transaction_of_6_0_made_arrives_after_a_crash() {
    made_in_a_transaction_before_a_crash(release(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_transaction_of_4_4_made_arrives_after_a_crash() {
    made_in_a_transaction_before_a_crash(release(4, 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_6_0_is_followed() {
    is_followed(release(6, 0), release(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_5_0_is_followed() {
    is_followed(release(5, 0), release(5, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_4_4_is_followed() {
    is_followed(release(4, 4), release(4, 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_4_2_is_followed() {
    is_followed(release(4, 2), release(4, 2)).await;
}

fn update(id: i32, change: Document) -> Document {
    doc! { "update": "rows", "updates": [{ "q": { "_id": id }, "u": change }] }
}

/// `{_id, a, x}`: x is taken out and set again, then y is set; and the same further in.
/// Replayed over its result a delta of the old form leaves `{_id, a, y, x}`.
async fn move_fields(source: &Client, id: i32) {
    for change in [
        doc! { "$unset": { "x": 1, "in.x": 1 } },
        doc! { "$set": { "x": 2, "in.x": 2 } },
        doc! { "$set": { "y": 2, "in.y": 2 } },
    ] {
        run(source, DB, update(id, change)).await;
    }
}

async fn sides_with_rows(source: Release, target: Release) -> Sides {
    let sides = Sides::of(source, target).await;
    sides.on_both(doc! { "create": "rows" }).await;
    let rows = (1..=9).map(|id| doc! { "_id": id, "a": 1, "x": 1, "in": { "a": 1, "x": 1 } });
    let rows: Vec<Document> = rows.collect();
    let insert = doc! { "insert": "rows", "documents": rows };
    sides.on_both(insert).await;
    sides
}

/// The log of an earlier attempt, replayed over what it made. Deltas of the old form that
/// take a field out make their documents doubtful; those of the new form are exact.
async fn fields_keep_their_order_in_a_replay(source: Release, target: Release) {
    let is_old_form = source.major < 5;
    let sides = sides_with_rows(source, target).await;
    let start = sides.newest().await.position;
    for id in 1..=3 {
        move_fields(&sides.source, id).await;
    }
    // Only sets, and is replayed as it is; so is a document that is written whole after it.
    for change in [
        doc! { "$set": { "z": 1 } },
        doc! { "$set": { "in.z": 1 } },
        doc! { "$push": { "list": 1 } },
        doc! { "$push": { "list": 2 } },
        doc! { "$pop": { "list": 1 } },
        doc! { "$set": { "in": { "q": 1 } } },
        doc! { "$set": { "in.a": 1 } },
    ] {
        run(&sides.source, DB, update(4, change)).await;
    }
    copy_again(&sides).await;
    let replay = sides.replay(&rows(), Traits::default(), MANY).await;
    let doubtful = if is_old_form { 3 } else { 0 };
    assert_eq!(replay.to_the_end(start).await, doubtful);
    replay.expect_equal().await;
    // Beyond all that the target shows, deltas are what they were.
    replay_on(&sides, &replay).await;
}

/// The target gets the source's documents as they are now.
async fn copy_again(sides: &Sides) {
    let documents = crate::doubtful::all(&sides.source, &rows()).await;
    run(
        &sides.target,
        DB,
        doc! { "delete": "rows", "deletes": [{ "q": {}, "limit": 0 }] },
    )
    .await;
    let target = sides.target.database(DB);
    target
        .collection::<bson::RawDocumentBuf>("rows")
        .insert_many(documents)
        .await
        .unwrap();
}

async fn replay_on(sides: &Sides, replay: &Replay<'_>) {
    let before = replay.doubtful.metrics.documents_resolved.load(Relaxed);
    let after = sides.newest().await.position;
    for id in 7..=9 {
        move_fields(&sides.source, id).await;
    }
    // Other documents of it may be newer.
    let newest = sides.newest().await.position;
    replay.tracked.raise_horizon(newest);
    replay.more_since(after, Verdict::Queued).await;
    replay.flushed().await;
    assert!(replay.tracked.doubts.is_empty());
    assert_eq!(
        replay.doubtful.metrics.documents_resolved.load(Relaxed),
        before
    );
    replay.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_4_2_keeps_the_order_of_fields() {
    fields_keep_their_order_in_a_replay(release(4, 2), release(4, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_4_4_keeps_the_order_of_fields() {
    fields_keep_their_order_in_a_replay(release(4, 4), release(4, 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_4_2_keeps_the_order_of_fields_on_later_releases() {
    fields_keep_their_order_in_a_replay(release(4, 2), release(5, 0)).await;
    fields_keep_their_order_in_a_replay(release(4, 2), release(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_4_4_keeps_the_order_of_fields_on_6_0() {
    fields_keep_their_order_in_a_replay(release(4, 4), release(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_5_0_keeps_the_order_of_fields_on_6_0() {
    fields_keep_their_order_in_a_replay(release(5, 0), release(6, 0)).await;
}

/// Many documents, more than history is kept for the time they take, are read in one
/// transaction of the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_4_2_are_read_again_as_of_one_moment() {
    let sides = Sides::of(release(4, 2), release(6, 0)).await;
    sides.on_both(doc! { "create": "rows" }).await;
    insert(&sides.source, "rows", 0..5_000).await;
    let replay = sides.replay(&rows(), Traits::default(), MANY).await;
    let position = sides.newest().await.position;
    for id in 0..5_000 {
        let id = shardlift::bson::identity::IdKey::of(bson::RawBsonRef::Int32(id));
        replay.tracked.doubts.add(&id, position);
    }
    replay.to_the_end(position).await;
    replay.expect_equal().await;
    let open = doc! { "serverStatus": 1 };
    let status = run(&sides.source, "admin", open).await;
    let transactions = status.get_document("transactions").unwrap();
    assert_eq!(transactions.get_i64("currentOpen").unwrap(), 0);
}

/// Documents whose fields move all the time, while they are copied and after a crash.
async fn moving_fields_arrive(source: Release, target: Release) {
    let (a, b) = tokio::join!(set_of("a", source), set_of("b", target));
    let client = a.client().await.unwrap();
    insert(&client, "rows", 0..20_000).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let mover = tokio::spawn({
        let client = client.clone();
        async move {
            let mut id = 0;
            while stopped.try_recv().is_err() {
                id = (id + 7_919) % 20_000;
                move_fields(&client, id).await;
                run(&client, DB, update(id, doc! { "$unset": { "y": 1 } })).await;
            }
        }
    });
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    engine.kill();
    let mut engine = Engine::start(&a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    stop.send(()).unwrap();
    mover.await.unwrap();
    let done = engine.cut_over().await;
    assert_ne!(done.summary["documents_resolved"], 0, "{}", done.summary);
    expect_equal(&a.uri(), &b.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_move_while_4_2_is_copied_and_after_a_crash_arrive_in_their_order() {
    moving_fields_arrive(release(4, 2), release(4, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_move_while_4_2_is_copied_to_6_0_and_after_a_crash_arrive_in_their_order() {
    moving_fields_arrive(release(4, 2), release(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_move_while_4_4_is_copied_and_after_a_crash_arrive_in_their_order() {
    moving_fields_arrive(release(4, 4), release(4, 4)).await;
}

/// Majority reads are what the oplog is read with, on every release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_told_by_its_election_on_every_release() {
    for release in [release(4, 2), release(4, 4), release(5, 0)] {
        let mut set = set_of("a", release).await;
        let client = set.client().await.unwrap();
        let first = shardlift::cluster::direct::primary(&client).await.unwrap();
        let same = shardlift::cluster::direct::primary(&client).await.unwrap();
        assert_eq!(first, same);
        // A server that is killed right after its initiation may not have stored its configuration.
        let journaled = doc! { "w": "majority", "j": true };
        let insert =
            doc! { "insert": "rows", "documents": [{ "_id": 1 }], "writeConcern": journaled };
        run(&client, DB, insert).await;
        set.member_mut(0).kill();
        set.member_mut(0).restart().await.unwrap();
        set.primary_link().await.unwrap();
        let read = async {
            let rows = client.database(DB).collection::<Document>("rows");
            rows.find_one(doc! {})
                .read_concern(ReadConcern::majority())
                .await
        };
        read.await.unwrap();
        let again = shardlift::cluster::direct::primary(&client).await.unwrap();
        assert!(first.0 == again.0 && first.1 != again.1, "{release}");
    }
}
