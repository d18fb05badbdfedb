//! A target shard that was started again, or has a new primary, and has not yet
//! loaded what it owns: it refuses writes, and they are sent again in place.

use std::sync::Arc;
use std::time::Duration;

use bson::{doc, rawdoc};
use shardlift::bson::identity::IdKey;
use shardlift::cluster::catalog::{self, Namespace};
use shardlift::observe::counters::PairMetrics;
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::pair::oplog::cursor::Oplog;
use shardlift::pair::write::bulk::Writer;
use shardlift::pair::write::statement::{CollectionWrites, FlushLimits, Statement};
use shardlift::pair::write::target::Target;
use shardlift::position::Position;
use shardlift::state::Incarnation;

use crate::fixture::{self, run};

const LIMITS: FlushLimits = FlushLimits {
    statements_max: 1_000,
    bytes_max: 8 << 20,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_wait_in_place_for_a_shard_that_does_not_know_what_it_owns() {
    let mut cluster = fixture::cluster(2).await;
    let router = cluster.client().await.unwrap();
    run(
        &router,
        "admin",
        doc! {"shardCollection": "d.c", "key": {"_id": "hashed"}},
    )
    .await;
    for round in 0..2i32 {
        cluster.shard_mut(0).member_mut(0).kill();
        cluster.shard_mut(0).member_mut(0).restart().await.unwrap();
        cluster.shards()[0].primary().await.unwrap();
        let target = fixture::target(&cluster.uri()).await;
        let shard = &target.shards[0];
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let uuid = catalog::local_uuid(shard, &ns).await.unwrap().unwrap();
        let term = Oplog::new(shard.client.clone(), "t", Duration::from_secs(10))
            .newest()
            .await
            .unwrap()
            .mark
            .term;
        let metrics: Arc<PairMetrics> = Arc::default();
        let client = shard.data_client("test", 4).unwrap();
        let at_once = Arc::default();
        let direct = shard.direct(&client, "test", 4);
        let writer = Writer {
            target: Target {
                direct,
                incarnation: Incarnation { number: 1, term },
                forms: shard.writes,
                patience: Duration::from_secs(20),
            },
            limits: LIMITS,
            at_once,
            majority: Default::default(),
            anew: None,
            metrics,
        };
        let tracked = Arc::new(Tracked::new(
            bson::Uuid::new(),
            ns.clone(),
            Traits::default(),
        ));
        tracked.bind(uuid);
        let documents: Vec<_> = (0..100)
            .map(|i| rawdoc! {"_id": 100 * round + i, "n": round})
            .collect();
        if round == 0 {
            let bytes: Vec<&[u8]> = documents.iter().map(|d| d.as_bytes()).collect();
            writer
                .copy(&tracked, &bytes, Position::default())
                .await
                .unwrap();
        } else {
            let id = |d: &bson::RawDocumentBuf| IdKey::of(d.get("_id").unwrap().unwrap());
            let full = |d: &bson::RawDocumentBuf| {
                Statement::full(
                    id(d),
                    bytes::Bytes::copy_from_slice(d.as_bytes()),
                    Position::default(),
                )
            };
            let mut writes = CollectionWrites::one(tracked.clone(), full(&documents[0]));
            writes.statements.extend(documents[1..].iter().map(full));
            writer.flush(&[writes]).await.unwrap();
        }
        assert!(tracked.doubts.is_empty());
        let count = shard
            .client
            .database("d")
            .collection::<bson::Document>("c")
            .count_documents(doc! {"n": round})
            .await;
        // Those of the round before were acknowledged by a server that was killed then.
        assert_eq!(count.unwrap(), 100);
    }
}
