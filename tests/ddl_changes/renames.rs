//! Collections that are renamed, by the command and by what ends in a rename.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;
use tokio::task::JoinSet;

use crate::ddl_changes::{fill, on_clusters, on_sets, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;
use crate::releases::rig::{of, set};

pub(super) async fn rename(client: &Client, from: &str, to: &str, drops: bool) {
    let (from, to) = (full(from), full(to));
    let command = doc! {"renameCollection": from, "to": to, "dropTarget": drops};
    run(client, "admin", command).await;
}

fn full(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        format!("d.{name}")
    }
}

pub(super) async fn add(client: &Client, coll: &str, id: i32) {
    let row = doc! {"_id": id, "k": id, "by": coll};
    run(client, "d", doc! {"insert": coll, "documents": [row]}).await;
    let update = doc! {"q": {"_id": 1}, "u": {"$set": {"by": format!("{coll} {id}")}}};
    run(client, "d", doc! {"update": coll, "updates": [update]}).await;
}

const COLLECTIONS: [&str; 10] = [
    "plain", "over", "under", "p", "s", "t", "cross", "rows", "tocap", "sunk",
];

pub(crate) async fn before(client: &Client) {
    for coll in COLLECTIONS {
        fill(client, coll, 300).await;
        let index = doc! {"key": {"k": 1}, "name": "k"};
        run(
            client,
            "d",
            doc! {"createIndexes": coll, "indexes": [index]},
        )
        .await;
    }
    run(
        client,
        "e",
        doc! {"insert": "crossed", "documents": [{"_id": 1}]},
    )
    .await;
}

pub(crate) async fn changes(client: &Client) {
    rename(client, "plain", "plain 2", false).await;
    add(client, "plain 2", 1_000).await;
    rename(client, "over", "under", true).await;
    add(client, "under", 1_001).await;
    // A chain, and its first name again.
    rename(client, "p", "q", false).await;
    add(client, "q", 1_002).await;
    rename(client, "q", "r", false).await;
    fill(client, "p", 20).await;
    add(client, "r", 1_003).await;
    swap(client, 1_004).await;
    let index = doc! {"key": {"by": 1}, "name": "by", "expireAfterSeconds": 100_000};
    run(client, "d", doc! {"createIndexes": "s", "indexes": [index]}).await;
    let hidden = doc! {"collMod": "t", "index": {"name": "k", "hidden": true}};
    run(client, "d", hidden).await;
    // Renamed, then dropped.
    rename(client, "sunk", "sunk 2", false).await;
    run(client, "d", doc! {"drop": "sunk 2"}).await;
}

/// `s` and `t` trade their names.
async fn swap(client: &Client, id: i32) {
    add(client, "s", id).await;
    rename(client, "s", "tmp", false).await;
    add(client, "tmp", id + 1).await;
    rename(client, "t", "s", false).await;
    add(client, "s", id + 2).await;
    rename(client, "tmp", "t", false).await;
    add(client, "t", id + 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renamed_collections_are_followed() {
    on_sets(before, changes, None).await;
}

/// Renamed on the target and not recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_was_made_is_seen_after_a_crash() {
    on_sets(before, changes, Some("renamed")).await;
}

/// All that is in the log after the last checkpoint comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renames_that_come_again_do_no_harm() {
    on_sets(before, swaps, Some("rename-recorded")).await;
}

pub(crate) async fn swaps(client: &Client) {
    for round in 0..3 {
        swap(client, 2_000 + 10 * round).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_in_a_rename_is_followed() {
    on_sets(before, rebuilt, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_in_a_rename_is_followed_again_after_a_crash() {
    on_sets(before, rebuilt, Some("renamed")).await;
}

/// Across databases, by `$out`, by `mapReduce`, by `convertToCapped`.
pub(crate) async fn rebuilt(client: &Client) {
    rename(client, "cross", "e.crossed", true).await;
    for round in 0..4 {
        out(client, round).await;
    }
    run_all(
        client,
        [
            doc! {
                "mapReduce": "rows", "map": "function() { emit(this.k % 7, 1); }",
                "reduce": "function(key, values) { return Array.sum(values); }", "out": "reduced",
            },
            doc! {"convertToCapped": "tocap", "size": 1 << 20},
        ],
    )
    .await;
    add(client, "outcome", 3_000).await;
    add(client, "tocap", 3_001).await;
}

pub(crate) fn begun(now: &Snapshot) -> bool {
    matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
}

/// The copy reads them by UUID.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_are_renamed_while_they_are_copied() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    for (coll, count) in [
        ("s", 20_000),
        ("t", 20_000),
        ("over", 5_000),
        ("under", 5_000),
    ] {
        let rows = (0..count).map(|i| doc! {"_id": i, "k": i, "note": "x".repeat(500)});
        let coll = client.database("d").collection::<Document>(coll);
        coll.insert_many(rows).await.unwrap();
    }
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until("copying", begun).await;
    for round in 0..5 {
        swap(&client, 100_000 + 10 * round).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    rename(&client, "over", "under", true).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// The oplog tells what each was called before the listing, which takes longer than they keep
/// their names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_renames_all_the_time_gets_a_plan() {
    let testing = &["--setParameter", "enableTestCommands=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", testing),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    for coll in ["s", "t", "rows", "moved aside"] {
        fill(&client, coll, 300).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let mut busy = JoinSet::new();
    for what in [Busy::Swaps, Busy::Outs, Busy::Rotates] {
        let (client, is_over) = (client.clone(), is_over.clone());
        busy.spawn(async move {
            for round in 0.. {
                if is_over.load(SeqCst) {
                    return;
                }
                what.once(&client, round).await;
            }
        });
    }
    let slow = doc! {
        "failCommands": ["listCollections"], "blockConnection": true, "blockTimeMS": 300,
    };
    let failing =
        |mode: &str| doc! {"configureFailPoint": "failCommand", "mode": mode, "data": slow.clone()};
    run(&client, "admin", failing("alwaysOn")).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until("copying", begun).await;
    run(&client, "admin", failing("off")).await;
    is_over.store(true, SeqCst);
    busy.join_all().await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// What somebody does again and again.
#[derive(Clone, Copy)]
enum Busy {
    Swaps,
    Outs,
    Rotates,
}

impl Busy {
    async fn once(self, client: &Client, round: i32) {
        match self {
            Busy::Swaps => swap(client, 100_000 + 10 * round).await,
            Busy::Outs => out(client, round).await,
            Busy::Rotates => {
                let old = format!("moved aside {}", round % 3);
                rename(client, "moved aside", &old, true).await;
                fill(client, "moved aside", 5).await;
            }
        }
    }
}

async fn out(client: &Client, round: i32) {
    let pipeline = [
        doc! {"$match": {"k": {"$gte": round % 10}}},
        doc! {"$out": "outcome"},
    ];
    let out = doc! {"aggregate": "rows", "pipeline": pipeline.to_vec(), "cursor": {}};
    run(client, "d", out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_of_earlier_releases_are_renamed() {
    for release in [(4, 2), (4, 4), (5, 0)] {
        let release = of(release.0, release.1);
        let (source, target) = tokio::join!(set("a", release), set("b", release));
        before(&source.client().await.unwrap()).await;
        let all = async |client: &Client| {
            rename(client, "plain", "plain 2", false).await;
            rename(client, "over", "under", true).await;
            swap(client, 1_000).await;
            rebuilt(client).await;
        };
        crate::ddl_changes::follow((&source.uri(), &target.uri()), all, None).await;
    }
}

/// They live on one shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsharded_collections_of_a_cluster_are_renamed() {
    let changes = async |client: &Client| {
        rename(client, "plain", "plain 2", false).await;
        rename(client, "over", "under", true).await;
        swap(client, 1_000).await;
    };
    on_clusters(before, changes).await;
}

/// The run ends at the rename of `rows`, and says so.
pub(super) async fn a_rename_stops_the_run(source: &str, target: &str, flags: &[&str]) {
    let mut engine = Engine::start(source, target, flags).await;
    engine.until_ready().await;
    let client = Client::with_uri_str(source).await.unwrap();
    rename(&client, "rows", "others", false).await;
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 6);
    let log = outcome.log.text();
    let error = log.split_once("error: ").expect("it says why").1;
    assert!(
        error.contains("d.rows")
            && error.contains("renameCollection")
            && error.contains("what to do: "),
        "{error}"
    );
}

/// Copied again, the shard goes on behind the rename.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_stops_the_run_where_it_is_told_so_and_recopy_gets_past_it() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    fill(&client, "rows", 100).await;
    fill(&client, "outcome", 10).await;
    let flags = ["--renames", "stop"];
    let (source, target) = (source.uri(), target.uri());
    a_rename_stops_the_run(&source, &target, &flags).await;
    fill(&client, "rows", 50).await;
    out(&client, 1).await;
    let recopy = [
        "recopy", "--shard", "a", "--source", &source, "--target", &target,
    ];
    let (code, text) = shardlift(&recopy, None).await;
    assert_eq!(code, Some(0), "{text}");
    let mut engine = Engine::start(&source, &target, &flags).await;
    engine.until_ready().await;
    add(&client, "others", 1_000).await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

/// Renamed while nobody follows, and its name given to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_is_planned_by_its_uuid_and_a_rename_of_an_unknown_one_stops_the_run() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let client = source.client().await.unwrap();
    let rows = (0..3_000).map(|id| doc! {"_id": id, "note": "x".repeat(1_000)});
    let rows: Vec<Document> = rows.collect();
    run(&client, "d", doc! {"insert": "log", "documents": rows}).await;
    fill(&client, "rows", 10).await;
    let known = target.client().await.unwrap().database("__shardlift");
    let known = known.collection::<Document>("collections");
    let (source, target) = (source.uri(), target.uri());
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();
    rename(&client, "log", "log_1", false).await;
    fill(&client, "log", 1).await;
    let recopy = [
        "recopy",
        "--shard",
        "a",
        "--ns",
        "d.log",
        "--range-mb",
        "1",
        "--source",
        &source,
        "--target",
        &target,
    ];
    let (code, text) = shardlift(&recopy, None).await;
    assert_eq!(code, Some(0), "{text}");
    let planned = known.find_one(doc! {"ns.coll": "log"}).await.unwrap();
    let planned = planned.unwrap();
    let bounds = planned.get_array("bounds").unwrap();
    assert!(!bounds.is_empty(), "larger than one range: {planned}");
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    expect_equal(&source, &target).await;
    engine.kill();
    // As an older release left it, whose filters did not have what servers make to rename it.
    let forgotten = known.delete_one(doc! {"ns.coll": "rows"}).await.unwrap();
    assert_eq!(forgotten.deleted_count, 1);
    rename(&client, "rows", "others", false).await;
    let outcome = Engine::start(&source, &target, &[]).await.end().await;
    assert_eq!(outcome.code, 6);
    let found = "a rename of a collection this shard does not hold";
    assert!(outcome.log.text().contains(found));
}
