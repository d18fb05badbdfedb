//! Sharded collections that are renamed: each shard has the rename in its own oplog, and the
//! target's router makes it once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use mongodb::Client;
use shardlift::observe::phase::Phase;

use crate::ddl_changes::across::{has, locked};
use crate::ddl_changes::renames::{a_rename_stops_the_run, add, rename};
use crate::ddl_changes::{DB, fill, run_all};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;
use crate::releases::rig::of;
use crate::watch::cluster_of;

const SPREAD: [&str; 9] = [
    "rows", "over", "under", "one", "other", "taking", "taken", "big", "busy",
];
/// For what a shard that is ahead may do.
const AHEAD: Duration = Duration::from_secs(2);

async fn shard(client: &Client, coll: &str) {
    let key = doc! {"_id": "hashed"};
    let shard = doc! {"shardCollection": format!("d.{coll}"), "key": key};
    run(client, "admin", shard).await;
}

async fn move_to(client: &Client, coll: &str, to: &str) {
    let ns = format!("d.{coll}");
    let move_it = doc! {"moveChunk": ns, "find": {"_id": 0}, "to": to, "_waitForDelete": true};
    run(client, "admin", move_it).await;
}

/// Also what one shard only has documents of: `away` the other shard, and `back` the primary
/// shard, and then the target has no part of it on the other one.
async fn before(client: &Client) {
    let home = doc! {"enableSharding": DB, "primaryShard": "shard0"};
    run(client, "admin", home).await;
    for coll in SPREAD {
        shard(client, coll).await;
        fill(client, coll, 200).await;
    }
    for coll in ["away", "back"] {
        let shard = doc! {"shardCollection": format!("d.{coll}"), "key": {"_id": 1}};
        run(client, "admin", shard).await;
        fill(client, coll, 50).await;
        move_to(client, coll, "shard1").await;
    }
    move_to(client, "back", "shard0").await;
    fill(client, "plain", 200).await;
}

/// Documents of both shards.
async fn add_some(client: &Client, coll: &str, from: i32) {
    for id in from..from + 10 {
        add(client, coll, id).await;
    }
    let deleted = doc! {"q": {"_id": from % 200}, "limit": 1};
    run(client, DB, doc! {"delete": coll, "deletes": [deleted]}).await;
}

async fn changes(client: &Client) {
    // A chain; then there and back.
    rename(client, "rows", "renamed", false).await;
    add_some(client, "renamed", 1_000).await;
    rename(client, "renamed", "renamed again", false).await;
    add_some(client, "renamed again", 1_010).await;
    rename(client, "renamed again", "renamed", false).await;
    add_some(client, "renamed", 1_020).await;
    // In the place of another.
    rename(client, "over", "under", true).await;
    add_some(client, "under", 1_000).await;
    for (from, to) in [("one", "by"), ("other", "one"), ("by", "other")] {
        rename(client, from, to, false).await;
        add_some(client, to, 1_000).await;
    }
    for coll in ["away", "back"] {
        let to = format!("{coll} by now");
        rename(client, coll, &to, false).await;
        add_some(client, &to, 1_000).await;
        // Its name again, and dropped again.
        shard(client, coll).await;
        add_some(client, coll, 1_000).await;
    }
    run_all(client, [doc! {"drop": "away"}]).await;
    // What is not sharded takes the name of what was, and is taken by what is.
    rename(client, "plain", "rows", false).await;
    add_some(client, "rows", 1_000).await;
    rename(client, "taking", "rows", true).await;
    add_some(client, "rows", 1_100).await;
    rename(client, "taken", "gone", false).await;
    run_all(client, [doc! {"drop": "gone"}]).await;
}

struct Sides {
    source: ShardedCluster,
    target: ShardedCluster,
}

impl Sides {
    async fn start() -> Sides {
        let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
        Sides { source, target }
    }

    async fn engine(&self) -> Engine {
        Engine::start(&self.source.uri(), &self.target.uri(), &[]).await
    }

    async fn engine_to_crash(&self, place: &str) -> Engine {
        Engine::start_to_crash(&self.source.uri(), &self.target.uri(), &[], place).await
    }

    async fn end(&self, mut engine: Engine) {
        engine.until_ready().await;
        engine.cut_over().await;
        expect_equal(&self.source.uri(), &self.target.uri()).await;
    }
}

/// Writes to `busy` whatever it is called, without making it: its name may be free just now.
async fn write_on(client: Client, stop: Arc<AtomicBool>) {
    let mut count = 0_i32;
    while !stop.load(SeqCst) {
        for coll in ["busy", "busy by now"] {
            let names = client.database(DB).list_collection_names().await.unwrap();
            if names.iter().any(|name| name == coll) {
                let update = doc! {"q": {"_id": count % 200}, "u": {"$set": {"k": count}}};
                let update = doc! {"update": coll, "updates": [update]};
                // It may be renamed just now.
                let _ = client.database(DB).run_command(update).await;
                count += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_collections_are_renamed_while_they_are_copied_and_followed() {
    let sides = Sides::start().await;
    let client = sides.source.client().await.unwrap();
    before(&client).await;
    let rows = (1_000..9_000).map(|i| doc! {"_id": i, "note": "x".repeat(500)});
    let big = client.database(DB).collection::<Document>("big");
    big.insert_many(rows).await.unwrap();
    let mut engine = sides.engine().await;
    let begun = |now: &shardlift::observe::status::Snapshot| {
        matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
    };
    engine.until("copying", begun).await;
    rename(&client, "big", "bigger", false).await;
    add_some(&client, "bigger", 20_000).await;
    engine.until_ready().await;
    changes(&client).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write_on(client.clone(), stop.clone()));
    for _ in 0..3 {
        rename(&client, "busy", "busy by now", false).await;
        add_some(&client, "busy by now", 1_000).await;
        rename(&client, "busy by now", "busy", false).await;
        add_some(&client, "busy", 1_000).await;
    }
    stop.store(true, SeqCst);
    writer.await.unwrap();
    sides.end(engine).await;
}

/// After the rename, and after one pair has recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_renames_are_seen_after_crashes() {
    let sides = Sides::start().await;
    let client = sides.source.client().await.unwrap();
    before(&client).await;
    let mut engine = sides.engine_to_crash("renamed").await;
    engine.until_ready().await;
    rename(&client, "back", "back by now", false).await;
    engine.crashed().await;
    let engine = sides.engine_to_crash("rename-recorded").await;
    engine.crashed().await;
    rename(&client, "back by now", "back", false).await;
    let engine = sides.engine_to_crash("renamed").await;
    engine.crashed().await;
    let engine = sides.engine_to_crash("rename-recorded").await;
    engine.crashed().await;
    add_some(&client, "back", 2_000).await;
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    engine.kill();
    let mut engine = sides.engine_to_crash("rename-recorded").await;
    engine.until_ready().await;
    changes(&client).await;
    engine.crashed().await;
    let engine = sides.engine().await;
    sides.end(engine).await;
}

/// Each pair is told that it is made. Later another has that name first on the primary shard,
/// which is held up, and the collection only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_rename_made_before_a_crash_does_not_count_for_the_next_to_that_name() {
    let sides = Sides::start().await;
    let client = sides.source.client().await.unwrap();
    before(&client).await;
    let mut engine = sides.engine_to_crash("renamed").await;
    engine.until_ready().await;
    rename(&client, "rows", "renamed", false).await;
    engine.crashed().await;
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    rename(&client, "renamed", "rows", false).await;
    let shards = sides.target.shard_clients().await.unwrap();
    let mut session = locked(&shards, "plain").await;
    let index = doc! {"key": {"k": 1}, "name": "k"};
    run_all(
        &client,
        [doc! {"createIndexes": "plain", "indexes": [index]}],
    )
    .await;
    rename(&client, "plain", "renamed", false).await;
    rename(&client, "renamed", "plain", false).await;
    rename(&client, "rows", "renamed", false).await;
    add_some(&client, "renamed", 1_000).await;
    tokio::time::sleep(AHEAD).await;
    session.abort_transaction().await.unwrap();
    engine.until_ready().await;
    let engine = renamed_late(&sides, engine).await;
    sides.end(engine).await;
}

/// On the target, as by a router that comes back, and back again: the first write that names the
/// UUID is refused, and the next attempt goes on by the name that it finds.
async fn renamed_late(sides: &Sides, mut engine: Engine) -> Engine {
    let client = sides.source.client().await.unwrap();
    let target = sides.target.client().await.unwrap();
    rename(&target, "other", "late", false).await;
    add_some(&client, "other", 2_000).await;
    engine.until("recovering", |now| 0 < now.recoveries).await;
    engine.kill();
    rename(&target, "late", "other", false).await;
    add_some(&client, "other", 2_010).await;
    sides.engine().await
}

/// Of one shard of the target, which is held up, and of the engine then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_rename_that_is_half_made_is_waited_for() {
    let sides = Sides::start().await;
    let client = sides.source.client().await.unwrap();
    before(&client).await;
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    let shards = sides.target.shard_clients().await.unwrap();
    let mut session = locked(&shards, "rows").await;
    rename(&client, "rows", "renamed", false).await;
    while !has(&shards[0], "renamed").await && !has(&shards[1], "renamed").await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    engine.kill();
    rename(&client, "renamed", "rows", false).await;
    add_some(&client, "rows", 3_000).await;
    let mut engine = sides.engine().await;
    tokio::time::sleep(AHEAD).await;
    session.abort_transaction().await.unwrap();
    engine.until_ready().await;
    // One pair is held up by an index, and the other one is ahead.
    let mut session = locked(&shards, "rows").await;
    let index = doc! {"key": {"k": 1}, "name": "k"};
    run_all(
        &client,
        [doc! {"createIndexes": "rows", "indexes": [index]}],
    )
    .await;
    changes(&client).await;
    tokio::time::sleep(AHEAD).await;
    session.abort_transaction().await.unwrap();
    sides.end(engine).await;
}

/// Where writes cannot name a UUID.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_sharded_collection_stops_a_run_into_an_older_cluster_and_is_named() {
    let (source, target) = tokio::join!(cluster_of(of(5, 0)), cluster_of(of(5, 0)));
    let client = source.client().await.unwrap();
    run(&client, "admin", doc! {"enableSharding": "d"}).await;
    let shard = doc! {"shardCollection": "d.rows", "key": {"_id": "hashed"}};
    run(&client, "admin", shard).await;
    fill(&client, "rows", 100).await;
    let flags = ["--renames", "follow"];
    let (source, target) = (source.uri(), target.uri());
    a_rename_stops_the_run(&source, &target, &flags).await;
    add(&client, "others", 1_000).await;
    let recopy = [
        "recopy", "--ns", "d.others", "--source", &source, "--target", &target,
    ];
    let (code, text) = shardlift(&recopy, None).await;
    assert_eq!(code, Some(0), "{text}");
    let mut engine = Engine::start(&source, &target, &flags).await;
    engine.until_ready().await;
    add(&client, "others", 1_001).await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}
