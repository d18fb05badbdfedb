//! An older incarnation, once another has begun: it records nothing, and no connection
//! that it opens is used.

use bson::{Document, Uuid, doc, rawdoc};
use shardlift::cluster::deployment::Shard;
use shardlift::error::Kind;
use shardlift::state::pair_store::PairStore;
use shardlift::wire::message::Request;

use super::{RUN, at, one_shard, pair_state, set};

/// Two stores of one pair; the first has begun an incarnation.
async fn begun(shard: &Shard) -> (PairStore, PairStore) {
    let (old, new) = (PairStore::new(shard, RUN, 0), PairStore::new(shard, RUN, 0));
    old.create(&pair_state(vec![])).await.unwrap();
    old.begin_incarnation().await.unwrap();
    (old, new)
}

#[tokio::test]
async fn an_older_incarnation_cannot_record_and_a_torn_plan_is_none() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let (old, new) = begun(shard).await;
    old.checkpoint(None).await.unwrap();
    new.begin_incarnation().await.unwrap();
    assert_eq!(
        old.clone().checkpoint(None).await.unwrap_err().kind,
        Kind::Transient
    );
    new.checkpoint(None).await.unwrap();

    set(shard, "pairs", doc! {}, doc! {"$set": {"whole": false}}).await;
    assert!(new.load().await.unwrap().is_none());
    // A unit whose collection was never stored, as an interrupted `add` leaves it.
    new.create(&pair_state(vec![])).await.unwrap();
    new.start_unit(Uuid::new(), 0, at(1, 1)).await.unwrap();
    assert!(new.load().await.unwrap().unwrap().collections.is_empty());
}

#[tokio::test]
async fn a_connection_that_an_older_incarnation_opens_late_is_not_used() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let (old, new) = begun(shard).await;
    let direct = || {
        shard
            .direct(&shard.client, "late", 1)
            .admitted_by(old.admission())
    };
    let insert = || {
        Request::new(
            "d",
            rawdoc! {"insert": "c", "documents": [{}], "writeConcern": {"w": 1}},
        )
    };
    let early = direct();
    early.run(insert()).await.unwrap();
    new.begin_incarnation().await.unwrap();
    // One that was there before is seen, and waited for.
    early.run(insert()).await.unwrap();
    let refused = direct().run(insert()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Transient, "{refused}");
    let documents = shard.client.database("d").collection::<Document>("c");
    assert_eq!(documents.count_documents(doc! {}).await.unwrap(), 2);
}
