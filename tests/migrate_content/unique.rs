//! Values under unique indexes, which pass from one document to another.

use super::*;

/// Load on collections with unique indexes only. Returns how many documents were
/// read again after a refused write.
async fn unique_values_arrive(unique_churn: bool) -> u64 {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    let uri = source.uri();
    populate::populate(&PopulateArgs {
        docs: 3_000,
        ..PopulateArgs::new(&uri)
    })
    .await
    .unwrap();
    let options = LoadOptions {
        rate: 1_000.0,
        connections: 4,
        mix: "updates=30,reinserts=40,deletes=5,inserts=5"
            .parse()
            .unwrap(),
        unique_churn,
        ns: ["shop.products", "shop.customers", "telemetry.names"]
            .map(str::to_owned)
            .to_vec(),
        ..LoadOptions::new(&uri)
    };
    let load = Load::start(options).await.unwrap();
    let mut engine = Engine::start(&uri, &target.uri(), &[]).await;
    engine.until_ready().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop(load).await;
    let outcome = engine.cut_over().await;
    expect_equal(&uri, &target.uri()).await;
    outcome.summary["documents_resolved"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_come_back_with_their_unique_values_while_they_move() {
    unique_values_arrive(false).await;
}

/// Two documents trade a unique value: lanes that coalesce send each one's last
/// state, and each waits for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_under_unique_indexes_change_hands_while_they_move() {
    let read_again = unique_values_arrive(true).await;
    assert!(read_again > 0);
}

/// The index of a unique shard key is there before the copy: a document that
/// takes over another's key may be copied before that one is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_shard_key_passes_to_another_document_while_it_moves() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let client = source.client().await.unwrap();
    let key = doc! {"shardCollection": "keys.rows", "key": {"key": 1}, "unique": true};
    run(&client, "admin", key).await;
    run(
        &client,
        "admin",
        doc! {"split": "keys.rows", "middle": {"key": 5_000}},
    )
    .await;
    run(
        &client,
        "admin",
        doc! {"moveChunk": "keys.rows", "find": {"key": 5_000}, "to": "shard1"},
    )
    .await;
    let rows: Collection<Document> = client.database("keys").collection("rows");
    for first in (0..10_000).step_by(1_000) {
        let some = (first..first + 1_000).map(|key| doc! {"key": key, "note": "x".repeat(1_000)});
        rows.insert_many(some).await.unwrap();
    }
    let writer = Writer::start(move |round| {
        let rows = rows.clone();
        async move {
            let key = (round as i32).wrapping_mul(7_919).rem_euclid(10_000);
            rows.delete_one(doc! {"key": key}).await.unwrap();
            rows.insert_one(doc! {"key": key, "note": "y".repeat(1_000)})
                .await
                .unwrap();
        }
    });
    let read_again = move_while(writer, &source.uri(), &target.uri()).await;
    // None, if every delete went ahead of the insert.
    eprintln!("{read_again} documents read again");
}
