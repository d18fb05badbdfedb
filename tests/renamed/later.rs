//! What the source makes during a run, and the target cannot have under its other names.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use shardlift::observe::status::Snapshot;

use super::usage::insert;
use super::{expect_equal, flags};
use crate::engine::Engine;
use crate::fixture::{self, run};

const POLL: Duration = Duration::from_millis(20);

async fn until_in_the_way(engine: &mut Engine, text: &str) {
    let told = |now: &Snapshot| now.obstacles.iter().any(|found| found.contains(text));
    engine.until("told what is in the way", told).await;
}

async fn until_there(target: &Client, count: u64) {
    let bills = target.database("z").collection::<Document>("bills");
    while bills.count_documents(doc! {}).await.unwrap() != count {
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_later_and_the_target_cannot_have_is_told_until_it_is_dropped() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    for ns in ["x.orders", "x.kept", "a.rows"] {
        insert(&from, ns, 0..100).await;
    }
    let renames = ["x.orders=z.bills", "a=c"];
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
    until_there(&to, 200).await;
    run(&from, "x", doc! {"drop": "report"}).await;
    engine.until_ready().await;

    // The source takes it: it has no `c`.
    insert(&from, "C.rows", 0..10).await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    let text = "C.rows of the source is to be in database C of the target, which has c";
    assert!(outcome.code == 6 && log.contains(text), "{log}");
    assert!(log.contains("drop C.rows on the source"), "{log}");
    from.database("C").drop().await.unwrap();
    let mut engine = start().await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target, &renames).await;
}
