//! What a shard writes to and is not recorded: the run stops there, and one collection is
//! copied again.

use super::*;

/// As if it had been passed over. The target has nothing of it.
async fn forget(target: &Client, coll: &str) {
    let known = target
        .database("__shardlift")
        .collection::<Document>("collections");
    let forgotten = known.delete_one(doc! {"ns.coll": coll}).await.unwrap();
    assert_eq!(forgotten.deleted_count, 1, "{coll}");
    run(target, "d", doc! {"drop": coll}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_or_a_rename_of_what_no_shard_holds_costs_one_collection() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let (source, target) = (source.uri(), target.uri());
    for coll in ["rows", "other"] {
        insert(&a, ("d", coll), 500).await;
    }
    let stops = async |found: &str| {
        let outcome = Engine::start(&source, &target, &[]).await.end().await;
        let log = outcome.log.text();
        assert!(outcome.code == 6 && log.contains(found), "{log}");
        let remedy = "`shardlift recopy --shard <its name> --ns <collection>`";
        assert!(log.contains(remedy), "{log}");
    };
    let recopy = async |ns: &str| {
        let of = ["recopy", "--shard", "a", "--ns", ns];
        let sides = ["--source", &source, "--target", &target];
        let (code, text) = shardlift(&[&of[..], &sides].concat(), None).await;
        assert!(code == Some(0) && text.contains("new: 1"), "{text}");
    };
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();

    forget(&b, "rows").await;
    delete(&a, ("d", "rows"), 7).await;
    stops("a write to a collection this shard does not hold").await;
    recopy("d.rows").await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    delete(&a, ("d", "rows"), 8).await;
    engine.until_ready().await;
    engine.kill();

    // Nobody has written to this one: its rename is the first that is met.
    forget(&b, "other").await;
    let rename = doc! {"renameCollection": "d.other", "to": "d.renamed"};
    run(&a, "admin", rename).await;
    stops("a rename of a collection this shard does not hold").await;
    recopy("d.renamed").await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    delete(&a, ("d", "renamed"), 9).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}
