//! Chunk maps that are too large for their collection's document.

use super::*;

const CHUNKS: &str = "chunks";

/// A sharded collection with a map of so many chunks, each bound of some 100 bytes.
fn sharded(name: &str, chunks: i64) -> CollectionState {
    let bound = |n: i64| rawdoc! {"k": n, "pad": "x".repeat(80)};
    let chunk = |n: i64| Chunk {
        min: bound(n),
        max: bound(n + 1),
        shard: (n % 2) as usize,
    };
    let chunks = (0..chunks).map(chunk).collect();
    let key = rawdoc! {"k": 1, "pad": 1};
    let sharded = Sharded {
        key,
        unique: false,
        chunks,
        zones: Vec::new(),
        version: None,
    };
    CollectionState {
        sharded: Some(sharded),
        ..collection(name, vec![UnitState::Settled])
    }
}

async fn parts(shard: &Shard) -> u64 {
    shard
        .client
        .database(DATABASE)
        .collection::<Document>(CHUNKS)
        .count_documents(doc! {})
        .await
        .unwrap()
}

async fn chunk_counts(store: &PairStore) -> Vec<usize> {
    let collections = store.load().await.unwrap().unwrap().collections;
    let mut counts: Vec<usize> = collections
        .iter()
        .map(|c| c.sharded.as_ref().unwrap().chunks.len())
        .collect();
    counts.sort();
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_too_large_for_one_document_comes_back_as_it_was_stored() {
    let (_set, target) = one_shard("rs").await;
    let (shard, store) = (&target.shards[0], PairStore::new(&target.shards[0], RUN, 0));
    let mut plan = pair_state(vec![sharded("d.large", 200_000), sharded("d.small", 10)]);
    for _ in 0..2 {
        store.create(&plan).await.unwrap();
        assert!(text(&store.load().await.unwrap().unwrap()) == text(&plan));
        assert_eq!(parts(shard).await, 7, "those of the plan before are gone");
    }
    let target_uuid = Uuid::new();
    let bound: Vec<(Uuid, Uuid)> = plan
        .collections
        .iter()
        .map(|c| (c.uuid, target_uuid))
        .collect();
    store.bind(&bound).await.unwrap();
    plan.collections
        .iter_mut()
        .for_each(|c| c.target_uuid = Some(target_uuid));
    assert!(text(&store.load().await.unwrap().unwrap()) == text(&plan));

    // An earlier plan goes with all that it named.
    store
        .create(&pair_state(vec![sharded("d.small", 10)]))
        .await
        .unwrap();
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![10], 0)
    );
    store.create(&plan).await.unwrap();
    store.remove().await.unwrap();
    assert_eq!(parts(shard).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_was_not_stored_to_its_end_counts_for_nothing_and_its_parts_go() {
    let set = fixture::replica_set("rs", &["--setParameter", "enableTestCommands=1"]).await;
    let target = fixture::target(&set.uri()).await;
    let (shard, store) = (&target.shards[0], PairStore::new(&target.shards[0], RUN, 0));
    let small = sharded("d.c", 10);
    let large = CollectionState {
        uuid: small.uuid,
        ..sharded("d.c", 80_000)
    };
    store.create(&pair_state(vec![small])).await.unwrap();
    let data = doc! {"failCommands": ["update"], "namespace": format!("{DATABASE}.collections"), "errorCode": 2};
    let fault = doc! {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data};
    run(&shard.client, "admin", fault).await;
    store.add(&large).await.unwrap_err();
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![10], 3)
    );
    store.forget_unnamed().await.unwrap();
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![10], 0)
    );

    // One in place of another, and both at last.
    for _ in 0..2 {
        store.add(&large).await.unwrap();
    }
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![80_000], 6)
    );
    store.forget_unnamed().await.unwrap();
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![80_000], 3)
    );
    store.forget(&[large.uuid]).await.unwrap();
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![80_000], 3),
        "it is alive"
    );
    store.kill(large.uuid).await.unwrap();
    store.forget(&[large.uuid]).await.unwrap();
    assert_eq!(
        (chunk_counts(&store).await, parts(shard).await),
        (vec![], 0)
    );
    // A pair may come to its drop only now.
    store.kill(large.uuid).await.unwrap();
    assert_eq!(chunk_counts(&store).await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_lacks_a_part_is_refused_and_can_be_wiped() {
    let (_set, target) = one_shard("rs").await;
    let (shard, store) = (&target.shards[0], PairStore::new(&target.shards[0], RUN, 0));
    store
        .create(&pair_state(vec![sharded("d.c", 80_000)]))
        .await
        .unwrap();
    let parts = shard
        .client
        .database(DATABASE)
        .collection::<Document>(CHUNKS);
    parts.delete_one(doc! {"_id.part": 1}).await.unwrap();
    let error = store.load().await.unwrap_err();
    assert!(
        error.kind == Kind::Unsupported && error.message.contains("d.c has 2 of the 3 parts"),
        "{error}"
    );
    assert!(error.remedy.unwrap().contains("--restart"));
    assert_eq!(
        store.collections().await.unwrap().len(),
        1,
        "what a wipe has to know"
    );
}
