//! What a migration refuses before it touches anything: exit code and remedy.

use bson::doc;
use loadgen::server::port;

use crate::engine::Engine;
use crate::fixture::{self, run};

/// Runs into the refusal; returns the error with its remedy.
async fn refusal(source: &str, target: &str, code: i32) -> String {
    let outcome = Engine::start(source, target, &["--server-timeout-s", "2"])
        .await
        .end()
        .await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, code, "{source} {target}");
    let error = log.split_once("error: ").expect("it says why").1.to_owned();
    assert!(error.contains("what to do: "), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_that_do_not_fit_are_refused_with_a_remedy() {
    let (a, b, one, two, alone) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[]),
        fixture::cluster(1),
        fixture::cluster(2),
        fixture::Server::start("alone", &[]),
    );
    run(&alone.client().await, "admin", doc! {"ping": 1}).await;
    // The same set under another connection string.
    let itself = format!("mongodb://{}/", a.member_hosts()[0]);
    let (a, client, b) = (a.uri(), b.client().await.unwrap(), b.uri());
    let dead = format!("mongodb://127.0.0.1:{}/", port::free().unwrap());
    let standalone = format!("mongodb://{}/", alone.host);
    let rows = [
        ("garbage", b.as_str(), 2, "connection string"),
        (&dead, &b, 3, "127.0.0.1"),
        (&a, &dead, 3, "127.0.0.1"),
        (&standalone, &b, 4, "replica set"),
        (&a, &a, 2, "another deployment"),
        (&a, &itself, 4, "target is not the source"),
        (&two.uri(), &one.uri(), 4, "give a target with 2 shards"),
        (&two.uri(), &b, 4, "same topology"),
    ];
    for (source, target, code, part) in rows {
        let error = refusal(source, target, code).await;
        assert!(error.contains(part), "{error}");
    }
    fixture::insert(&client, "left", "over").await;
    let error = refusal(&a, &b, 4).await;
    assert!(
        error.contains("target is empty") && error.contains("left"),
        "{error}"
    );
    client.database("left").drop().await.unwrap();
    run(
        &client,
        "admin",
        doc! {"setFeatureCompatibilityVersion": "5.0"},
    )
    .await;
    let error = refusal(&a, &b, 4).await;
    assert!(
        error.contains("setFeatureCompatibilityVersion: \"6.0\""),
        "{error}"
    );
}
