//! Collections that are read in the order of the disk: with `_id`s of every kind that lie
//! there in no order, written to all the while, with crashes and elections amid the scan.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocumentBuf, cstr, doc, rawdoc};
use loadgen::layout::dice::{Dice, mix};
use mongodb::Client;
use shardlift::cluster::catalog::Namespace;
use shardlift::cluster::disk_order;
use shardlift::observe::status::Snapshot;
use shardlift::state::pair_store::PairStore;
use shardlift::state::{CollectionState, ScanOrder, UnitState};
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;
use crate::state;

const DB: &str = "d";
const DOCS: u64 = 30_000;
const NATURAL: [&str; 6] = [
    "--scan-order",
    "natural",
    "--memory-mb",
    "64",
    "--bulk-ops-max",
    "100",
];

/// Four types, in no order.
fn id(n: u64) -> Bson {
    let scattered = mix(n);
    match n % 4 {
        0 => Bson::Int64(scattered as i64),
        1 => Bson::String(format!("{scattered:016x}")),
        2 => Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: [scattered, mix(scattered)].map(u64::to_be_bytes).concat(),
        }),
        _ => doc! { "k": scattered as i64 }.into(),
    }
}

/// One in eight has a field name twice, or one that an update would take for an operator.
fn is_special(n: u64) -> bool {
    n % 8 == 5
}

fn document(n: u64, version: i64) -> RawDocumentBuf {
    let plain = doc! { "_id": id(n), "n": n as i64, "v": version, "text": "x".repeat(600) };
    let mut document = RawDocumentBuf::try_from(&plain).unwrap();
    match n % 16 {
        5 => document.append(cstr!("v"), -version),
        13 => document.append(cstr!("$v"), version),
        _ => {}
    }
    document
}

async fn populate(
    client: &Client,
    coll: &str,
    docs: u64,
    document: impl Fn(u64) -> RawDocumentBuf,
) {
    let rows = client.database(DB).collection::<RawDocumentBuf>(coll);
    let all: Vec<u64> = (0..docs).collect();
    for some in all.chunks(1_000) {
        let documents = some.iter().map(|n| document(*n));
        rows.insert_many(documents).await.unwrap();
    }
}

/// Changes documents all over the collection until it is told to stop: some are deleted and
/// made again under another record id. What an election refuses is left out.
fn start_writing(client: Client, seed: u64, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let rows = client.database(DB).collection::<RawDocumentBuf>("random");
        let (mut dice, mut writes) = (Dice::new(&[seed]), 0);
        while !stop.load(Relaxed) {
            writes += 1;
            // Each writer has documents of its own, and makes new ones.
            let n = 4 * dice.below(DOCS / 3) + seed;
            let this = doc! { "_id": id(n) };
            let wrote = match dice.below(6) {
                0 => rows.delete_one(this).await.map(drop),
                1 => rows.insert_one(document(n, writes)).await.map(drop),
                2 => match rows.delete_one(this).await {
                    Ok(_) => rows.insert_one(document(n, writes)).await.map(drop),
                    failed => failed.map(drop),
                },
                // Of two fields of one name the source sets the first, its oplog says both.
                _ if is_special(n) => {
                    let set = doc! { "$set": { "last": writes } };
                    rows.update_one(this, set).await.map(drop)
                }
                3 => rows.replace_one(this, document(n, writes)).await.map(drop),
                4 => {
                    let unset = doc! { "$unset": { "v": 1 }, "$set": { "last": writes } };
                    rows.update_one(this, unset).await.map(drop)
                }
                _ => {
                    let set = doc! { "$set": { "v": writes } };
                    rows.update_one(this, set).await.map(drop)
                }
            };
            drop(wrote);
        }
        writes as u64
    })
}

fn copied(now: &Snapshot) -> u64 {
    now.pairs.iter().map(|pair| pair.documents_copied).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_ids_arrive_equal_under_writes_crashes_and_elections() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let (from, to) = (source.uri(), target.uri());
    let client = source.client().await.unwrap();
    let unique = doc! {
        "createIndexes": "random",
        "indexes": [{ "key": { "n": 1 }, "name": "n", "unique": true }],
    };
    run(&client, DB, unique).await;
    populate(&client, "random", DOCS, |n| document(n, 0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 0..4 {
        writers.push(start_writing(
            source.client().await.unwrap(),
            seed,
            stop.clone(),
        ));
    }

    for place in ["unit-started", "run-written", "unit-batch-written"] {
        let crashed = Engine::start_to_crash(&from, &to, &NATURAL, place).await;
        crashed.crashed().await;
    }
    let mut engine = Engine::start(&from, &to, &NATURAL).await;
    engine.until("copying", |now| 0 < copied(now)).await;
    source.elect().await.unwrap();
    engine.until_ready().await;
    stop.store(true, Relaxed);
    for writer in writers {
        assert!(0 < writer.await.unwrap());
    }
    let outcome = engine.cut_over().await;
    let log = outcome.log.text();
    assert!(log.contains("in the order of the disk"), "{log}");
    expect_equal(&from, &to).await;
}

/// Why a reply may show no more than the one before it was asked at: a document that does
/// not fit is kept for the next reply, as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_may_give_a_document_as_it_was_read_for_the_one_before() {
    let server = fixture::replica_set("a", &[]).await;
    let client = server.client().await.unwrap();
    let rows = client.database(DB).collection::<Document>("large");
    for n in 0..3 {
        let large = doc! { "_id": n, "v": 0, "text": "x".repeat(9 << 20) };
        rows.insert_one(large).await.unwrap();
    }
    let majority = doc! { "level": "majority" };
    let find = doc! {
        "find": "large", "hint": { "$natural": 1 }, "batchSize": 10, "readConcern": majority,
    };
    let first = run(&client, DB, find).await;
    let cursor = first.get_document("cursor").unwrap();
    assert_eq!(cursor.get_array("firstBatch").unwrap().len(), 1);
    let set = doc! {
        "update": "large", "updates": [{ "q": {}, "u": { "$set": { "v": 1 } }, "multi": true }],
        "writeConcern": { "w": "majority" },
    };
    run(&client, DB, set).await;
    let more = doc! { "getMore": cursor.get_i64("id").unwrap(), "collection": "large" };
    let mut seen = Vec::new();
    let mut id = 1;
    while id != 0 {
        let reply = run(&client, DB, more.clone()).await;
        let cursor = reply.get_document("cursor").unwrap();
        id = cursor.get_i64("id").unwrap();
        for document in cursor.get_array("nextBatch").unwrap() {
            seen.push(document.as_document().unwrap().get_i32("v").unwrap());
        }
    }
    assert_eq!(seen, [0, 1], "the second is as it was, the third is new");
}

/// In its order, until that was in vain too often; a second copy is planned anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_on_the_disk_in_no_order_is_read_in_its_order() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    populate(&client, "random", DOCS, |n| document(n, 0)).await;
    populate(&client, "again", DOCS / 6, |n| document(n, 0)).await;
    populate(&client, "ascending", DOCS, |n| {
        rawdoc! { "_id": n as i64, "text": "x".repeat(600) }
    })
    .await;
    for (coll, expect) in [("random", 0.4..0.6), ("ascending", 1.0..1.1)] {
        let (db, coll) = (DB.to_owned(), coll.to_owned());
        let ns = Namespace { db, coll };
        let share = disk_order::ascending(&client, &ns).await.unwrap();
        let share = share.expect("documents are there");
        assert!(expect.contains(&share), "{ns}: {share}");
    }
    let (from, to) = (source.uri(), target.uri());
    let sides = ["--source", from.as_str(), "--target", to.as_str()];
    let plan = ["validate", "--range-mb", "1"];
    let (_, told) = shardlift(&[&plan[..], &sides].concat(), None).await;
    assert!(
        told.contains("that of the disk: d.again, d.random; else"),
        "{told}"
    );

    let crashed = Engine::start_to_crash(&from, &to, &[], "run-written").await;
    let crashed = crashed.crashed().await.text();
    let told = |log: &str, ns: &str| {
        let mut lines = log
            .lines()
            .filter(|line| line.contains("in the order of the disk"));
        lines.any(|line| line.contains(ns))
    };
    assert!(
        told(&crashed, "d.random") && !told(&crashed, "d.ascending"),
        "{crashed}"
    );
    let shard = ["recopy", "--shard", "a"];
    let by_id = ["--ns", "d.again", "--scan-order", "id"];
    let recopy = [&shard[..], &by_id, &sides].concat();
    let (code, said) = shardlift(&recopy, None).await;
    assert_eq!(code, Some(0), "{said}");

    let at_target = target.client().await.unwrap();
    let mut last = String::new();
    while whole_reads(&at_target, "random").await < 4 {
        let crashed = Engine::start_to_crash(&from, &to, &[], "run-written").await;
        last = crashed.crashed().await.text();
    }
    assert!(
        last.contains("d.random is read from its first document for the 4. time"),
        "{last}"
    );
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    let outcome = engine.cut_over().await;
    let log = outcome.log.text();
    assert!(
        log.contains("d.random: 4 reads in the order of the disk were interrupted")
            && !log.contains("from the first document"),
        "{log}"
    );
    expect_equal(&from, &to).await;
}

/// A kill may come before its units are cleared, which are those of the plan before.
#[tokio::test]
async fn what_is_planned_anew_is_read_whatever_is_left_of_its_units() {
    let (_set, target) = state::one_shard("t").await;
    let store = PairStore::new(&target.shards[0], "run", 0);
    let units = vec![UnitState::Settled, UnitState::Waiting, UnitState::Settled];
    let by_id = CollectionState {
        order: ScanOrder::Id,
        ..state::collection("d.c", units)
    };
    let natural = CollectionState {
        order: ScanOrder::Natural,
        whole_reads: 0,
        bounds: Vec::new(),
        units: vec![UnitState::Settled],
        wiping: true,
        ..by_id.clone()
    };
    let before = state::pair_state(vec![by_id]);
    store.create(&before).await.unwrap();
    store.replan(std::slice::from_ref(&natural)).await.unwrap();
    let read = store.load().await.unwrap().expect("it is whole");
    let expect = state::pair_state(vec![natural]);
    assert_eq!(state::text(&read), state::text(&expect));
}

/// As they are recorded on the target.
async fn whole_reads(target: &Client, coll: &str) -> i64 {
    let recorded = target
        .database("__shardlift")
        .collection::<Document>("collections");
    let found = recorded.find_one(doc! { "ns.coll": coll }).await.unwrap();
    let found = found.expect("it is planned");
    found.get_i64("whole_reads").unwrap()
}
