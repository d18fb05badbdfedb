//! Routers that never answer.

use super::*;

/// Orders that the router never answers the next command of that name.
async fn mute(router: &Client, command: &str) {
    order(router, command, doc! {"hang": true}).await;
}

/// Makes a sharded collection on the source and waits until it is on the target.
async fn made_during(source: &ShardedCluster, to: &Client) {
    source
        .admin(doc! {"shardCollection": "d.during", "key": {"k": 1}})
        .await
        .unwrap();
    let from = source.client().await.unwrap();
    run(
        &from,
        "d",
        doc! {"insert": "during", "documents": [{"k": 1}, {"k": 2}]},
    )
    .await;
    let made = async {
        while to
            .database("d")
            .collection::<Document>("during")
            .count_documents(doc! {})
            .await
            .unwrap()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), made)
        .await
        .expect("it is made in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_a_router_never_answers_is_given_again_at_a_start_in_ddl_and_in_a_drop() {
    let (a, b) = tokio::join!(cluster(), cluster());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    a.admin(doc! {"shardCollection": "d.before", "key": {"k": 1}})
        .await
        .unwrap();
    run(
        &from,
        "d",
        doc! {"insert": "before", "documents": [{"k": 1}, {"k": 2}]},
    )
    .await;
    fixture::insert(&from, "gone", "c").await;
    mute(&from, "aggregate").await;
    let mut engine = Engine::start_to_wait("answer:2000", &a.uri(), &b.uri(), &[]).await;
    engine.until_ready().await;
    assert!(has_come(&from).await, "at the start");

    mute(&to, "dropDatabase").await;
    run(&from, "gone", doc! {"dropDatabase": 1}).await;
    let gone = async {
        let known = to.database("config").collection::<Document>("databases");
        while known
            .find_one(doc! {"_id": "gone"})
            .await
            .unwrap()
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .expect("it is dropped in the end");
    assert!(has_come(&to).await, "in the drop of a database");
    engine.until_ready().await;

    mute(&from, "aggregate").await;
    made_during(&a, &to).await;
    assert!(has_come(&from).await, "in DDL, or in what is watched");
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&a.uri(), &b.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_with_another_router_when_one_freezes() {
    let (a, b) = tokio::join!(cluster(), cluster());
    let another = a.another_router().await.unwrap();
    let port = a.router_host().rsplit(':').next().unwrap().parse().unwrap();
    let freezing = Proxy::start(port).unwrap();
    let both = format!("mongodb://{},{}/", freezing.host(), another.host());
    let from = a.client().await.unwrap();
    fixture::insert(&from, "d", "before").await;
    let mut engine = Engine::start_to_wait("answer:2000", &both, &b.uri(), &[]).await;
    engine.until_ready().await;
    freezing.set(Fault::BlackHole);
    made_during(&a, &b.client().await.unwrap()).await;
    freezing.clear();
    engine.until_ready().await;
    // The driver takes the router for one that answers for up to 20 s more.
    freezing.set(Fault::BlackHole);
    engine.cut_over().await;
    expect_equal(&a.uri(), &b.uri()).await;
}
