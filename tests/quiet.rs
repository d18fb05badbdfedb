//! A source that nobody writes to, and whose clock is ahead of its oplog.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::spec::BinarySubtype;
use bson::{Binary, Document, Timestamp, doc};
use loadgen::cluster::ReplicaSet;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

/// Far beyond anything that the source writes by itself.
const AHEAD_S: u64 = 60;

/// Sets the clock forward as a server of another shard would: it writes nothing.
async fn set_clock_forward(source: &ReplicaSet) -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let clock = Timestamp {
        time: (now + AHEAD_S) as u32,
        increment: 1,
    };
    let hash = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 20],
    };
    let told = doc! { "clusterTime": clock, "signature": { "hash": hash, "keyId": 0i64 } };
    let mut link = source.primary_link().await.unwrap();
    link.command("admin", doc! { "ping": 1, "$clusterTime": told })
        .await
        .unwrap();
    clock
}

#[tokio::test]
async fn a_quiet_source_whose_clock_is_ahead_keeps_no_unique_index_and_no_cutover_waiting() {
    // Nothing is written by the source itself.
    let quiet = ["--setParameter", "writePeriodicNoops=false"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &quiet),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    let rows = (0..200).map(|i| doc! { "_id": i, "u": i });
    client
        .database("d")
        .collection::<Document>("c")
        .insert_many(rows)
        .await
        .unwrap();
    run(&client, "d", doc! { "createIndexes": "c", "indexes": [{ "key": { "u": 1 }, "name": "u", "unique": true }] })
        .await;

    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);
    let clock = set_clock_forward(&source).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    // For the horizon, or what proves the list of indexes.
    let notes = ["shardlift horizon", "shardlift listing"];
    let note = doc! { "op": "n", "o.msg": { "$in": notes.to_vec() }, "ts": { "$gt": clock } };
    let note = oplog.find_one(note).await.unwrap();
    assert!(
        note.is_some(),
        "nothing else could have taken the tail past the clock"
    );
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Longer than one note is tried for.
const LOCKED: Duration = Duration::from_secs(14);

#[tokio::test]
async fn a_quiet_source_that_is_locked_for_a_backup_is_waited_for() {
    let quiet = ["--setParameter", "writePeriodicNoops=false"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &quiet),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    let rows = (0..200).map(|i| doc! { "_id": i });
    client
        .database("d")
        .collection::<Document>("c")
        .insert_many(rows)
        .await
        .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);
    set_clock_forward(&source).await;
    // What takes the tail past the clock cannot be written.
    run(&client, "admin", doc! { "fsync": 1, "lock": true }).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    tokio::time::sleep(LOCKED).await;
    assert!(engine.is_running(), "it waits for the end of the backup");
    run(&client, "admin", doc! { "fsyncUnlock": 1 }).await;
    engine.until_ready().await;
    assert_eq!(
        engine.status().await.unwrap().recoveries,
        0,
        "no attempt ended"
    );
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
