//! Verification ahead of the cutover: what it covers is not read again, what was
//! touched is, and nothing that the target has of its own goes unseen where it is
//! looked for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::ReplicaSet;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, stop};
use crate::proof::never_done;

mod background;
mod renamed;

const DB: &str = "d";
const POLL: Duration = Duration::from_millis(20);

/// Two replica sets; the source holds `d.many`.
struct Pair {
    sets: [ReplicaSet; 2],
    source: Client,
    target: Client,
}

impl Pair {
    async fn with(documents: i32) -> Pair {
        Pair::of(
            tokio::join!(
                fixture::loaded_replica_set("a"),
                fixture::loaded_replica_set("b")
            ),
            documents,
        )
        .await
    }

    async fn of((a, b): (ReplicaSet, ReplicaSet), documents: i32) -> Pair {
        let (source, target) = (a.client().await.unwrap(), b.client().await.unwrap());
        insert(&source, "many", 0..documents).await;
        Pair {
            sets: [a, b],
            source,
            target,
        }
    }

    async fn engine(&self, flags: &[&str]) -> Engine {
        Engine::start(&self.sets[0].uri(), &self.sets[1].uri(), flags).await
    }

    async fn expect_equal(&self) {
        expect_equal(&self.sets[0].uri(), &self.sets[1].uri()).await;
    }

    /// Writes to the target what nobody should.
    async fn tamper(&self, id: i32) {
        update(
            &self.target,
            "many",
            id..id + 1,
            doc! {"$set": {"tampered": true}},
        )
        .await;
    }

    async fn mend(&self, id: i32) {
        update(
            &self.target,
            "many",
            id..id + 1,
            doc! {"$unset": {"tampered": 1}},
        )
        .await;
    }

    /// Waits until the target has so many documents that match.
    async fn until_target_has(&self, coll: &str, filter: Document, count: u64) {
        let documents = self.target.database(DB).collection::<Document>(coll);
        while documents.count_documents(filter.clone()).await.unwrap() != count {
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn insert(client: &Client, coll: &str, ids: Range<i32>) {
    let ids: Vec<i32> = ids.collect();
    for ids in ids.chunks(20_000) {
        let documents = ids
            .iter()
            .map(|id| doc! {"_id": id, "n": 0, "note": "x".repeat(40)});
        client
            .database(DB)
            .collection::<Document>(coll)
            .insert_many(documents)
            .await
            .unwrap();
    }
}

async fn update(client: &Client, coll: &str, ids: Range<i32>, change: Document) {
    let filter = doc! {"_id": {"$gte": ids.start, "$lt": ids.end}};
    let updates = [doc! {"q": filter, "u": change, "multi": true}];
    let reply = run(
        client,
        DB,
        doc! {"update": coll, "updates": &updates[..], "writeConcern": {"w": "majority"}},
    )
    .await;
    assert_eq!(reply.get_i32("nModified").unwrap(), ids.end - ids.start);
}

async fn remove(client: &Client, ids: Range<i32>) {
    let deletes = [doc! {"q": {"_id": {"$gte": ids.start, "$lt": ids.end}}, "limit": 0}];
    let reply = run(
        client,
        DB,
        doc! {"delete": "many", "deletes": &deletes[..], "writeConcern": {"w": "majority"}},
    )
    .await;
    assert_eq!(reply.get_i32("n").unwrap(), ids.end - ids.start);
}

async fn touch(client: &Client, ids: Range<i32>) {
    update(client, "many", ids, doc! {"$inc": {"n": 1}}).await;
}

fn is_verified(now: &Snapshot) -> bool {
    now.phase == Phase::Ready && now.sum().verified
}

async fn until_verified(engine: &mut Engine) -> Snapshot {
    engine.until("verified ahead", is_verified).await
}

/// Asks for a cutover that must be called off; why it was.
async fn called_off(engine: &mut Engine) -> String {
    let before = engine
        .status()
        .await
        .expect("it is running")
        .cutovers_given_up;
    engine.request_cutover().await;
    let over = |now: &Snapshot| now.is_final() || before < now.cutovers_given_up;
    let now = engine.until("called off", over).await;
    assert!(
        before < now.cutovers_given_up,
        "the cutover went through: {}",
        now.phase
    );
    now.last_cutover.expect("a reason is given")
}

async fn stopped(engine: Engine) {
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);
}

fn differs(id: i32) -> String {
    differs_as("many", id)
}

fn differs_as(coll: &str, id: i32) -> String {
    format!("d.{coll}: _id {id} has field `tampered` on the target only")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cutover_looks_at_what_was_touched_and_at_nothing_else() {
    let pair = Pair::with(110_000).await;
    insert(&pair.source, "few", 0..100).await;
    run(
        &pair.source,
        DB,
        doc! {"create": "capped", "capped": true, "size": 100_000},
    )
    .await;
    insert(&pair.source, "capped", 0..50).await;
    let mut engine = pair.engine(&[]).await;

    // Verified while these are written, and once more when it is.
    let over = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let (source, over) = (pair.source.clone(), over.clone());
        async move {
            while !over.load(SeqCst) {
                touch(&source, 0..200).await;
                tokio::time::sleep(10 * POLL).await;
            }
        }
    });
    let now = until_verified(&mut engine).await;
    assert_eq!(now.sum().documents_verified, 110_100);
    over.store(true, SeqCst);
    busy.await.unwrap();
    touch(&pair.source, 0..200).await;
    touch(&pair.source, 99_000..99_400).await;
    insert(&pair.source, "many", 200_000..200_010).await;
    remove(&pair.source, 500..505).await;
    engine
        .until("told what was touched", |now| {
            now.sum().documents_touched == 615
        })
        .await;

    let outcome = engine.cut_over().await;
    let report = &outcome.summary["verified"];
    assert_eq!(report["equal"], true);
    assert_eq!(
        (&report["collections"], &report["documents"]),
        (&3.into(), &110_150.into()),
        "{report}"
    );
    let beyond = (&report["documents_ahead"], &report["documents_rechecked"]);
    assert_eq!(beyond, (&110_100.into(), &615.into()), "{report}");
    pair.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_has_of_its_own_is_found_by_the_sweep_of_every_attempt() {
    let pair = Pair::with(2_000).await;
    let mut engine = pair.engine(&[]).await;
    until_verified(&mut engine).await;
    stopped(engine).await;

    pair.tamper(7).await;
    remove(&pair.target, 8..9).await;
    insert(&pair.target, "many", 5_000..5_001).await;
    let mut engine = pair.engine(&[]).await;
    let now = until_verified(&mut engine).await;
    assert_eq!(
        now.sum().documents_touched,
        3,
        "what differs is to be looked at again"
    );
    let reason = called_off(&mut engine).await;
    let missing = "d.many: _id 8 is missing on the target";
    let extra = "d.many: _id 5000 is on the target but not on the source";
    for named in [&differs(7), missing, extra] {
        assert!(reason.contains(named), "{named}: {reason}");
    }
    assert_eq!(reason.matches("_id").count(), 3, "{reason}");
    // Nothing of it would be read again.
    run(&pair.target, DB, doc! {"drop": "many"}).await;
    let now = never_done(&mut engine, "d.many is missing on target shard").await;
    // If it was not in the way before, the cutover has looked for its documents.
    let reason = now.last_cutover.expect("one was called off before");
    let documents = reason.matches("is missing on the target").count();
    assert!(documents == 10 || !now.obstacles.is_empty(), "{reason}");
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_find_nothing_on_the_target_are_told() {
    let pair = Pair::with(2_000).await;
    let mut engine = pair.engine(&[]).await;
    until_verified(&mut engine).await;
    // Made and removed at once: the target may never have it.
    for _ in 0..20 {
        insert(&pair.source, "many", 5_000..5_100).await;
        remove(&pair.source, 5_000..5_100).await;
    }
    touch(&pair.source, 0..2_000).await;
    pair.until_target_has("many", doc! {"n": 1}, 2_000).await;
    assert_eq!(engine.status().await.unwrap().sum().writes_missed, 0);

    remove(&pair.target, 7..12).await;
    remove(&pair.target, 300..400).await;
    touch(&pair.source, 0..20).await;
    touch(&pair.source, 250..450).await;
    let now = engine
        .until("told", |now| {
            now.sum().writes_missed == 105 && !now.warnings.is_empty()
        })
        .await;
    assert!(
        now.warnings[0].contains("found no document on the target"),
        "{:?}",
        now.warnings
    );
    let reason = called_off(&mut engine).await;
    assert!(reason.contains("is missing on the target"), "{reason}");
    engine.cancel().await;
    assert_eq!(engine.end().await.code, 130);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touched_document_is_read_again_and_full_reads_all_others_too() {
    let pair = Pair::with(2_000).await;
    let mut engine = pair.engine(&[]).await;
    until_verified(&mut engine).await;
    touch(&pair.source, 7..8).await;
    pair.until_target_has("many", doc! {"_id": 7, "n": 1}, 1)
        .await;
    engine
        .until("touched", |now| now.sum().documents_touched == 1)
        .await;
    pair.tamper(7).await;
    pair.tamper(1_500).await;
    let reason = called_off(&mut engine).await;
    assert!(reason.contains(&differs(7)), "{reason}");
    assert!(
        !reason.contains(&differs(1_500)),
        "it was verified, and nothing touched it: {reason}"
    );
    // It is still known as touched.
    pair.mend(7).await;
    engine.request_cutover().await;
    let now = engine
        .until("cut over", |now| {
            now.is_final() || 1 < now.cutovers_given_up
        })
        .await;
    assert_eq!(now.phase, Phase::Done, "{:?}", now.warnings);
    assert_eq!(
        engine.end().await.summary["verified"]["documents_rechecked"],
        1
    );

    crate::migrate::wipe(&pair.target).await;
    let mut engine = pair.engine(&["--verify", "full"]).await;
    engine.until_ready().await;
    pair.tamper(1_500).await;
    let reason = called_off(&mut engine).await;
    assert!(reason.contains(&differs(1_500)), "{reason}");
    pair.mend(1_500).await;
    engine.request_cutover().await;
    engine.until("cut over", Snapshot::is_final).await;
    let report = &engine.end().await.summary["verified"];
    assert_eq!(
        (&report["documents"], &report["documents_ahead"]),
        (&2_000.into(), &0.into()),
        "{report}"
    );
}
