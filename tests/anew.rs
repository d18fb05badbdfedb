//! One pair starts over while the others go on: after its position rolled off,
//! with collections that came and went meanwhile.

use std::pin::pin;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use mongodb::Client;
use mongodb::options::ClientOptions;
use shardlift::control::layout::listing;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::recorded::shardlift;
use crate::resume::{roll_over, with_small_oplog, write_much};

mod alone;
mod unheld;
mod whole;

async fn insert(client: &Client, ns: (&str, &str), count: i32) {
    let documents = (0..count).map(|i| doc! {"_id": i, "k": i, "note": "x".repeat(50)});
    client
        .database(ns.0)
        .collection::<Document>(ns.1)
        .insert_many(documents)
        .await
        .unwrap();
}

async fn delete(client: &Client, ns: (&str, &str), id: i32) {
    run(
        client,
        ns.0,
        doc! {"delete": ns.1, "deletes": [{"q": {"_id": id}, "limit": 1}]},
    )
    .await;
}

/// Through the router or to a set: loadgen's router takes no retryable writes.
async fn client(uri: &str) -> Client {
    let mut options = ClientOptions::parse(uri).await.unwrap();
    options.retry_writes = Some(false);
    Client::with_options(options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_whose_position_rolled_off_begins_anew_whatever_was_dropped_or_created() {
    let target = ReplicaSetOptions {
        name: "b".to_owned(),
        cache_gb: 0.25,
        ..ReplicaSetOptions::default()
    };
    let (source, target) = tokio::join!(
        ReplicaSet::start(with_small_oplog("a")),
        ReplicaSet::start(target)
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let at_source = client(&source_uri).await;
    write_much(&source, 2).await;
    for coll in ["kept", "dropped", "replaced", "one", "other", "named"] {
        insert(&at_source, ("d", coll), 500).await;
    }
    let unique = doc! {"key": {"k": 1}, "name": "k", "unique": true};
    run(
        &at_source,
        "d",
        doc! {"createIndexes": "kept", "indexes": [unique]},
    )
    .await;
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.kill();

    roll_over(&source).await;
    delete(&at_source, ("d", "kept"), 7).await;
    run(&at_source, "d", doc! {"drop": "dropped"}).await;
    run(&at_source, "d", doc! {"drop": "replaced"}).await;
    insert(&at_source, ("d", "replaced"), 20).await;
    insert(&at_source, ("fresh", "new"), 300).await;
    run(&at_source, "d", doc! {"create": "empty"}).await;
    delete(&at_source, ("d", "one"), 7).await;
    for (from, to) in [
        ("one", "by"),
        ("other", "one"),
        ("by", "other"),
        ("named", "renamed"),
    ] {
        let (from, to) = (format!("d.{from}"), format!("d.{to}"));
        let rename = doc! {"renameCollection": from, "to": to};
        run(&at_source, "admin", rename).await;
    }

    let spool = tempfile::tempdir().unwrap();
    let elsewhere = ["--spool-dir", spool.path().to_str().unwrap()];
    let lost = Engine::start(&source_uri, &target_uri, &elsewhere)
        .await
        .end()
        .await;
    let log = lost.log.text();
    assert_eq!(lost.code, 6, "{log}");
    assert!(
        log.contains("no longer holds position") && log.contains("`shardlift recopy --shard a`"),
        "{log}"
    );

    let restart = [
        "restart",
        "--source",
        &source_uri,
        "--target",
        &target_uri,
        "--shard",
        "a",
    ];
    for place in ["anew-marked", "anew-emptied", "anew-listed"] {
        let (code, text) = shardlift(&restart, Some(place)).await;
        assert_eq!(code, None, "{place}: {text}");
    }
    let (code, text) = shardlift(&restart, None).await;
    assert!(
        code == Some(0) && text.contains("source shard a starts over at"),
        "{code:?} {text}"
    );

    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    delete(&at_source, ("d", "replaced"), 3).await;
    delete(&at_source, ("fresh", "new"), 3).await;
    delete(&at_source, ("d", "renamed"), 3).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_begins_anew_and_the_other_goes_on() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    let router = client(&source_uri).await;
    for db in ["d", "e"] {
        let primary = if db == "d" { "shard0" } else { "shard1" };
        run(
            &router,
            "admin",
            doc! {"enableSharding": db, "primaryShard": primary},
        )
        .await;
        insert(&router, (db, "kept"), 200).await;
        insert(&router, (db, "dropped"), 200).await;
    }
    for coll in ["spread", "spread_dropped"] {
        run(
            &router,
            "admin",
            doc! {"shardCollection": format!("d.{coll}"), "key": {"_id": "hashed"}},
        )
        .await;
        insert(&router, ("d", coll), 400).await;
    }
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.kill();

    // What shard 0 forgets of this, shard 1 still has to follow.
    for (db, coll) in [("d", "dropped"), ("e", "dropped"), ("d", "spread_dropped")] {
        run(&router, db, doc! {"drop": coll}).await;
    }
    run(
        &router,
        "admin",
        doc! {"shardCollection": "d.spread_new", "key": {"_id": "hashed"}},
    )
    .await;
    for ns in [("d", "spread_new"), ("d", "new"), ("e", "new")] {
        insert(&router, ns, 100).await;
    }
    for id in 0..50 {
        delete(&router, ("d", "spread"), id).await;
        delete(&router, ("e", "kept"), id).await;
    }
    let restart = [
        "restart",
        "--source",
        &source_uri,
        "--target",
        &target_uri,
        "--shard",
        "shard0",
    ];
    let (code, text) = shardlift(&restart, None).await;
    assert_eq!(code, Some(0), "{text}");

    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    delete(&router, ("d", "spread_new"), 1).await;
    engine.until_ready().await;
    engine.kill();

    // Shard 1 would wait for shard 0 to meet it, too.
    let shard = doc! {"shardCollection": "d.early", "key": {"_id": "hashed"}};
    run(&router, "admin", shard).await;
    insert(&router, ("d", "early"), 100).await;
    let rename = doc! {"renameCollection": "d.early", "to": "d.late"};
    run(&router, "admin", rename).await;
    let (code, text) = shardlift(&restart, None).await;
    assert!(
        code == Some(4) && text.contains("would wait for it: d.late"),
        "{code:?} {text}"
    );
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    engine.until_ready().await;
    engine.kill();
    let (code, text) = shardlift(&restart, None).await;
    assert_eq!(code, Some(0), "{text}");
    let mut engine = Engine::start(&source_uri, &target_uri, &[]).await;
    delete(&router, ("d", "late"), 1).await;
    engine.until_ready().await;
    let done = engine.cut_over().await;
    let summary = done.log.text();
    assert!(summary.contains("resuming run"), "{summary}");
    expect_equal(&source_uri, &target_uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_of_the_source_waits_until_a_majority_has_what_it_shows() {
    let options = ReplicaSetOptions {
        name: "a".to_owned(),
        members: 3,
        cache_gb: 0.25,
        election_timeout: Duration::from_secs(10),
        ..ReplicaSetOptions::default()
    };
    let set = ReplicaSet::start(options).await.unwrap();
    let source = fixture::source(&set.uri()).await;
    fixture::insert(&source.entry, "d", "kept").await;
    fixture::insert(&source.entry, "d", "dropped").await;
    let hello = run(&source.entry, "admin", doc! {"hello": 1}).await;
    let primary = hello.get_str("primary").unwrap();
    let others: Vec<_> = set
        .members()
        .iter()
        .filter(|member| member.host() != primary)
        .collect();
    assert_eq!(others.len(), 2);
    others.iter().for_each(|member| member.freeze());
    run(
        &source.entry,
        "d",
        doc! {"drop": "dropped", "writeConcern": {"w": 1}},
    )
    .await;
    let mut listed = pin!(listing::read(&source, "r"));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut listed).await;
    assert!(
        early.is_err(),
        "the drop that it shows may still be rolled back"
    );
    others.iter().for_each(|member| member.thaw());
    let listing = listed.await.unwrap();
    // Whichever of the two became durable, it is told in both ways.
    assert_eq!(listing.local[0].len(), listing.catalog.collections.len());
}
