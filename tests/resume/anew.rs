//! Runs that are begun anew, and what an older one left.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_begin_anew_is_refused_before_anything_is_wiped() {
    let (source, target) = tokio::join!(members("a", 1), members("b", 1));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let (from, to) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&from, "d", "c").await;
    let mut first = Engine::start(&source_uri, &target_uri, &[]).await;
    first.until_ready().await;
    first.cancel().await;
    assert_eq!(first.end().await.code, 130);
    let copied = || async {
        to.database("d")
            .collection::<bson::Document>("c")
            .count_documents(doc! {})
            .await
            .unwrap()
    };

    fixture::run(
        &from,
        "d",
        // Buckets without their time series.
        doc! {"create": "system.buckets.series", "clusteredIndex": true, "timeseries": {"timeField": "at"}},
    )
    .await;
    let refused = Engine::start(&source_uri, &target_uri, &["--restart"])
        .await
        .end()
        .await;
    assert_eq!(refused.code, 4);
    assert!(
        refused.log.text().contains("collections supported"),
        "{}",
        refused.log.text()
    );
    assert_eq!(copied().await, 1);
    fixture::run(&from, "d", doc! {"drop": "system.buckets.series"}).await;

    let refused = Engine::start(&source_uri, &target_uri, &["--restart", "--map", "a=x"])
        .await
        .end()
        .await;
    assert_eq!((refused.code, copied().await), (2, 1));

    // Somebody else's.
    fixture::insert(&to, "other", "c").await;
    let refused = Engine::start(&source_uri, &target_uri, &["--restart"])
        .await
        .end()
        .await;
    assert_eq!((refused.code, copied().await), (4, 1));
    assert!(
        refused.log.text().contains("the target holds other.c"),
        "{}",
        refused.log.text()
    );
    to.database("other").drop().await.unwrap();

    let mut anew = Engine::start(&source_uri, &target_uri, &["--restart"]).await;
    anew.until_ready().await;
    anew.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_unrecorded_on_the_target_goes_when_the_source_has_dropped_it() {
    let (source, target) = tokio::join!(fixture::cluster(1), fixture::cluster(1));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let (from, to) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&from, "d", "c").await;
    let mut engine = Engine::start_to_crash(&source_uri, &target_uri, &[], "creation-made").await;
    engine.until_ready().await;
    fixture::insert(&from, "d", "short").await;
    engine.crashed().await;
    let names = || async { to.database("d").list_collection_names().await.unwrap() };
    assert!(
        names().await.contains(&"short".to_owned()),
        "the crash came after it was made"
    );

    fixture::run(&from, "d", doc! {"drop": "short"}).await;
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    assert_eq!(names().await, ["c"]);
    expect_equal(&source_uri, &target_uri).await;
}
