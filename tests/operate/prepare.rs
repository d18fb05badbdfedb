//! Before and at the cutover: who still writes, and writes that the source itself refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use mongodb::Client;
use mongodb::options::ClientOptions;
use shardlift::control::write_block;
use shardlift::observe::phase::Phase;
use shardlift::observe::prepared::Prepared;
use shardlift::observe::status::Snapshot;

use super::throttle::lock;
use super::{command, output};
use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

/// An application that writes until its writes are refused for good.
#[derive(Default)]
pub(super) struct Till {
    written: AtomicU64,
    pub(super) refused: AtomicBool,
    pub(super) closed: AtomicBool,
}

impl Till {
    pub(super) async fn open(uri: &str) -> (Arc<Till>, tokio::task::JoinHandle<()>) {
        let mut options = ClientOptions::parse(uri).await.unwrap();
        options.app_name = Some("till".to_owned());
        let client = Client::with_options(options).unwrap();
        let till: Arc<Till> = Arc::default();
        let working = tokio::spawn(work(till.clone(), client));
        (till, working)
    }

    async fn writes_again(&self) {
        let before = self.written.load(Relaxed);
        while self.written.load(Relaxed) <= before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn work(till: Arc<Till>, client: Client) {
    let orders = client.database("shop").collection::<Document>("orders");
    while !till.closed.load(Relaxed) {
        match orders.insert_one(doc! {"x": 1}).await {
            Ok(_) => drop(till.written.fetch_add(1, Relaxed)),
            Err(e) => {
                assert!(e.to_string().contains("blocked"), "{e}");
                till.refused.store(true, Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_who_writes_and_the_source_refuses_writes_only_for_a_cutover_that_is_done() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&a, "shop", "orders").await;
    let flags = ["--verify", "full"];
    let place = "cutover-proven";
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;
    let (till, working) = Till::open(&source.uri()).await;
    let mut session = a.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let open = a.database("shop").collection::<Document>("open");
    fixture::run(&a, "shop", doc! {"create": "open"}).await;
    open.insert_one(doc! {})
        .session(&mut session)
        .await
        .unwrap();
    till.writes_again().await;

    let told: Prepared = serde_json::from_str(&command(&engine, &["prepare", "--json"])).unwrap();
    let shard = &told.shards[0];
    assert_eq!(shard.writes[0].ns, "shop.orders", "{told:?}");
    assert!(0.0 < shard.writes[0].ops_per_s, "{told:?}");
    assert!(
        shard
            .open
            .iter()
            .any(|open| open.starts_with("a transaction, for ")),
        "{told:?}"
    );
    assert!(told.takes_s.is_some_and(|s| s < 60.0), "{told:?}");
    let text = command(&engine, &["prepare"]);
    assert!(text.contains("a → b: gap 0:0"), "{text}");
    assert!(
        text.contains("stop your applications: shop.orders is still written to"),
        "{text}"
    );
    assert!(!text.contains("@"), "no credentials: {text}");

    // A cutover that waits says for whom.
    engine.request_cutover().await;
    let waits = |now: &Snapshot| {
        now.obstacles
            .iter()
            .any(|o| o.contains("(a transaction, for "))
    };
    engine.until("waiting", waits).await;
    session.abort_transaction().await.unwrap();
    engine
        .until("called off", |now| now.cutovers_given_up == 1)
        .await;

    // A difference: writes are refused, and taken again once it is called off.
    fixture::insert(&b, "shop", "orders").await;
    let told = output(&engine, &["cutover", "--block-writes"]);
    assert_ne!(told.status.code(), Some(0), "they differ");
    assert!(till.refused.swap(false, Relaxed));
    till.writes_again().await;
    let own = doc! {"delete": "orders", "deletes": [{"q": {"x": 1, "own": {"$exists": false}}, "limit": 0}]};
    till.closed.store(true, Relaxed);
    working.await.unwrap();
    // On both sides alike: the source's deletes follow.
    for client in [&b, &a] {
        fixture::run(client, "shop", own.clone()).await;
    }
    engine.signal("TERM");
    engine.end().await;

    // A crash while writes are refused: the next start takes it back.
    let mut engine = Engine::start_to_crash(&source.uri(), &target.uri(), &flags, place).await;
    engine.until_ready().await;
    output(&engine, &["cutover", "--block-writes", "--no-wait"]);
    let _log = engine.crashed().await;
    let orders = a.database("shop").collection::<Document>("orders");
    assert!(
        orders.insert_one(doc! {}).await.is_err(),
        "writes are refused"
    );
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;
    orders.insert_one(doc! {}).await.unwrap();

    // Once it is done they stay refused.
    let told = output(&engine, &["cutover", "--block-writes"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert_eq!(engine.end().await.code, 0);
    assert!(
        orders.insert_one(doc! {}).await.is_err(),
        "writes are refused"
    );
    expect_equal(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_of_no_writes_to_what_filters_leave_out() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    fixture::insert(&a, "other", "x").await;
    let flags = ["--include", "shop.*"];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;
    let outside = tokio::spawn(async move {
        loop {
            fixture::insert(&a, "other", "x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let prepared =
        || -> Prepared { serde_json::from_str(&command(&engine, &["prepare", "--json"])).unwrap() };
    let quiet = prepared();
    assert!(quiet.shards[0].writes.is_empty(), "{quiet:?}");
    let stop = "stop your applications: no writes are seen now";
    assert!(quiet.steps.iter().any(|step| step == stop), "{quiet:?}");

    let (till, working) = Till::open(&source.uri()).await;
    till.writes_again().await;
    let told = prepared();
    let writes = told.shards[0].writes.iter();
    let written: Vec<&str> = writes.map(|writes| writes.ns.as_str()).collect();
    assert_eq!(written, ["shop.orders"], "{told:?}");
    till.closed.store(true, Relaxed);
    working.await.unwrap();
    outside.abort();
    let _ = outside.await;
    engine.cut_over().await;
}

/// Whether each shard refuses users' writes, by its own word.
async fn blocked(cluster: &ShardedCluster) -> Vec<bool> {
    let mut blocked = Vec::new();
    for shard in cluster.shard_clients().await.unwrap() {
        let status = fixture::run(&shard, "admin", doc! {"serverStatus": 1, "repl": 1}).await;
        blocked.push(write_block::blocks(&status));
    }
    blocked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shard_of_a_source_refuses_writes_only_for_a_cutover_that_is_done() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let spread = doc! {"shardCollection": "shop.orders", "key": {"_id": "hashed"}};
    fixture::run(&a, "admin", spread).await;
    let documents: Vec<Document> = (0..40).map(|i| doc! {"_id": i}).collect();
    let insert = doc! {"insert": "orders", "documents": documents};
    fixture::run(&a, "shop", insert).await;
    let flags = ["--verify", "full"];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;
    engine.until_ready().await;

    let (till, working) = Till::open(&source.uri()).await;
    till.writes_again().await;
    let own = doc! {"insert": "orders", "documents": [{"_id": "own"}]};
    fixture::run(&b, "shop", own).await;
    let told = output(&engine, &["cutover", "--block-writes"]);
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(4), "they differ: {text}");
    assert!(till.refused.swap(false, Relaxed), "{text}");
    assert_eq!(blocked(&source).await, [false, false]);
    till.writes_again().await;
    till.closed.store(true, Relaxed);
    working.await.unwrap();
    let own = doc! {"q": {"_id": "own"}, "limit": 1};
    let delete = doc! {"delete": "orders", "deletes": [own]};
    fixture::run(&b, "shop", delete).await;

    engine.until_ready().await;
    let told = output(&engine, &["cutover", "--block-writes"]);
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert_eq!(engine.end().await.code, 0);
    assert_eq!(blocked(&source).await, [true, true]);
    assert_eq!(blocked(&target).await, [false, false]);
    expect_equal(&source.uri(), &target.uri()).await;
}

/// A source whose majority stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_within_seconds_what_it_waits_for() {
    let options = loadgen::cluster::ReplicaSetOptions {
        name: "a".to_owned(),
        members: 3,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        ..loadgen::cluster::ReplicaSetOptions::default()
    };
    let (source, target) = tokio::join!(
        loadgen::cluster::ReplicaSet::start(options),
        fixture::replica_set("b", &[])
    );
    let source = source.unwrap();
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    let primary = source.primary().await.unwrap();
    let secondaries = [(primary + 1) % 3, (primary + 2) % 3];
    // One that has no stable state yet refuses the lock.
    for _ in 0..3 {
        let everywhere = doc! {"insert": "orders", "documents": [{}], "writeConcern": {"w": 3}};
        fixture::run(&a, "shop", everywhere).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for member in secondaries {
        lock(&source, member, true).await;
    }
    let writing = tokio::spawn(async move {
        for _ in 0.. {
            fixture::run(&a, "shop", doc! {"insert": "orders", "documents": [{}]}).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let told = |now: &Snapshot| {
        now.waiting
            .as_ref()
            .is_some_and(|waits| waits.contains("member 127.0.0.1"))
    };
    let now = engine.until("told", told).await;
    assert!(
        now.phase != Phase::Ready && now.table().contains("waits for "),
        "{now:?}"
    );
    for member in secondaries {
        lock(&source, member, false).await;
    }
    writing.abort();
    let _ = writing.await;
    engine.until_ready().await;
    assert_eq!(engine.status().await.unwrap().waiting, None);
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}
