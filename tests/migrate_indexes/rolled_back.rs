//! An index that the source takes back.

use super::*;

async fn three(name: &str) -> ReplicaSet {
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        members: 3,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        election_timeout: Duration::from_secs(2),
        set_parameters: vec![("enableTestCommands".to_owned(), "1".to_owned())],
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

/// An index that only the source's primary has, and that an election takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_rolled_back_on_the_source_is_not_on_the_target() {
    let (mut source, target) = tokio::join!(three("a"), fixture::replica_set("b", &[]));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fill(&a, "rows", 10).await;
    create(&a, "rows", vec![index("kept", doc! {"sparse": true})]).await;
    ready(&source.uri(), &target.uri()).await.kill();

    let primary = source.primary().await.unwrap();
    let mut others = Vec::new();
    for (index, host) in source
        .server_hosts()
        .into_iter()
        .enumerate()
        .filter(|(index, _)| *index != primary)
    {
        others.push((
            index,
            Client::with_uri_str(format!("mongodb://{host}/?directConnection=true"))
                .await
                .unwrap(),
        ));
    }
    for (_, other) in &others {
        run(
            other,
            "admin",
            doc! {"configureFailPoint": "stopReplProducer", "mode": "alwaysOn"},
        )
        .await;
    }
    let alone = doc! {"createIndexes": "rows", "indexes": [index("taken back", doc! {})], "commitQuorum": 0, "writeConcern": {"w": 1}};
    run(&a, DB, alone).await;
    let there = |client: Client| async move {
        client
            .database(DB)
            .collection::<Document>("rows")
            .list_index_names()
            .await
            .unwrap()
            .contains(&"taken back".to_owned())
    };
    assert!(there(a.clone()).await);
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    // It was listed, then: what was built of it is there, or a majority is asked for.
    let oplog = a.database("local").collection::<Document>("oplog.rs");
    let notes = || async {
        oplog
            .count_documents(doc! {"o.msg": "shardlift listing"})
            .await
            .unwrap()
    };
    let before = notes().await;
    while notes().await == before && !there(b.clone()).await {
        assert!(engine.is_running());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    source.member_mut(primary).kill();
    for (_, other) in &others {
        run(
            other,
            "admin",
            doc! {"configureFailPoint": "stopReplProducer", "mode": "off"},
        )
        .await;
    }
    source.primary().await.unwrap();
    source.member_mut(primary).restart().await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    let a = source.client().await.unwrap();
    assert!(!there(a.clone()).await, "it was rolled back");
    expect_same_indexes(&a, &b, "rows").await;
}
