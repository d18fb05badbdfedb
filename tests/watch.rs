//! Chunks, primaries and balancers that move, or are moved, while a run goes on: on either
//! side the run stops or its cutover is refused, and never ends done with another target.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use loadgen::server::version::{self, Release};
use mongodb::Client;
use mongodb::options::WriteConcern;
use shardlift::cluster::catalog::versions;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, wipe};

mod balancers;

/// Orphans go after two seconds: a chunk may come back then.
pub(crate) async fn cluster() -> ShardedCluster {
    cluster_of(version::DEFAULT).await
}

pub(crate) async fn cluster_of(release: Release) -> ShardedCluster {
    let parameters = [("orphanCleanupDelaySecs", "2"), ("enableTestCommands", "1")];
    let options = ShardedOptions {
        release,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        set_parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options)
        .await
        .expect("a local sharded cluster starts")
}

/// `shop.c` by `k`: below 500 on shard0, the rest on shard1.
pub(crate) async fn fill(client: &Client) {
    run(
        client,
        "admin",
        doc! {"enableSharding": "shop", "primaryShard": "shard0"},
    )
    .await;
    run(
        client,
        "admin",
        doc! {"shardCollection": "shop.c", "key": {"k": 1}},
    )
    .await;
    run(
        client,
        "admin",
        doc! {"split": "shop.c", "middle": {"k": 500}},
    )
    .await;
    move_to(client, 500, "shard1").await;
    let rows = client.database("shop").collection::<Document>("c");
    rows.insert_many((0..1_000).map(|k| doc! {"_id": k, "k": k, "n": 0}))
        .await
        .unwrap();
}

pub(crate) async fn move_to(client: &Client, k: i32, to: &str) {
    run(
        client,
        "admin",
        doc! {"moveChunk": "shop.c", "find": {"k": k}, "to": to},
    )
    .await;
}

/// In the chunk of `k` below 500: one insert, one update, one delete.
pub(crate) async fn write(client: &Client) {
    let rows = client.database("shop").collection::<Document>("c");
    rows.insert_one(doc! {"_id": 2_000, "k": 10}).await.unwrap();
    rows.update_one(doc! {"k": 20}, doc! {"$inc": {"n": 1}})
        .await
        .unwrap();
    rows.delete_one(doc! {"k": 30}).await.unwrap();
}

async fn verified(engine: &mut Engine) {
    engine
        .until("ready and verified", |now| {
            now.phase == Phase::Ready && now.pairs.iter().all(|pair| pair.verified)
        })
        .await;
}

pub(crate) async fn expect_stopped(engine: Engine, what: &str) {
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 6, "{what}");
    assert!(
        log.contains(what) && log.contains("keep the balancers off"),
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_moved_on_the_target_stops_the_run() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    verified(&mut engine).await;
    move_to(&b, 10, "shard1").await;
    write(&a).await;
    // Before the next look: so the cutover itself finds it.
    let _ = engine.ask_for_cutover().await;
    expect_stopped(engine, "owners of shop.c changed on the target").await;
    // Taken up again it finds the same.
    let engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    expect_stopped(engine, "owners of shop.c changed on the target").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_moved_away_and_back_stops_the_run_on_either_side() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a).await;
    for (side, moving, while_up) in [
        ("source", &a, true),
        ("target", &b, true),
        ("source", &a, false),
        ("target", &b, false),
    ] {
        let mut engine = Engine::start(&source.uri(), &target.uri(), &["--restart"]).await;
        verified(&mut engine).await;
        let up = if while_up {
            Some(engine)
        } else {
            engine.signal("TERM");
            assert_eq!(engine.end().await.code, 130);
            None
        };
        move_to(moving, 10, "shard1").await;
        write(&a).await;
        move_to(moving, 10, "shard0").await;
        let rows = a.database("shop").collection::<Document>("c");
        rows.delete_one(doc! {"_id": 2_000}).await.unwrap();
        let engine = match up {
            Some(engine) => {
                let _ = engine.ask_for_cutover().await;
                engine
            }
            None => Engine::start(&source.uri(), &target.uri(), &[]).await,
        };
        expect_stopped(engine, &format!("owners of shop.c changed on the {side}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_cannot_look_holds_the_cutover_back_and_goes_on_by_itself() {
    let (mut source, mut target) = tokio::join!(cluster(), cluster());
    let a = source.client().await.unwrap();
    fill(&a).await;
    let mut engine =
        Engine::start(&source.uri(), &target.uri(), &["--server-timeout-s", "2"]).await;
    verified(&mut engine).await;
    for on_source in [true, false] {
        let cluster = if on_source { &mut source } else { &mut target };
        cluster.stop_router();
        let blind = |text: &String| text.contains("cannot tell now whether chunks move");
        engine
            .until("blind", |now| {
                now.obstacles.iter().any(blind) && !now.can_cutover
            })
            .await;
        assert!(
            engine
                .ask_for_cutover()
                .await
                .expect_err("it is not ready")
                .contains("cannot tell now")
        );
        let cluster = if on_source { &mut source } else { &mut target };
        cluster.start_router().await.unwrap();
        engine
            .until("ready again", |now| {
                now.phase == Phase::Ready && now.obstacles.is_empty()
            })
            .await;
    }
    write(&source.client().await.unwrap()).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gives_no_document_another_owner_is_no_change() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a).await;
    run(
        &a,
        "admin",
        doc! {"shardCollection": "shop.one", "key": {"k": 1}},
    )
    .await;
    let one = a.database("shop").collection::<Document>("one");
    one.insert_many((0..20).map(|k| doc! {"_id": k, "k": k}))
        .await
        .unwrap();
    // Orphans of a move before the run, which are cleaned up while it goes on.
    move_to(&a, 10, "shard1").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    for client in [&a, &b] {
        run(
            client,
            "admin",
            doc! {"split": "shop.c", "middle": {"k": 250}},
        )
        .await;
        run(
            client,
            "admin",
            doc! {"split": "shop.c", "middle": {"k": 300}},
        )
        .await;
        run(
            client,
            "admin",
            doc! {"mergeChunks": "shop.c", "bounds": [{"k": Bson::MinKey}, {"k": 300}]},
        )
        .await;
    }
    clear_jumbo(&source).await;
    // A migration to a shard that does not have the collection yet, and that fails.
    let recipient = source.shards()[1].client().await.unwrap();
    let fail = |mode: &str| doc! {"configureFailPoint": "failMigrationOnRecipient", "mode": mode};
    run(&recipient, "admin", fail("alwaysOn")).await;
    let chunk = doc! {"moveChunk": "shop.one", "find": {"k": 1}, "to": "shard1"};
    a.database("admin")
        .run_command(chunk)
        .await
        .expect_err("it fails while it is on");
    run(&recipient, "admin", fail("off")).await;
    one.update_one(doc! {"k": 5}, doc! {"$set": {"n": 1}})
        .await
        .unwrap();
    one.delete_one(doc! {"_id": 3}).await.unwrap();
    write(&a).await;
    let orphans = source.shards()[0]
        .client()
        .await
        .unwrap()
        .database("config")
        .collection::<Document>("rangeDeletions");
    while orphans.count_documents(doc! {}).await.unwrap() != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Of a chunk of `shop.c`, which counts the chunk version on as a move does.
async fn clear_jumbo(cluster: &ShardedCluster) {
    let config = cluster.config().client().await.unwrap();
    let row = config
        .database("config")
        .collection::<Document>("collections");
    let row = row.find_one(doc! {"_id": "shop.c"}).await.unwrap().unwrap();
    let chunks = config.database("config").collection::<Document>("chunks");
    let of = doc! {"uuid": row.get("uuid").unwrap()};
    let major = async || {
        let newest = chunks
            .find_one(of.clone())
            .sort(doc! {"lastmod": -1})
            .await
            .unwrap()
            .unwrap();
        newest.get_timestamp("lastmod").unwrap().time
    };
    let before = major().await;
    let chunk = chunks
        .find_one(of.clone())
        .sort(doc! {"min": 1})
        .await
        .unwrap()
        .unwrap();
    chunks
        .update_one(
            doc! {"_id": chunk.get("_id").unwrap()},
            doc! {"$set": {"jumbo": true}},
        )
        .await
        .unwrap();
    let command = doc! {
        "_configsvrClearJumboFlag": "shop.c", "epoch": row.get("lastmodEpoch").unwrap(),
        "minKey": chunk.get("min").unwrap(), "maxKey": chunk.get("max").unwrap(), "writeConcern": {"w": "majority"},
    };
    run(&config, "admin", command).await;
    assert_eq!(major().await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_moves_stops_the_run() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let a = source.client().await.unwrap();
    fill(&a).await;
    fixture::insert(&a, "shop", "unsharded").await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    verified(&mut engine).await;
    run(&a, "admin", doc! {"movePrimary": "shop", "to": "shard1"}).await;
    let _ = engine.ask_for_cutover().await;
    expect_stopped(
        engine,
        "the primary shard of database shop moved on the source",
    )
    .await;
}

/// With thousands of chunks a look reads about as many rows as there are collections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_reads_no_chunks() {
    let cluster = cluster().await;
    let client = cluster.client().await.unwrap();
    const CHUNKS: i32 = 2_000;
    run(
        &client,
        "admin",
        doc! {"shardCollection": "d.c", "key": {"h": "hashed"}, "numInitialChunks": CHUNKS},
    )
    .await;
    let side = fixture::source(&cluster.uri()).await;
    let config = cluster.config().client().await.unwrap();
    let examined = async || {
        let status = run(&config, "admin", doc! {"serverStatus": 1}).await;
        let executor = status
            .get_document("metrics")
            .unwrap()
            .get_document("queryExecutor")
            .unwrap();
        executor.get_i64("scanned").unwrap() + executor.get_i64("scannedObjects").unwrap()
    };
    let before = examined().await;
    let versions = versions::read(&side).await.unwrap();
    let looked_at = examined().await - before;
    let rows: Vec<_> = versions.collections.into_values().collect();
    let [row] = &rows[..] else {
        panic!("one collection is sharded: {rows:?}")
    };
    assert_eq!((row.ns.to_string().as_str(), row.major), ("d.c", 1));
    assert!(looked_at < i64::from(CHUNKS) / 2, "{looked_at}");
}
