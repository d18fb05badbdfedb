//! What an index build waits for, and what it holds meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocumentBuf, doc, rawdoc};
use parking_lot::Mutex;
use shardlift::bson::value::Value;
use shardlift::cluster::catalog;
use shardlift::error::Result;
use shardlift::pair::budget::Share;
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::pair::ddl::index::Indexer;
use shardlift::pair::ddl::vanished;
use shardlift::pair::gate::{Gate, Verdict};
use shardlift::pair::op::{OpKind, OpRef};
use shardlift::pair::origin::Origin;
use shardlift::position::Position;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::doubtful::{DB, MANY, Replay, Sides, rows};
use crate::fixture::run;

/// Long enough for what does not wait to have been done.
const WAIT: Duration = Duration::from_millis(500);

/// The indexer of one collection, with what it works on.
struct Building {
    indexer: Arc<Indexer>,
    tracked: Arc<Tracked>,
    gate: Arc<Mutex<Gate>>,
    // They work as long as this.
    _lanes: JoinSet<Result<()>>,
}

/// `builds`: at a time.
fn building(sides: &Sides, replay: Replay<'_>, builds: usize) -> Building {
    let Replay {
        tracked,
        gate,
        doubtful,
        lanes,
        ..
    } = replay;
    let target = sides.deployments.1.shards[0].clone();
    let indexer = Indexer {
        lister: doubtful.lister.clone(),
        metrics: doubtful.metrics.clone(),
        doubtful: Arc::new(doubtful),
        target,
        builds: Semaphore::new(builds),
    };
    Building {
        indexer: Arc::new(indexer),
        tracked,
        gate,
        _lanes: lanes,
    }
}

async fn insert(gate: &Mutex<Gate>, tracked: &Tracked, id: i32, position: Position) -> Verdict {
    let body = rawdoc! {"_id": id, "u": id};
    let share = Share::new(0);
    let mut origin = Origin::copied(share.reserve_reply().await);
    let mut gate = gate.lock();
    gate.begin(position);
    let id = Value::from(bson::RawBsonRef::Int32(id));
    let op = OpRef {
        uuid: tracked.uuid,
        kind: OpKind::Insert,
        position,
        id: id.as_ref(),
        body: body.as_bytes(),
    };
    gate.classify(op, &mut origin)
}

fn unique() -> Vec<RawDocumentBuf> {
    vec![rawdoc! {"v": 2, "key": {"u": 1}, "name": "u", "unique": true}]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_op_is_held_while_a_unique_build_waits_for_its_turn() {
    let sides = Sides::start().await;
    sides.on_both(doc! {"create": "rows"}).await;
    let replay = sides.replay(&rows(), Traits::default(), MANY).await;
    let newest = sides.newest().await;
    let Building {
        indexer,
        tracked,
        gate,
        _lanes,
    } = building(&sides, replay, 0);
    {
        let mut gate = gate.lock();
        gate.begin(newest.position);
        gate.pass(newest);
        gate.release(&tracked.uuid);
    }
    let (building, of) = (indexer.clone(), tracked.clone());
    let built = tokio::spawn(async move { building.create_at(&of, unique(), Position::MAX).await });
    tokio::time::sleep(WAIT).await;
    assert_eq!(
        insert(&gate, &tracked, 1, newest.position).await,
        Verdict::Queued
    );
    indexer.builds.add_permits(1);
    built.await.unwrap().unwrap();
    let there = catalog::indexes(&sides.deployments.1.shards[0], &rows())
        .await
        .unwrap();
    assert_eq!(there.len(), 2, "{there:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_not_listed_is_gone_only_when_its_drop_is_met() {
    let sides = Sides::start().await;
    sides.on_both(doc! {"create": "rows"}).await;
    let replay = sides.replay(&rows(), Traits::default(), MANY).await;
    let Building {
        indexer, tracked, ..
    } = building(&sides, replay, 1);
    let source = &indexer.lister.shard;
    let back = vanished::until_dropped(source, &tracked).await.unwrap_err();
    assert!(back.message.contains("rolled back"), "{back}");

    run(&sides.source, DB, doc! {"drop": "rows"}).await;
    // A namesake has indexes of its own.
    run(
        &sides.source,
        DB,
        doc! {"createIndexes": "rows", "indexes": [{"key": {"z": 1}, "name": "z"}]},
    )
    .await;
    let (listing, of) = (indexer.clone(), tracked.clone());
    let mut done = tokio::spawn(async move { listing.reconcile(&of).await });
    assert!(
        tokio::time::timeout(WAIT, &mut done).await.is_err(),
        "it waits for the drop"
    );
    tracked.kill();
    done.await.unwrap().unwrap();
    let there = catalog::indexes(&sides.deployments.1.shards[0], &rows())
        .await
        .unwrap();
    assert_eq!(there.len(), 1, "{there:?}");
}
