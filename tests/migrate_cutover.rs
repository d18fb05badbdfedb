//! The end of a migration: cutovers that are called off, runs that are stopped,
//! writes that come too late.

use bson::{Document, doc};
use loadgen::cluster::ShardedCluster;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use mongodb::Client;
use shardlift::observe::phase::Phase;

use crate::engine::Engine;
use crate::fixture;
use crate::migrate::{expect_equal, stop, wipe};
use crate::recorded::shardlift;

const DOCS: u64 = 3_000;

async fn fill(uri: &str) {
    populate::populate(&PopulateArgs {
        docs: DOCS,
        ..PopulateArgs::new(uri)
    })
    .await
    .unwrap();
}

fn load_options(uri: &str) -> LoadOptions {
    LoadOptions {
        rate: 500.0,
        connections: 4,
        ..LoadOptions::new(uri)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_is_called_off_while_writes_go_on_and_succeeds_when_they_stop() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    fill(&source.uri()).await;
    let load = Load::start(load_options(&source.uri())).await.unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    for given_up in 1..=2 {
        engine.request_cutover().await;
        let now = engine
            .until("called off", |now| given_up <= now.cutovers_given_up)
            .await;
        assert_eq!(now.cutovers_given_up, given_up);
        assert!(
            matches!(now.phase, Phase::Ready | Phase::Following),
            "{}",
            now.phase
        );
        assert!(
            now.last_cutover
                .as_ref()
                .unwrap()
                .contains("called off: writes to"),
            "{now:?}"
        );
    }
    stop(load).await;
    engine.request_cutover().await;
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 0);
    expect_equal(&source.uri(), &target.uri()).await;
}

async fn balancer_mode(client: &Client) -> String {
    let status = fixture::run(client, "admin", doc! {"balancerStatus": 1}).await;
    status.get_str("mode").unwrap().to_owned()
}

async fn set_balancer(client: &Client, on: bool) {
    let command = if on { "balancerStart" } else { "balancerStop" };
    fixture::run(client, "admin", doc! {command: 1}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_are_off_until_a_run_is_over_and_then_put_back_as_found() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    fill(&source.uri()).await;
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    for (signal, source_on, target_on) in [("TERM", true, false), ("INT", false, true)] {
        set_balancer(&a, source_on).await;
        set_balancer(&b, target_on).await;
        let found = (balancer_mode(&a).await, balancer_mode(&b).await);
        let off = ("off".to_owned(), "off".to_owned());

        // A signal: the run will go on, chunks must not move until then.
        let load = Load::start(load_options(&source.uri())).await.unwrap();
        let engine = moving(&source, &target).await;
        assert_eq!((balancer_mode(&a).await, balancer_mode(&b).await), off);
        engine.signal(signal);
        let stopped = engine.end().await;
        assert_eq!(stopped.code, 130);
        assert!(
            stopped.log.text().contains("the balancers stay off"),
            "{}",
            stopped.log.text()
        );
        assert_eq!((balancer_mode(&a).await, balancer_mode(&b).await), off);

        // Given up: as the first process found them.
        let engine = moving(&source, &target).await;
        engine.cancel().await;
        assert_eq!(engine.end().await.code, 130);
        assert_eq!((balancer_mode(&a).await, balancer_mode(&b).await), found);
        stop(load).await;

        let mut engine = Engine::start(&source.uri(), &target.uri(), &["--restart"]).await;
        engine.until_ready().await;
        engine.cut_over().await;
        assert_eq!((balancer_mode(&a).await, balancer_mode(&b).await), found);
        expect_equal(&source.uri(), &target.uri()).await;
        wipe(&b).await;
    }
}

async fn moving(source: &ShardedCluster, target: &ShardedCluster) -> Engine {
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine
        .until("moving data", |now| {
            matches!(now.phase, Phase::Copying | Phase::Following | Phase::Ready)
        })
        .await;
    engine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_after_the_cutover_is_reported_and_not_applied() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&a, "shop", "orders").await;
    let mut engine = Engine::start(
        &source.uri(),
        &target.uri(),
        &["--grace-s", "4", "--cutover", "auto"],
    )
    .await;
    engine
        .until("cut over", |now| now.phase == Phase::Done)
        .await;
    expect_equal(&source.uri(), &target.uri()).await;
    fixture::insert(&a, "shop", "orders").await;
    fixture::run(&a, "shop", doc! {"create": "late"}).await;
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.summary["late_writes"], 1);
    let warnings = outcome.summary["warnings"].to_string();
    assert!(
        warnings.contains("LATE WRITE") && warnings.contains("shop."),
        "{warnings}"
    );
    let orders = b.database("shop").collection::<Document>("orders");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
    assert_eq!(
        b.database("shop").list_collection_names().await.unwrap(),
        ["orders"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_whose_target_is_gone_says_what_is_not_put_back() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (a, source, target_uri) = (source.client().await.unwrap(), source.uri(), target.uri());
    fixture::insert(&a, "shop", "orders").await;
    set_balancer(&a, true).await;
    let spool = tempfile::tempdir().unwrap();
    let spool = spool.path().to_str().unwrap();
    let mut engine = Engine::start(
        &source,
        &target_uri,
        &["--spool-dir", spool, "--server-timeout-s", "2"],
    )
    .await;
    engine.until_ready().await;
    let run_id = engine.status().await.unwrap().run_id;
    drop(target);
    let told = engine
        .ask_to_cancel()
        .await
        .expect_err("it cannot be cancelled")
        .to_string();
    for part in [
        "NOT recorded as cancelled",
        "no balancer was restored",
        "was on",
        "sh.startBalancer()",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let ended = engine.end().await;
    assert_eq!(ended.code, 130);
    assert_eq!(
        balancer_mode(&a).await,
        "off",
        "the run may go on when the target is back"
    );
    // No process is left, and the target, which has it recorded, is gone.
    for (dir, known) in [(spool, true), ("/nowhere", false)] {
        let sides = [
            "--source",
            &source,
            "--target",
            &target_uri,
            "--server-timeout-s",
            "2",
            "--api-port",
            "1",
        ];
        let arguments = [&["cancel", "--spool-dir", dir][..], &sides].concat();
        let (code, text) = crate::recorded::shardlift(&arguments, None).await;
        assert_eq!(code, Some(3), "{text}");
        assert!(
            text.contains("nothing is cancelled") && text.contains("sh.startBalancer()"),
            "{text}"
        );
        assert_eq!(
            text.contains(&run_id) && text.contains("was on"),
            known,
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_start_removes_the_lease_of_one_that_died_at_its_very_end() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let mut engine = Engine::start_to_crash(&from, &to, &[], "cutover-removed").await;
    engine.until_ready().await;
    engine.request_cutover().await;
    engine.crashed().await;
    let b = target.client().await.unwrap();
    let names = b.list_database_names().await.unwrap();
    assert!(names.contains(&"__shardlift".to_owned()), "{names:?}");

    let again = [
        "migrate",
        "--source",
        &from,
        "--target",
        &to,
        "--api-port",
        "0",
    ];
    let (code, text) = shardlift(&again, None).await;
    assert!(
        code == Some(4) && text.contains("target is empty"),
        "{text}"
    );
    let names = b.list_database_names().await.unwrap();
    assert!(!names.contains(&"__shardlift".to_owned()), "{names:?}");
    expect_equal(&from, &to).await;
}
