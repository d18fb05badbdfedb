//! Sharded time series, by each kind of key.

use bson::RawDocumentBuf;
use futures_util::TryStreamExt;
use loadgen::check::{self, CheckOptions};
use loadgen::cluster::ShardedCluster;

use super::*;

async fn shard(client: &Client, series: &str, key: Document) {
    let made = doc! {"timeField": "at", "metaField": "sensor", "granularity": "seconds"};
    let ns = format!("d.{series}");
    let sharded = doc! {"shardCollection": ns, "key": key, "timeseries": made};
    run(client, "admin", sharded).await;
}

/// From here on it is on both shards.
async fn spread(client: &Client, series: &str, middle: Document) {
    let ns = format!("d.system.buckets.{series}");
    let split = doc! {"split": &ns, "middle": &middle};
    run(client, "admin", split).await;
    move_chunk(client, &ns, middle).await;
}

async fn move_chunk(client: &Client, ns: &str, find: Document) {
    let moved = doc! {"moveChunk": ns, "find": find, "to": "shard1", "_waitForDelete": true};
    run(client, "admin", moved).await;
}

/// Its database's primary shard has no chunk of it, and so not what is changed from then on.
async fn change_away_from_the_primary(client: &Client) {
    shard(client, "away", doc! {"sensor.id": 1}).await;
    let buckets = "d.system.buckets.away";
    move_chunk(client, buckets, doc! {"meta.id": 3_i64}).await;
    for change in [
        doc! {"collMod": "away", "expireAfterSeconds": EXPIRY_S},
        doc! {"collMod": "away", "timeseries": {"granularity": "minutes"}},
    ] {
        run(client, "d", change).await;
    }
    measure(client, "d", "away", 0, 100).await;
}

const SHARDED: [&str; 4] = ["by_meta", "by_time", "by_both", "hashed"];

/// A primary shard without chunks has an empty series that no `collMod` reached, and routers
/// list that one: the target is as the shards that have chunks.
async fn away_arrives(source: &ShardedCluster, target: &Client) {
    let options = async |client: &Client| {
        let list = doc! {"listCollections": 1, "filter": {"name": "away"}};
        let listed = client.database("d").run_command(list).await.unwrap();
        let rows = listed
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap();
        let row = rows.first().and_then(Bson::as_document);
        row.map(|row| row.get_document("options").unwrap().clone())
    };
    let mut of_shards = Vec::new();
    for shard in source.shard_clients().await.unwrap() {
        of_shards.extend(options(&shard).await);
    }
    let arrived = options(target).await.unwrap();
    let granularity = arrived
        .get_document("timeseries")
        .unwrap()
        .get_str("granularity");
    assert_eq!(granularity.unwrap(), "minutes");
    assert!(of_shards.contains(&arrived), "{of_shards:?} {arrived}");
    let buckets = async |client: &Client| {
        let buckets = client
            .database("d")
            .collection::<RawDocumentBuf>("system.buckets.away");
        let sorted = buckets.find(doc! {}).sort(doc! {"_id": 1}).await.unwrap();
        sorted.try_collect::<Vec<_>>().await.unwrap()
    };
    let source = source.client().await.unwrap();
    assert_eq!(buckets(&source).await, buckets(target).await);
}

async fn shard_all(client: &Client, prefix: &str) {
    let keys = [
        doc! {"sensor.id": 1},
        doc! {"at": 1},
        doc! {"sensor.id": 1, "at": 1},
        doc! {"sensor": "hashed"},
    ];
    for (what, key) in SHARDED.into_iter().zip(keys) {
        shard(client, &format!("{prefix}_{what}"), key).await;
    }
}

async fn measure_all(client: &Client, prefix: &str, from: i64) {
    for what in SHARDED {
        measure(client, "d", &format!("{prefix}_{what}"), from, 600).await;
    }
}

/// Of those with this prefix.
async fn change_sharded(client: &Client, prefix: &str) {
    for what in SHARDED {
        let name = format!("{prefix}_{what}");
        index(client, &name).await;
        for change in [
            doc! {"collMod": &name, "expireAfterSeconds": EXPIRY_S},
            doc! {"collMod": &name, "timeseries": {"granularity": "minutes"}},
        ] {
            run(client, "d", change).await;
        }
        measure(client, "d", &name, 900, 300).await;
    }
    let gone = doc! {"q": {"sensor.id": 5_i64}, "limit": 0};
    let delete = doc! {"delete": format!("{prefix}_by_meta"), "deletes": [gone]};
    run(client, "d", delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_time_series_arrive_equal() {
    let (a, b) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    let (source, target) = (&a.uri(), &b.uri());
    let from = a.client().await.unwrap();
    shard_all(&from, "old").await;
    let start = DateTime::from_millis(START_MS + 200 * 60_000);
    let both = doc! {"meta.id": 4_i64, "control.min.at": start};
    spread(&from, "old_by_meta", doc! {"meta.id": 3_i64}).await;
    spread(&from, "old_by_time", doc! {"control.min.at": start}).await;
    spread(&from, "old_by_both", both).await;
    measure_all(&from, "old", 0).await;
    change_away_from_the_primary(&from).await;
    shard(&from, "short", doc! {"sensor": "hashed"}).await;
    measure(&from, "d", "short", 0, 100).await;
    let engine = Engine::start_to_crash(source, target, &[], "unit-batch-written").await;
    engine.crashed().await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    measure_all(&from, "old", 300).await;
    change_sharded(&from, "old").await;
    engine.until_ready().await;
    engine.kill();
    shard_all(&from, "new").await;
    measure_all(&from, "new", 0).await;
    drop_one(&from, "short").await;
    let engine = Engine::start_to_crash(source, target, &[], "drop-made").await;
    engine.crashed().await;
    // The name is another's.
    shard(&from, "short", doc! {"at": 1}).await;
    measure(&from, "d", "short", 0, 50).await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    change_sharded(&from, "new").await;
    engine.until_ready().await;
    engine.cut_over().await;
    let others = CheckOptions {
        exclude: vec!["d.away".to_owned()],
        ..CheckOptions::default()
    };
    let report = check::compare(source, target, &others).await.unwrap();
    assert!(report.equal, "{report}");
    let to = b.client().await.unwrap();
    away_arrives(&a, &to).await;
    for client in [&from, &to] {
        measure(client, "d", "old_by_both", 10_000, 10).await;
    }
    for series in ["old_by_meta", "old_by_both", "new_hashed", "short"] {
        let count = async |client: &Client| {
            let rows = client.database("d").collection::<Document>(series);
            let rows = rows.aggregate([doc! {"$count": "n"}]).await.unwrap();
            rows.try_collect::<Vec<_>>().await.unwrap()
        };
        assert_eq!(count(&from).await, count(&to).await, "{series}");
    }
}
