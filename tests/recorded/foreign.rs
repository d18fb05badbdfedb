//! Commands that meet a run of other deployments, or the process of another run.

use super::*;

/// The run recorded on one target, copied to another with all of its state.
async fn copy_state(from: &Client, to: &Client) {
    for name in from
        .database(DATABASE)
        .list_collection_names()
        .await
        .unwrap()
    {
        if name != "lease" {
            let all = from
                .database(DATABASE)
                .collection::<Document>(&name)
                .find(doc! {})
                .await
                .unwrap();
            let all: Vec<Document> = all.try_collect().await.unwrap();
            to.database(DATABASE)
                .collection::<Document>(&name)
                .insert_many(all)
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_between_the_deployments_it_was_begun_with_only() {
    let set = |name| fixture::replica_set(name, &[]);
    let (a, b, other_a, other_b) = tokio::join!(set("a"), set("b"), set("a"), set("b"));
    let (source, target, other_source, other_target) =
        (a.uri(), b.uri(), other_a.uri(), other_b.uri());
    fixture::insert(&a.client().await.unwrap(), "d", "c").await;
    fixture::insert(&other_a.client().await.unwrap(), "d", "c").await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();
    copy_state(&b.client().await.unwrap(), &other_b.client().await.unwrap()).await;

    for (source, target, found) in [
        (&other_source, &target, "the source is not that of run"),
        (&source, &other_target, "the target is not that of run"),
    ] {
        for words in [
            &["migrate"][..],
            &["migrate", "--restart"],
            &["cancel", "--api-port", "1"],
            &["recopy", "--shard", "a"],
        ] {
            let sides = ["--source", source.as_str(), "--target", target.as_str()];
            let (code, text) = shardlift(&[words, &sides].concat(), None).await;
            assert!(
                code == Some(4) && text.contains(found),
                "{words:?}: {code:?} {text}"
            );
        }
    }
    // Given up, it may be wiped for another source.
    let sides = ["--source", source.as_str(), "--target", target.as_str()];
    let (code, text) =
        shardlift(&[&["cancel", "--api-port", "1"][..], &sides].concat(), None).await;
    assert_eq!(code, Some(0), "{text}");
    let mut engine = Engine::start(&other_source, &target, &["--restart"]).await;
    engine.until_ready().await;
    engine.cut_over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_another_run_is_not_cancelled_because_it_has_the_port() {
    let set = |name| fixture::replica_set(name, &[]);
    let (a, b, (target_set, target)) = tokio::join!(set("a"), set("b"), one_shard("t"));
    let (source, running) = (a.uri(), b.uri());
    fixture::insert(&a.client().await.unwrap(), "d", "c").await;
    let mut engine = Engine::start(&source, &running, &[]).await;
    engine.until_ready().await;

    // Between the same source and another target.
    let runs = RunStore::new(&target.shards[0]);
    let recorded = run_of(&fixture::source(&source).await, &target, Stage::Moving);
    runs.create(&RunState {
        source_balancer: None,
        ..recorded
    })
    .await
    .unwrap();
    let (port, other) = (engine.port().to_owned(), target_set.uri());
    let cancel = |target: &str| {
        let words = [
            "cancel",
            "--api-port",
            &port,
            "--source",
            &source,
            "--target",
            target,
        ]
        .map(str::to_owned);
        async move { shardlift(&words.each_ref().map(String::as_str), None).await }
    };
    let (code, text) = cancel(&other).await;
    assert!(code == Some(0) && text.contains(RUN), "{code:?} {text}");
    assert_eq!(runs.load().await.unwrap().unwrap().stage, Stage::Cancelled);
    runs.remove().await.unwrap();
    let (code, text) = cancel(&other).await;
    assert!(
        code == Some(4) && text.contains("give --api http://127.0.0.1:"),
        "{code:?} {text}"
    );
    assert!(engine.is_running());

    let (code, text) = cancel(&running).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(engine.end().await.code, 130);
}
