//! A load that lives through faults on every member, and leaves nothing
//! half done.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use loadgen::cluster::{Deployment, ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use loadgen::faults::Fault;
use loadgen::faults::clock::Clock;
use loadgen::faults::elections::Elections;
use loadgen::faults::plan::Plan;
use loadgen::faults::record::Record;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};

const FAULTS_FOR: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(900);
/// An election or two, on a machine that is busy with others.
const REST_MAX: Duration = Duration::from_secs(60);

async fn start() -> (Deployment, Deployment) {
    let source = ShardedOptions {
        members_per_shard: 3,
        cache_gb: 0.25,
        oplog_mb: Some(256),
        proxied: true,
        ..ShardedOptions::default()
    };
    let target = ReplicaSetOptions {
        cache_gb: 0.25,
        proxied: true,
        ..ReplicaSetOptions::default()
    };
    let (source, target) = tokio::join!(ShardedCluster::start(source), ReplicaSet::start(target));
    (
        Deployment::Sharded(Box::new(source.unwrap())),
        Deployment::ReplicaSet(target.unwrap()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_goes_on_through_faults_and_leaves_no_transaction_open() {
    let (mut source, mut target) = start().await;
    populate::populate(&PopulateArgs {
        docs: 2_000,
        ..PopulateArgs::new(source.uri())
    })
    .await
    .unwrap();
    let elections = Elections::watch(&[&source]);
    let options = LoadOptions {
        rate: 300.0,
        connections: 12,
        mix: "all,aborts=60,cross_shard=30".parse().unwrap(),
        ddl: true,
        tolerant: true,
        ..LoadOptions::new(source.uri())
    };
    let load = Load::start(options).await.unwrap();
    let record = Arc::new(Record::new(Box::new(std::io::stderr())));
    let kinds = Fault::ALL
        .map(|(fault, ..)| fault)
        .into_iter()
        .filter(|fault| !fault.is_on_engine() && !fault.is_operators());
    let plan = Plan::new(7, &kinds.collect::<Vec<_>>(), EVERY);
    Clock::new(&mut source, &mut target, None, record.clone())
        .run(plan, FAULTS_FOR)
        .await
        .unwrap();
    eprintln!("{}\n{} elections", record.table(), elections.count());
    let before = load.ops();
    let goes_on = async {
        while load.ops() <= before + 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(REST_MAX, goes_on)
        .await
        .expect("the load came to rest");
    let report = load.stop().await;
    eprintln!("{report}");
    assert!(0 < elections.count() && 10 <= record.count(|_| true));
    for set in &source.sets()[..2] {
        let client = set.client().await.unwrap();
        let transactions = client
            .database("config")
            .collection::<bson::Document>("transactions");
        let prepared = transactions
            .count_documents(doc! {"state": "prepared"})
            .await
            .unwrap();
        assert_eq!(prepared, 0, "on {}", set.name());
    }
}
