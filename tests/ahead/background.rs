//! What the verification looks at by itself, and again, before any cutover.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_with_too_much_touched_is_compared_whole() {
    let pair = Pair::with(2_000).await;
    insert(&pair.source, "few", 0..100).await;
    let mut engine = pair.engine(&["--verify-touched-max", "50"]).await;
    until_verified(&mut engine).await;
    touch(&pair.source, 0..200).await;
    engine
        .until("short of room", |now| !now.sum().verified)
        .await;
    pair.until_target_has("many", doc! {"n": 1}, 200).await;
    // One whose id was forgotten, and one that was not touched.
    pair.tamper(3).await;
    pair.tamper(1_500).await;
    let reason = called_off(&mut engine).await;
    assert!(
        reason.contains(&differs(3)) && reason.contains(&differs(1_500)),
        "{reason}"
    );
    pair.mend(3).await;
    pair.mend(1_500).await;
    engine.request_cutover().await;
    let now = engine
        .until("cut over", |now| {
            now.is_final() || 1 < now.cutovers_given_up
        })
        .await;
    assert_eq!(now.phase, Phase::Done, "{:?}", now.warnings);
    assert_eq!(engine.end().await.summary["verified"]["documents"], 2_100);
    pair.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_touched_documents_are_looked_at_before_the_cutover() {
    let pair = Pair::with(4_000).await;
    let mut engine = pair.engine(&[]).await;
    until_verified(&mut engine).await;
    touch(&pair.source, 0..3_000).await;
    pair.until_target_has("many", doc! {"n": 1}, 3_000).await;
    engine
        .until("touched", |now| 1_000 < now.sum().documents_touched)
        .await;
    pair.tamper(5).await;
    // A document of another collection lets the tail move on: what was touched is old then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    insert(&pair.source, "few", 0..1).await;
    let few = |now: &Snapshot| is_verified(now) && now.sum().documents_touched < 10;
    engine.until("looked at again", few).await;
    let reason = called_off(&mut engine).await;
    assert!(
        reason.contains(&differs(5)),
        "what was different stayed: {reason}"
    );
    pair.mend(5).await;
    engine.request_cutover().await;
    engine.until("cut over", Snapshot::is_final).await;
    let rechecked = engine.end().await.summary["verified"]["documents_rechecked"]
        .as_u64()
        .unwrap();
    assert!(rechecked < 10, "{rechecked}");
    pair.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_cannot_be_read_keeps_no_other_from_being_looked_at_again() {
    let testing = ["--setParameter", "enableTestCommands=1"];
    let sets = tokio::join!(
        fixture::replica_set("a", &testing),
        fixture::replica_set("b", &[])
    );
    let pair = Pair::of(sets, 4_000).await;
    insert(&pair.source, "bad", 0..2_000).await;
    let mut engine = pair.engine(&[]).await;
    until_verified(&mut engine).await;
    let data = doc! {"failCommands": ["find"], "namespace": "d.bad", "appName": "shardlift verify", "errorCode": 2};
    run(
        &pair.source,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data},
    )
    .await;
    touch(&pair.source, 0..3_000).await;
    update(&pair.source, "bad", 0..500, doc! {"$inc": {"n": 1}}).await;
    pair.until_target_has("bad", doc! {"n": 1}, 500).await;
    engine
        .until("touched", |now| now.sum().documents_touched == 3_500)
        .await;
    // A document of another collection lets the tail move on: what was touched is old then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    insert(&pair.source, "few", 0..1).await;
    let others = |now: &Snapshot| now.sum().documents_touched < 510;
    engine.until("the others looked at again", others).await;
    run(
        &pair.source,
        "admin",
        doc! {"configureFailPoint": "failCommand", "mode": "off"},
    )
    .await;
    stopped(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_collection_is_verified_anew() {
    let pair = Pair::with(2_000).await;
    let mut engine = pair.engine(&[]).await;
    let now = until_verified(&mut engine).await;
    assert_eq!(now.sum().documents_verified, 2_000);
    run(&pair.source, DB, doc! {"drop": "many"}).await;
    insert(&pair.source, "many", 0..300).await;
    pair.until_target_has("many", doc! {}, 300).await;
    pair.tamper(5).await;
    let reason = called_off(&mut engine).await;
    assert!(reason.contains(&differs(5)), "{reason}");
    pair.mend(5).await;
    engine.request_cutover().await;
    let now = engine
        .until("cut over", |now| {
            now.is_final() || 1 < now.cutovers_given_up
        })
        .await;
    assert_eq!(now.phase, Phase::Done, "{:?}", now.warnings);
    engine.end().await;
    pair.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_run_under_the_full_load_is_verified_ahead() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    populate::populate(&PopulateArgs {
        docs: 3_000,
        ..PopulateArgs::new(source.uri())
    })
    .await
    .unwrap();
    let options = LoadOptions {
        rate: 300.0,
        connections: 4,
        mix: "all".parse().unwrap(),
        ..LoadOptions::new(source.uri())
    };
    let load = Load::start(options).await.unwrap();
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    let now = until_verified(&mut engine).await;
    assert!(
        now.pairs
            .iter()
            .all(|pair| pair.verified && 0 < pair.documents_verified),
        "{:?}",
        now.pairs
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop(load).await;
    let outcome = engine.cut_over().await;
    let report = &outcome.summary["verified"];
    assert!(
        report["equal"] == true && 0 < report["documents_ahead"].as_u64().unwrap(),
        "{report}"
    );
    assert!(
        0 < report["documents_rechecked"].as_u64().unwrap(),
        "{report}"
    );
    expect_equal(&source.uri(), &target.uri()).await;
}
