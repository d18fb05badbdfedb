//! A running process copies a shard again: the others go on where they are.

use std::time::Duration;

use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use super::{command, output};
use crate::engine::Engine;
use crate::fixture;
use crate::migrate::{expect_equal, stop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_process_copies_a_shard_again_under_load_and_the_others_go_on() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    let (from, to) = (source.uri(), target.uri());
    let args = PopulateArgs {
        docs: 3_000,
        ..PopulateArgs::new(&from)
    };
    populate::populate(&args).await.unwrap();
    let mut engine = Engine::start(&from, &to, &[]).await;
    engine.until_ready().await;
    let options = LoadOptions {
        rate: 200.0,
        connections: 4,
        ..LoadOptions::new(&from)
    };
    let load = Load::start(options).await.unwrap();
    let typo = ["recopy", "--shard", "shard1", "--ns", "shop.typo"];
    for (what, why) in [
        (
            &["recopy", "--shard", "nobody"][..],
            "its source shards are: shard0, shard1",
        ),
        (&typo, "has no shop.typo on source shard shard1"),
    ] {
        let refused = output(&engine, what);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            refused.status.code() == Some(8) && text.contains(why),
            "{text}"
        );
    }
    engine.until_ready().await;
    let before = engine.status().await.unwrap();
    let told = command(&engine, &["recopy", "--shard", "shard0"]);
    assert!(
        told.contains("source shard shard0 is copied again"),
        "{told}"
    );
    let again = |now: &Snapshot| {
        let copied = |pair: usize| now.pairs[pair].documents_copied;
        now.phase == Phase::Ready && before.pairs[0].documents_copied < copied(0)
    };
    let now = engine.until("copied again", again).await;
    let other = |now: &Snapshot| now.pairs[1].documents_copied;
    assert_eq!(other(&now), other(&before), "the other shard goes on");
    let wanted = |change: &shardlift::observe::phase::Change| {
        change.phase == Phase::Recovering && change.why.contains("wants source shard shard0")
    };
    assert!(now.phases.iter().any(wanted), "{:?}", now.phases);
    assert_eq!(now.recoveries, 0, "that was no fault");
    let of_refused = |told: &String| told.contains("shop.typo");
    assert!(!now.warnings.iter().any(of_refused), "it was answered");
    // One collection, by the deployments: the process that works on them is asked.
    let sides = ["--source", from.as_str(), "--target", to.as_str()];
    let one = [
        &["recopy", "--shard", "shard1", "--ns", "shop.orders"][..],
        &sides,
    ]
    .concat();
    let told = output(&engine, &one);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        text.contains("shop.orders of source shard shard1 is copied again"),
        "{told:?}"
    );
    engine.until_ready().await;
    let told = command(&engine, &["recopy", "--ns", "shop.orders"]);
    assert!(
        told.contains("shop.orders of all source shards is copied again"),
        "{told}"
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop(load).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&from, &to).await;
}
