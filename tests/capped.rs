//! Capped collections that hold more than their size.

use std::time::{Duration, Instant};

use bson::{Document, Timestamp, cstr, doc, rawdoc};
use mongodb::Client;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, TIMEOUT, run};
use crate::migrate::expect_equal;

const SIZE: i32 = 8_192;

/// A scan that begins after it reads them: it sees only what the majority has.
async fn insert(client: &Client, ids: std::ops::Range<i32>) {
    for id in ids {
        let insert = doc! {
            "insert": "ring",
            "documents": [{"_id": id, "note": "x".repeat(100)}],
            "writeConcern": {"w": "majority"},
        };
        run(client, "d", insert).await;
    }
}

async fn grow(client: &Client, ids: std::ops::Range<i32>) {
    let updates: Vec<Document> = ids
        .map(|id| doc! {"q": {"_id": id}, "u": {"$set": {"note": "y".repeat(2_000)}}})
        .collect();
    run(client, "d", doc! {"update": "ring", "updates": updates}).await;
}

async fn stats(client: &Client) -> (i64, i64, i64) {
    let stats = run(client, "d", doc! {"collStats": "ring"}).await;
    let number = |name: &str| {
        stats
            .get(name)
            .and_then(|n| n.as_i64().or(n.as_i32().map(i64::from)))
            .unwrap()
    };
    (number("count"), number("size"), number("maxSize"))
}

async fn more_than_its_size(verify: &str) {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    run(
        &a,
        "d",
        doc! {"create": "ring", "capped": true, "size": SIZE},
    )
    .await;
    insert(&a, 0..30).await;
    grow(&a, 0..30).await;
    let (count, bytes, size) = stats(&a).await;
    assert!(
        count == 30 && 4 * size < bytes,
        "it holds more than its size: {count} {bytes} {size}"
    );

    let mut engine = Engine::start(&source.uri(), &target.uri(), &["--verify", verify]).await;
    engine.until_ready().await;
    let held = async |client: &Client| {
        let (count, bytes, _) = stats(client).await;
        (count, bytes)
    };
    assert_eq!(held(&b).await, held(&a).await);
    // The next insert lets the oldest go, on both sides; and then they grow again.
    insert(&a, 30..35).await;
    grow(&a, 30..35).await;
    insert(&a, 35..36).await;
    grow(&a, 35..36).await;
    engine.cut_over().await;
    assert_eq!(stats(&b).await, stats(&a).await);
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Before 6.0 it is dropped and made again, by two commands: the process ends between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_that_was_being_emptied_at_a_crash_is_copied_on() {
    let of = |name| fixture::loaded_replica_set_of(name, "4.4".parse().unwrap());
    let (source, target) = tokio::join!(of("a"), of("b"));
    let a = source.client().await.unwrap();
    let create = doc! {"create": "ring", "capped": true, "size": 1 << 20, "max": 500};
    run(&a, "d", create).await;
    insert(&a, 0..300).await;
    for place in ["unit-batch-written", "capped-remade"] {
        let engine = Engine::start_to_crash(&source.uri(), &target.uri(), &[], place).await;
        engine.crashed().await;
    }
    insert(&a, 300..310).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

async fn remove(client: &Client, id: i32) {
    let delete = doc! {"q": {"_id": id}, "limit": 1};
    run(client, "d", doc! {"delete": "ring", "deletes": [delete]}).await;
}

async fn ids(client: &Client) -> Vec<i32> {
    ids_in(client, "ring").await
}

async fn ids_in(client: &Client, ring: &str) -> Vec<i32> {
    let found = doc! {
        "find": ring, "hint": {"$natural": 1}, "projection": {"_id": 1}, "batchSize": 10_000,
    };
    let reply = run(client, "d", found).await;
    let batch = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch");
    let id = |row: &bson::Bson| row.as_document().unwrap().get_i32("_id").unwrap();
    batch.unwrap().iter().map(id).collect()
}

async fn until_alike(a: &Client, b: &Client, ring: &str) {
    let deadline = Instant::now() + TIMEOUT;
    while ids_in(b, ring).await != ids_in(a, ring).await {
        assert!(Instant::now() < deadline, "{:?}", ids_in(b, ring).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// No checkpoint lies between what is applied and the crash: all of it comes again. Documents
/// were removed, or made again, since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_keeps_its_order_where_ops_come_again() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let create =
        doc! {"create": "ring", "capped": true, "size": 1 << 20, "max": 6, "recordPreImages": true};
    run(&a, "d", create).await;
    insert(&a, 0..3).await;
    let (from, to) = (source.uri(), target.uri());
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    engine.kill();
    let mut engine = Engine::start(&from, &to, &["--checkpoint-ms", "60000"]).await;
    engine.until_ready().await;
    // Too many, would they all be there at a time.
    for id in 10..20 {
        insert(&a, id..id + 1).await;
        remove(&a, id).await;
    }
    insert(&a, 12..14).await;
    remove(&a, 12).await;
    insert(&a, 20..21).await;
    insert(&a, 12..13).await;
    assert_eq!(ids(&a).await, [0, 1, 2, 13, 20, 12]);
    until_alike(&a, &b, "ring").await;
    engine.kill();
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    assert_eq!(ids(&b).await, ids(&a).await);
    // The oldest goes again.
    insert(&a, 21..23).await;
    let outcome = engine.cut_over().await;
    let repaired = outcome.log.text().contains("it is repaired");
    assert!(!repaired, "room switched pre-images off");
    assert_eq!(ids(&b).await, [2, 13, 20, 12, 21, 22]);
    assert_eq!(stats(&b).await, stats(&a).await);
    expect_equal(&from, &to).await;
}

/// A collection, how many documents it may hold, and their `_id`s and lengths.
type Ring<'a> = (&'a str, i32, &'a [(i32, usize)]);

/// Full collections of a release that does not log what they let go. In `plain` each `_id`
/// comes once; in the others it comes again when it was let go, in `longer` and `changed` with
/// another length. In `changed` it is there before, and updated first. In `odd` another
/// document was there before, and is one that only two commands write over another.
const RINGS: [Ring<'_>; 5] = [
    (
        "plain",
        4,
        &[(1, 9), (2, 9), (3, 9), (4, 9), (5, 9), (6, 9), (7, 9)],
    ),
    (
        "again",
        2,
        &[(2, 9), (3, 9), (1, 9), (2, 9), (4, 9), (1, 9), (3, 9)],
    ),
    ("longer", 2, &[(1, 9), (2, 9), (3, 9), (1, 20)]),
    ("changed", 2, &[(2, 9), (3, 9), (1, 20)]),
    ("odd", 9, &[(2, 9), (3, 9)]),
];

/// Has a name twice, and a time that servers fill in. By an op of its own in the log.
async fn insert_odd(client: &Client) {
    let mut document = rawdoc! {"_id": 1, "at": Timestamp { time: 0, increment: 0 }, "a": 1};
    document.append(cstr!("a"), 2);
    let insert = rawdoc! {"op": "i", "ns": "d.odd", "o": document};
    let apply = rawdoc! {"applyOps": [insert], "allowAtomic": false};
    let admin = client.database("admin");
    admin.run_raw_command(apply).await.unwrap();
}

async fn update_changed(client: &Client) {
    let update = doc! {"q": {"_id": 1}, "u": {"$set": {"note": "y".repeat(9)}}};
    run(client, "d", doc! {"update": "changed", "updates": [update]}).await;
}

/// No checkpoint lies between what is applied and the crash. Where an `_id` came twice, it
/// cannot be told what was let go: the collection is copied anew.
async fn full_ones(releases: [&str; 2], compatible_with: Option<&str>, anew: &[&str]) {
    let of = |name, release: &str| fixture::loaded_replica_set_of(name, release.parse().unwrap());
    let [from, to] = releases;
    let (source, target) = tokio::join!(of("a", from), of("b", to));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    if let Some(version) = compatible_with {
        for client in [&a, &b] {
            let lower = doc! {"setFeatureCompatibilityVersion": version};
            run(client, "admin", lower).await;
        }
    }
    for (ring, max, _) in RINGS {
        let create = doc! {"create": ring, "capped": true, "size": 1 << 20, "max": max};
        run(&a, "d", create).await;
    }
    let first = doc! {"_id": 1, "note": "x".repeat(9)};
    run(&a, "d", doc! {"insert": "changed", "documents": [first]}).await;
    let (from, to) = (source.uri(), target.uri());
    let mut engine = Engine::start(&from, &to, &["--checkpoint-ms", "60000"]).await;
    engine.until_ready().await;
    update_changed(&a).await;
    insert_odd(&a).await;
    for (ring, _, documents) in RINGS {
        for (id, length) in documents {
            let document = doc! {"_id": id, "note": "x".repeat(*length), "inner": {"$x": 1}};
            run(&a, "d", doc! {"insert": ring, "documents": [document]}).await;
        }
        until_alike(&a, &b, ring).await;
    }
    engine.kill();
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    let is_told = |engine: &Engine, ring: &str| {
        let told = format!("d.{ring} is emptied on target shard");
        engine.log().text().contains(&told)
    };
    // It may be ready before all has come again.
    let deadline = Instant::now() + 10 * TIMEOUT;
    while !anew.iter().all(|ring| is_told(&engine, ring)) {
        assert!(Instant::now() < deadline, "none is copied anew");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.until_ready().await;
    for (ring, ..) in RINGS {
        until_alike(&a, &b, ring).await;
        assert_eq!(is_told(&engine, ring), anew.contains(&ring), "{ring}");
    }
    engine.cut_over().await;
    expect_equal(&from, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_capped_collections_of_4_4_are_alike_after_a_kill() {
    full_ones(["4.4", "4.4"], None, &["again", "longer", "changed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_capped_collections_of_4_4_are_alike_on_6_0_after_a_kill() {
    full_ones(["4.4", "6.0"], None, &["again"]).await;
}

/// They take no other size then, and documents no other length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_capped_collections_of_6_0_as_5_0_are_alike_after_a_kill() {
    full_ones(["6.0", "6.0"], Some("5.0"), &["again", "longer", "changed"]).await;
}

/// Each time that its copy has begun `_id`s are used again, and only then it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_that_is_copied_anew_in_vain_stops_the_run() {
    let of = |name| fixture::loaded_replica_set_of(name, "4.4".parse().unwrap());
    let (source, target) = tokio::join!(of("a"), of("b"));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let create = doc! {"create": "ring", "capped": true, "size": 1 << 20, "max": 2};
    run(&a, "d", create).await;
    let use_again = async |turn: i32| {
        for id in [2, 3, 1, 2, 4, 1, 3] {
            insert(&a, 10 * turn + id..10 * turn + id + 1).await;
        }
    };
    let (from, to) = (source.uri(), target.uri());
    let place = "unit-started";
    use_again(0).await;
    let engine = Engine::start_to_crash(&from, &to, &[], place).await;
    engine.crashed().await;
    use_again(1).await;
    let engine = Engine::start_to_crash(&from, &to, &[], place).await;
    engine.crashed().await;
    let recorded = b
        .database("__shardlift")
        .collection::<Document>("collections");
    let stored = recorded.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(stored.get_i64("anew").unwrap(), 1, "{stored}");
    let more = doc! {"$set": {"anew": 3_i64}};
    recorded.update_one(doc! {}, more).await.unwrap();
    use_again(2).await;
    let outcome = Engine::start(&from, &to, &[]).await.end().await;
    let text = outcome.log.text();
    assert_eq!(outcome.code, 6, "{text}");
    for told in ["copied anew 3 times", "--exclude d.ring"] {
        assert!(text.contains(told), "{text}");
    }
    // As it was told.
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&from, &to).await;
}

/// What the source lets go after it was read is logged nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_capped_collection_of_4_4_is_copied_to_6_0_while_it_takes_inserts() {
    let of = |name, release: &str| fixture::loaded_replica_set_of(name, release.parse().unwrap());
    let (source, target) = tokio::join!(of("a", "4.4"), of("b", "6.0"));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let create = doc! {"create": "ring", "capped": true, "size": 64 << 20, "max": 300};
    run(&a, "d", create).await;
    let large = async |ids: std::ops::Range<i32>| {
        for id in ids {
            let document = doc! {"_id": id, "note": "x".repeat(50_000)};
            run(&a, "d", doc! {"insert": "ring", "documents": [document]}).await;
        }
    };
    large(0..300).await;
    let (from, to) = (source.uri(), target.uri());
    let mut engine = Engine::start(&from, &to, &["--copy-mb-s", "4"]).await;
    let is_copying = |now: &Snapshot| now.pairs.iter().any(|pair| 0 < pair.documents_copied);
    engine.until("copying", is_copying).await;
    large(300..320).await;
    engine.until_ready().await;
    until_alike(&a, &b, "ring").await;
    engine.cut_over().await;
    expect_equal(&from, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_that_holds_more_than_its_size_arrives_whole() {
    more_than_its_size("digests").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_that_holds_more_than_its_size_arrives_whole_unverified() {
    more_than_its_size("none").await;
}
