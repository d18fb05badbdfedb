//! What servers make by a passing name, for a name that is in the filters or out of them.

use super::*;

/// `$out` of `d.rows`, as a server makes it: by a collection of another name.
async fn out(client: &Client, to: &str) {
    let pipeline = [doc! {"$match": {"u": {"$gte": 5}}}, doc! {"$out": to}];
    let out = doc! {"aggregate": "rows", "pipeline": pipeline.to_vec(), "cursor": {}};
    run(client, "d", out).await;
}

/// What comes into the filters, or stays out of them, by a name that servers make.
async fn rebuild_what_is_in(client: &Client) {
    // It may be capped, over which `$out` writes nothing.
    run(client, "d", doc! {"drop": "x"}).await;
    out(client, "x").await;
    out(client, "y").await;
    run(
        client,
        "d",
        doc! {
            "mapReduce": "rows", "map": "function() { emit(this.u % 7, 1); }",
            "reduce": "function(key, values) { return Array.sum(values); }", "out": "x",
        },
    )
    .await;
    insert(client, "e.a", 0..20).await;
    let over = doc! {"renameCollection": "e.a", "to": "d.x", "dropTarget": true};
    run(client, "admin", over).await;
    run(client, "d", doc! {"convertToCapped": "x", "size": 1 << 20}).await;
    insert(client, "d.x", 100..110).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_servers_rename_into_the_filters_is_followed() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    insert(&from, "d.rows", 0..200).await;
    insert(&from, "d.x", 0..10).await;
    let flags = ["--include", "d.x", "--exclude", "/tmp/"];
    let mut engine = Engine::start(&source, &target, &flags).await;
    engine.until_ready().await;
    rebuild_what_is_in(&from).await;
    engine.until_ready().await;
    engine.kill();
    rebuild_what_is_in(&from).await;
    let mut engine = Engine::start(&source, &target, &flags).await;
    engine.until_ready().await;
    out(&from, "y").await;
    engine.until_ready().await;
    engine.cut_over().await;
    let only = CheckOptions {
        include: vec!["d.x".to_owned()],
        ..CheckOptions::default()
    };
    let report = check::compare(&source, &target, &only).await.unwrap();
    assert!(report.equal, "{report}");
    assert_eq!(names(&to, "d").await, ["x"]);
    assert_eq!(names(&to, "e").await, [""; 0]);
}
