//! What the source's oplog holds no more.

use mongodb::Client;

use super::*;

/// The newest entry of the source's oplog.
async fn newest(source: &ReplicaSet) -> bson::Document {
    let client = source.client().await.unwrap();
    let oplog = client
        .database("local")
        .collection::<bson::Document>("oplog.rs");
    oplog
        .find_one(doc! {})
        .sort(doc! {"$natural": -1})
        .await
        .unwrap()
        .unwrap()
}

/// As if the range of this `_id` had been in flight since before the source rolled over: from
/// this entry on. Returns its number, and how many ranges there are.
async fn in_flight_since(target: &Client, id: i32, begun: &bson::Document) -> (i64, usize) {
    let of_run = |name: &str| {
        target
            .database("__shardlift")
            .collection::<bson::Document>(name)
    };
    let (units, pairs, collections) = (of_run("units"), of_run("pairs"), of_run("collections"));
    let big = collections
        .find_one(doc! {"ns.coll": "big"})
        .await
        .unwrap()
        .unwrap();
    let bounds = big.get_array("bounds").unwrap();
    assert!(!bounds.is_empty(), "several ranges");
    let unit = bounds
        .iter()
        .filter(|bound| bound.as_i32().unwrap() <= id)
        .count() as i64;
    let of_unit = doc! {"_id.uuid": big.get("_id"), "_id.unit": unit};
    let fence = begun.get_timestamp("ts").unwrap();
    let in_flight = doc! {"$set": {"settled": false, "fence": {"ts": fence}}};
    let marked = units.update_one(of_unit, in_flight).await.unwrap();
    assert_eq!(marked.matched_count, 1);
    let resume = doc! {"ts": fence, "t": begun.get_i64("t").unwrap()};
    pairs
        .update_one(doc! {}, doc! {"$set": {"resume": resume}})
        .await
        .unwrap();
    (unit, bounds.len() + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_whose_fence_rolled_off_are_copied_anew_and_the_rest_goes_on() {
    let options = with_small_oplog("a");
    let (source, target) = tokio::join!(ReplicaSet::start(options), members("b", 1));
    let source = source.unwrap();
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let (at_source, at_target) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    write_much(&source, 4).await;
    let begun = newest(&source).await;
    // Ranges, however its few documents lie on the disk.
    let by_id = ["--scan-order", "id"];
    let mut engine = Engine::start(&source_uri, &target_uri, &by_id).await;
    engine.until_ready().await;
    roll_over(&source).await;
    engine.until_ready().await;
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);

    // With a document that was deleted since, and one that was never copied.
    let (unit, units) = in_flight_since(&at_target, 2, &begun).await;
    fixture::run(
        &at_target,
        "d",
        doc! {"delete": "big", "deletes": [{"q": {"_id": 2}, "limit": 1}]},
    )
    .await;
    fixture::run(
        &at_target,
        "d",
        doc! {"insert": "big", "documents": [{"_id": 2.25}]},
    )
    .await;
    // And what the pair still has to follow.
    fixture::run(
        &at_source,
        "d",
        doc! {"insert": "big", "documents": [{"_id": 2.75}]},
    )
    .await;
    fixture::run(
        &at_source,
        "d",
        doc! {"delete": "big", "deletes": [{"q": {"_id": 3}, "limit": 1}]},
    )
    .await;

    for place in [
        "units-marked",
        "unit-emptied",
        "units-waiting",
        "position-taken",
    ] {
        let spool = tempfile::tempdir().unwrap();
        let elsewhere = ["--spool-dir", spool.path().to_str().unwrap()];
        let log = Engine::start_to_crash(&source_uri, &target_uri, &elsewhere, place)
            .await
            .crashed()
            .await;
        let told = format!("ranges in flight (d.big: {} of {units})", unit + 1);
        assert!(
            place != "units-marked" || log.text().contains(&told),
            "{told}: {}",
            log.text()
        );
    }
    let spool = tempfile::tempdir().unwrap();
    let elsewhere = ["--spool-dir", spool.path().to_str().unwrap()];
    let mut engine = Engine::start(&source_uri, &target_uri, &elsewhere).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_when_the_source_rolled_over_is_told() {
    let options = with_small_oplog("a");
    let (source, target) = tokio::join!(ReplicaSet::start(options), members("b", 1));
    let source = source.unwrap();
    let (source_uri, target_uri) = (source.uri(), target.uri());
    write_much(&source, 1).await;
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.kill();
    roll_over(&source).await;
    let spool = tempfile::tempdir().unwrap();
    let elsewhere = ["--spool-dir", spool.path().to_str().unwrap()];
    let lost = Engine::start(&source_uri, &target_uri, &elsewhere)
        .await
        .end()
        .await;
    assert_eq!(lost.code, 6);
    assert!(
        lost.log.text().contains("no longer holds position"),
        "{}",
        lost.log.text()
    );

    let mut anew = Engine::start(&source_uri, &target_uri, &["--restart"]).await;
    anew.until_ready().await;
    anew.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}
