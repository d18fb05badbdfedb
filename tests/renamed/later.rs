//! What the source makes during a run, and the target cannot have under its other names.

use bson::doc;
use mongodb::Client;
use shardlift::observe::status::Snapshot;

use super::usage::insert;
use super::{expect_equal, flags};
use crate::engine::Engine;
use crate::fixture::{self, run};

async fn until_in_the_way(engine: &mut Engine, text: &str) {
    let told = |now: &Snapshot| now.obstacles.iter().any(|found| found.contains(text));
    engine.until("told what is in the way", told).await;
}

async fn until_there(client: &Client, db: &str, count: u64) {
    let bills = client.database(db).collection::<bson::Document>("bills");
    while bills.count_documents(doc! {}).await.unwrap() != count {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_would_read_another_database_is_in_the_way_until_it_is_dropped() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    insert(&from, "x.orders", 0..100).await;
    insert(&from, "x.kept", 0..100).await;
    let renames = ["x.orders=z.bills"];
    let flags = flags(&renames);
    let start = || Engine::start_to_wait("views:0", &source, &target, &flags);
    let mut engine = start().await;
    engine.until_ready().await;
    let view = doc! {"create": "report", "viewOn": "orders", "pipeline": []};
    run(&from, "x", view).await;
    let text = "the view x.report of the target would read z.bills (x.orders of the source)";
    until_in_the_way(&mut engine, text).await;
    engine.kill();

    // Another attempt goes on with all else.
    insert(&from, "x.orders", 100..200).await;
    let mut engine = start().await;
    until_in_the_way(&mut engine, text).await;
    until_in_the_way(&mut engine, "drop the view on the source").await;
    until_there(&to, "z", 200).await;
    run(&from, "x", doc! {"drop": "report"}).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target, &renames).await;
}
