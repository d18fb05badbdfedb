//! What a deployment may hold: every BSON type, every kind of collection,
//! orphans; with writes to all of it while it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bson::raw::RawArrayBuf;
use bson::{Document, RawBson, RawDocumentBuf, cstr, doc, rawdoc};
use loadgen::cluster::orphans;
use loadgen::entry::Entry;
use loadgen::layout::Layout;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs, types};
use mongodb::{Client, Collection};
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, stop};

pub(crate) mod encrypted;
mod unique;
pub(crate) mod kinds;

/// Something that writes until it is told to stop.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u32>,
}

impl Writer {
    /// Calls `write` with 0, 1, 2 …
    pub(crate) fn start<F: Future<Output = ()> + Send>(
        write: impl Fn(u32) -> F + Send + 'static,
    ) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let task = tokio::spawn(async move {
            let mut round = 0;
            while !asked.load(Relaxed) {
                write(round).await;
                round += 1;
            }
            round
        });
        Writer { stop, task }
    }

    /// Ends after a whole round since now.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Relaxed);
        assert!(0 < self.task.await.expect("every write is taken"));
    }
}

/// Returns how many documents were read again after a refused write.
async fn move_while(writer: Writer, source: &str, target: &str) -> u64 {
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    writer.stop().await;
    let outcome = engine.cut_over().await;
    expect_equal(source, target).await;
    outcome.summary["documents_resolved"].as_u64().unwrap()
}

/// `_id`s of one of the types collections, whatever they are.
async fn ids(entry: &Entry, name: &str) -> Vec<RawBson> {
    let documents = types::read_back(entry, name).await.unwrap();
    let id = |document: &RawDocumentBuf| {
        document
            .get("_id")
            .unwrap()
            .expect("every document has one")
            .into()
    };
    documents.iter().map(id).collect()
}

async fn write(client: &Client, command: RawDocumentBuf) {
    let reply = client
        .database(types::DATABASE)
        .run_raw_command(command)
        .await
        .unwrap();
    assert!(!reply.contains_key("writeErrors"), "{reply}");
}

/// `{$set: {field: round}}` on the document of that `_id`.
async fn touch(client: &Client, name: &str, id: &RawBson, field: &str, round: u32) {
    let mut equal = RawDocumentBuf::new();
    equal.append(cstr!("$eq"), id.clone());
    let mut set = RawDocumentBuf::new();
    set.append(bson::raw::CString::try_from(field).unwrap(), round as i32);
    let update = rawdoc! {"q": {"_id": equal}, "u": {"$set": set}};
    write(client, rawdoc! {"update": name, "updates": [update]}).await;
}

/// A document with another `_id` and the same other fields.
async fn insert_again(client: &Client, document: &RawDocumentBuf, id: i32) {
    let mut copy = rawdoc! {"_id": id};
    for element in document.iter().skip(1) {
        let (name, value) = element.unwrap();
        copy.append(name, value);
    }
    let mut command = rawdoc! {"insert": "values"};
    command.append(cstr!("documents"), RawArrayBuf::from_iter([copy]));
    write(client, command).await;
}

async fn every_type_arrives(source: &str, target: &str) {
    let entry = Entry::connect(source, 8).await.unwrap();
    types::create(&entry).await.unwrap();
    let mixed = ids(&entry, "ids").await;
    let shapes = ids(&entry, "shapes").await;
    let values = types::read_back(&entry, "values").await.unwrap();
    let all = Arc::new((entry.client.clone(), mixed, shapes, values));
    let writer = Writer::start(move |round| {
        let all = all.clone();
        async move {
            let (client, mixed, shapes, values) = &*all;
            for id in mixed {
                touch(client, "ids", id, "i", round).await;
            }
            for id in shapes {
                // The largest document has no room for another field.
                let field = if id.as_str().is_some_and(|id| id.starts_with("large")) {
                    "tail"
                } else {
                    "touched"
                };
                touch(client, "shapes", id, field, round).await;
            }
            for (i, document) in values.iter().enumerate() {
                insert_again(
                    client,
                    document,
                    1_000_000 + (round as usize * values.len() + i) as i32,
                )
                .await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    move_while(writer, source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bson_type_arrives_on_a_replica_set_while_it_is_written() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    every_type_arrives(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bson_type_arrives_on_a_sharded_cluster_while_it_is_written() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    every_type_arrives(&source.uri(), &target.uri()).await;
}

/// Documents long expired, on a source that does not expire and a target that
/// would within a second: they are there until the cutover, and expire after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_expires_on_the_target_before_the_cutover() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    run(
        &a,
        "admin",
        doc! {"setParameter": 1, "ttlMonitorEnabled": false},
    )
    .await;
    run(
        &b,
        "admin",
        doc! {"setParameter": 1, "ttlMonitorSleepSecs": 1},
    )
    .await;
    let expiring = doc! {"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 1};
    run(
        &a,
        "ttl",
        doc! {"createIndexes": "rows", "indexes": [expiring]},
    )
    .await;
    let long_ago = bson::DateTime::from_millis(1_000_000);
    let rows: Collection<Document> = a.database("ttl").collection("rows");
    rows.insert_many((0..100).map(|n| doc! {"_id": n, "at": long_ago}))
        .await
        .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let arrived: Collection<Document> = b.database("ttl").collection("rows");
    let passes = ttl_passes(&b).await;
    while ttl_passes(&b).await < passes + 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(arrived.count_documents(doc! {}).await.unwrap(), 100);
    engine.cut_over().await;
    let indexes = run(&b, "ttl", doc! {"listIndexes": "rows"})
        .await
        .to_string();
    assert!(indexes.contains("\"expireAfterSeconds\": 1"), "{indexes}");
    while 0 < arrived.count_documents(doc! {}).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A range without an upper bound ends before `MaxKey` for the server.
#[tokio::test]
async fn the_first_and_the_last_of_all_ids_arrive_in_a_collection_of_many_ranges() {
    let (source, target) = tokio::join!(
        fixture::replica_set("ends", &[]),
        fixture::replica_set("there", &[])
    );
    let a = source.client().await.unwrap();
    let padding = "x".repeat(1_000);
    let ids = [bson::Bson::MinKey, bson::Bson::MaxKey]
        .into_iter()
        .chain((0..4_000).map(bson::Bson::Int32));
    let documents: Vec<Document> = ids.map(|id| doc! {"_id": id, "p": &padding}).collect();
    run(
        &a,
        "d",
        doc! {"insert": "c", "documents": documents, "writeConcern": {"w": "majority"}},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    assert!(1 < engine.status().await.unwrap().pairs[0].units_total);
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

async fn ttl_passes(client: &Client) -> i64 {
    let status = run(client, "admin", doc! {"serverStatus": 1}).await;
    let ttl = status
        .get_document("metrics")
        .and_then(|metrics| metrics.get_document("ttl"))
        .unwrap();
    ttl.get_i64("passes").unwrap()
}

/// Documents a moved chunk left behind stay where they are; what their owner
/// makes of them arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_never_travel() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let uri = source.uri();
    populate::populate(&PopulateArgs {
        docs: 4_000,
        ..PopulateArgs::new(&uri)
    })
    .await
    .unwrap();
    let layout = Layout::read(&Entry::connect(&uri, 2).await.unwrap())
        .await
        .unwrap();
    let mut made = 0;
    // Chunks that are where they were made: no range comes back to where it was.
    for ns in ["social.users", "social.posts"] {
        let min = layout.collection(ns).unwrap().sharding.split_points(4)[0].clone();
        made += orphans::make(&source, ns, min, None, "shard0")
            .await
            .unwrap();
    }
    let min = doc! {"customer": bson::Bson::MinKey};
    made += orphans::make(&source, "shop.customers", min, None, "shard1")
        .await
        .unwrap();
    let load = Load::start(LoadOptions {
        rate: 800.0,
        connections: 4,
        ..LoadOptions::new(&uri)
    })
    .await
    .unwrap();
    let mut engine = Engine::start(&uri, &target.uri(), &[]).await;
    engine.until_ready().await;
    stop(load).await;
    let outcome = engine.cut_over().await;
    assert_eq!(outcome.summary["documents_orphaned"], made);
    expect_equal(&uri, &target.uri()).await;
}

/// Bounds of units and ranges are hints only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_cannot_be_sampled_is_copied_and_compared_all_the_same() {
    let testing = &["--setParameter", "enableTestCommands=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", testing),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    let rows = client.database("d").collection::<Document>("many");
    for part in 0..11 {
        let ids = part * 10_000..(part + 1) * 10_000;
        rows.insert_many(ids.map(|id| doc! {"_id": id, "note": "x".repeat(40)}))
            .await
            .unwrap();
    }
    let data = doc! {"failCommands": ["aggregate"], "namespace": "d.many", "errorCode": 28_799};
    fixture::run(
        &client,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--verify", "full"]).await;
    engine.until_ready().await;
    let outcome = engine.cut_over().await;
    assert!(
        outcome.log.text().contains("could not be sampled"),
        "{}",
        outcome.log.text()
    );
    expect_equal(&source.uri(), &target.uri()).await;
}
