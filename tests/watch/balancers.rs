//! Balancers, and what matters to them.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_somebody_starts_holds_the_cutover_back_until_it_is_off() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    verified(&mut engine).await;
    for (side, client) in [("source", &a), ("target", &b)] {
        let found = format!("the balancer of the {side} is on");
        run(client, "admin", doc! {"balancerStart": 1}).await;
        // It begins, for nobody has looked yet, and is called off; or is refused by then.
        let before = engine.status().await.unwrap().cutovers_given_up;
        if engine.ask_for_cutover().await.is_ok() {
            let now = engine
                .until("called off", |now| before < now.cutovers_given_up)
                .await;
            assert!(
                now.last_cutover
                    .as_ref()
                    .is_some_and(|why| why.contains(&found)),
                "{:?}",
                now.last_cutover
            );
        }
        let told = |now: &Snapshot| now.obstacles.iter().any(|text| text.contains(&found));
        engine
            .until("held back", |now| told(now) && !now.can_cutover)
            .await;
        let refused = engine.ask_for_cutover().await.expect_err("it is not ready");
        assert!(
            refused.contains(&found) && refused.contains("sh.stopBalancer()"),
            "{refused}"
        );
        run(client, "admin", doc! {"balancerStop": 1}).await;
        engine.until_ready().await;
    }
    write(&a).await;
    engine.request_cutover().await;
    assert_eq!(engine.end().await.code, 0);
    expect_equal(&source.uri(), &target.uri()).await;
}

/// Marks shard1 as one that is being removed, or takes that back. With the balancer off
/// nothing leaves it yet.
async fn drain(cluster: &ShardedCluster, on: bool) {
    let config = cluster.config().client().await.unwrap().database("config");
    let shards = config.collection::<Document>("shards");
    let change = if on {
        doc! {"$set": {"draining": true}}
    } else {
        doc! {"$unset": {"draining": 1}}
    };
    let one = shards.update_one(doc! {"_id": "shard1"}, change);
    let updated = one.write_concern(WriteConcern::majority()).await.unwrap();
    assert_eq!(updated.modified_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_being_removed_holds_the_cutover_back_until_it_stays() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let a = source.client().await.unwrap();
    fill(&a).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    verified(&mut engine).await;
    for (side, cluster) in [("source", &source), ("target", &target)] {
        let found = format!("{side} shard shard1 is being removed");
        drain(cluster, true).await;
        let told = |now: &Snapshot| now.obstacles.iter().any(|text| text.contains(&found));
        engine
            .until("held back", |now| told(now) && !now.can_cutover)
            .await;
        let refused = engine.ask_for_cutover().await.expect_err("it is not ready");
        assert!(
            refused.contains(&found) && refused.contains("draining: 1"),
            "{refused}"
        );
        drain(cluster, false).await;
        engine.until_ready().await;
    }
    write(&a).await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
}

/// The rows of `config.settings`, by `_id`, as they lie.
async fn settings(cluster: &ShardedCluster) -> Vec<RawDocumentBuf> {
    let config = cluster.config().client().await.unwrap();
    let rows = config
        .database("config")
        .collection::<RawDocumentBuf>("settings");
    rows.find(doc! {})
        .sort(doc! {"_id": 1})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

/// The rows are those that somebody has set before the run.
async fn settings_come_back(release: Release, rows: &[&[Document]]) {
    let (source, target) = tokio::join!(cluster_of(release), cluster_of(release));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a).await;
    for rows in rows {
        for cluster in [&source, &target] {
            let config = cluster.config().client().await.unwrap();
            let settings = config.database("config").collection::<Document>("settings");
            // The engine reads what a majority has.
            settings
                .delete_many(doc! {})
                .write_concern(WriteConcern::majority())
                .await
                .unwrap();
            for row in *rows {
                settings
                    .insert_one(row)
                    .write_concern(WriteConcern::majority())
                    .await
                    .unwrap();
            }
        }
        let before = (settings(&source).await, settings(&target).await);
        let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
        engine.until_ready().await;
        for client in [&a, &b] {
            assert_eq!(
                run(client, "admin", doc! {"balancerStatus": 1})
                    .await
                    .get_str("mode")
                    .unwrap(),
                "off"
            );
        }
        engine.cancel().await;
        assert_eq!(engine.end().await.code, 130);
        assert_eq!(
            (settings(&source).await, settings(&target).await),
            before,
            "after a cancel"
        );
        let mut engine = Engine::start(&source.uri(), &target.uri(), &["--restart"]).await;
        engine.until_ready().await;
        engine.cut_over().await;
        assert_eq!(
            (settings(&source).await, settings(&target).await),
            before,
            "after a cutover"
        );
        wipe(&b).await;
    }
}

/// A balancer that is on, with its hours, and automatic splits that are not.
fn on_without_splits() -> [Document; 3] {
    [
        doc! {"_id": "balancer", "stopped": false, "mode": "full", "activeWindow": {"start": "1:00", "stop": "2:00"}},
        doc! {"_id": "autosplit", "enabled": false},
        doc! {"_id": "chunksize", "value": 64},
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_stopping_a_balancer_changes_is_as_it_was_when_the_run_is_over() {
    let rows: [&[Document]; 4] = [
        &[],
        &on_without_splits(),
        &[
            doc! {"_id": "balancer", "stopped": true},
            doc! {"_id": "autosplit", "enabled": true},
        ],
        &[doc! {"_id": "balancer", "mode": "off", "stopped": true}],
    ];
    settings_come_back(version::DEFAULT, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn automatic_splits_of_4_4_are_as_they_were_when_the_run_is_over() {
    settings_come_back("4.4".parse().unwrap(), &[&on_without_splits()]).await;
}

/// The commands that a text names for the case that the target is gone.
fn commands(told: &str) -> Vec<&str> {
    let (_, gone) = told.split_once("if it is gone for good").expect("it says");
    gone.split('`').skip(1).step_by(2).collect()
}

/// Types one of them.
async fn type_in(router: &Client, command: &str) {
    if command == "sh.startBalancer()" {
        run(router, "admin", doc! {"balancerStart": 1}).await;
        return;
    }
    let json = command
        .strip_prefix("db.getSiblingDB(\"config\").runCommand(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("{command}"));
    run(router, "config", serde_json::from_str(json).unwrap()).await;
}

/// The target goes for good: what is named then puts the source's balancer back as found.
async fn put_back_by_hand(rows: &[Document], state: &str) {
    let release: Release = "4.4".parse().unwrap();
    let (source, target) = tokio::join!(cluster_of(release), cluster_of(release));
    let a = source.client().await.unwrap();
    fill(&a).await;
    let config = source.config().client().await.unwrap();
    let config = config.database("config");
    config
        .collection::<Document>("settings")
        .insert_many(rows)
        .write_concern(WriteConcern::majority())
        .await
        .unwrap();
    let before = settings(&source).await;
    let (from, to) = (source.uri(), target.uri());
    let spool = tempfile::tempdir().unwrap();
    let spool = spool.path().to_str().unwrap();
    let flags = ["--spool-dir", spool, "--server-timeout-s", "2"];
    let mut engine = Engine::start(&from, &to, &flags).await;
    engine.until_ready().await;
    let log = engine.log().text();
    let found = format!("balancers as the run found them: source {state}");
    assert!(log.contains(&found) && log.contains("kept in"), "{log}");
    drop(target);
    let by_process = engine.ask_to_cancel().await;
    let by_process = by_process.expect_err("it cannot be recorded").to_string();
    assert_eq!(engine.end().await.code, 130);
    let cancel = [
        &[
            "cancel",
            "--source",
            &from,
            "--target",
            &to,
            "--api-port",
            "1",
        ][..],
        &flags,
    ]
    .concat();
    let (code, text) = crate::recorded::shardlift(&cancel, None).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains(&format!("the source's was {state}")),
        "{text}"
    );
    let named = commands(&text);
    assert_eq!(commands(&by_process), named);
    assert!(!named.is_empty(), "{text}");
    assert_ne!(settings(&source).await, before, "the run has stopped it");
    for command in named {
        type_in(&a, command).await;
    }
    assert_eq!(settings(&source).await, before, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_target_a_balancer_of_4_4_is_put_back_with_auto_split_off() {
    put_back_by_hand(&on_without_splits(), "on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_target_a_balancer_of_4_4_is_put_back_in_its_third_mode() {
    let row = doc! {"_id": "balancer", "mode": "autoSplitOnly", "stopped": false};
    put_back_by_hand(&[row], "in mode autoSplitOnly").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_travel_and_matters_to_the_balancer_is_told_by_name() {
    let (source, target) = tokio::join!(cluster(), cluster());
    let a = source.client().await.unwrap();
    fill(&a).await;
    run(
        &a,
        "admin",
        doc! {"configureCollectionBalancing": "shop.c", "chunkSize": 32},
    )
    .await;
    let config = source.config().client().await.unwrap().database("config");
    let pin = doc! {"$set": {"noBalance": true}};
    config
        .collection::<Document>("collections")
        .update_one(doc! {"_id": "shop.c"}, pin)
        .await
        .unwrap();
    config
        .collection::<Document>("settings")
        .insert_one(doc! {"_id": "chunksize", "value": 64})
        .await
        .unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let warnings = engine.status().await.unwrap().warnings.join("\n");
    for part in [
        "balancing is disabled on the source for shop.c",
        "chunk size of their own is set on the source for shop.c",
        "chunksize.value",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
}
