//! The state of a pair, stored and loaded.

use super::*;

fn samples() -> Vec<RawBson> {
    samples::every_type()
        .iter()
        .map(|element| RawBson::from(element.unwrap().1))
        .collect()
}

/// Every type in every place that takes any.
fn of_every_type() -> CollectionState {
    let every = samples::every_type();
    let twice =
        RawDocumentBuf::from_bytes(b"\x13\0\0\0\x10a\0\x01\0\0\0\x10a\0\x02\0\0\0\0".to_vec())
            .unwrap();
    let chunk = |min: RawDocumentBuf, max: RawDocumentBuf, shard| Chunk { min, max, shard };
    let (low, high) = (
        rawdoc! {"k": RawBson::MinKey},
        rawdoc! {"k": RawBson::MaxKey},
    );
    let sharded = Sharded {
        key: rawdoc! {"k": 1, "h": "hashed"},
        unique: true,
        chunks: vec![
            chunk(low.clone(), twice.clone(), 0),
            chunk(twice, high.clone(), 1),
        ],
        zones: vec![Zone {
            min: low,
            max: high,
            name: "z.$".to_owned(),
        }],
        version: Some(MapVersion {
            epoch: ObjectId::new(),
            major: 3,
            moved_at: Some(Timestamp {
                time: 0,
                increment: 0,
            }),
        }),
    };
    CollectionState {
        target_uuid: Some(Uuid::new()),
        target_version: Some(MapVersion {
            epoch: ObjectId::new(),
            major: u32::MAX,
            moved_at: None,
        }),
        options: every.clone(),
        primary: 1,
        sharded: Some(sharded),
        key_index: Some(every),
        bounds: samples(),
        units: vec![UnitState::Waiting; samples().len() + 1],
        ..collection("d.of every type", vec![UnitState::Waiting])
    }
}

/// What a given up collection had begun is no range of what is recorded of it.
#[tokio::test]
async fn a_dead_collection_may_have_had_more_ranges() {
    let (_set, target) = one_shard("rs").await;
    let store = PairStore::new(&target.shards[0], RUN, 0);
    let plan = pair_state(vec![collection("d.c", vec![UnitState::Waiting; 3])]);
    store.create(&plan).await.unwrap();
    let c = &plan.collections[0];
    store.start_unit(c.uuid, 2, at(120, 0)).await.unwrap();
    store
        .add(&CollectionState::dead(c.uuid, &c.ns))
        .await
        .unwrap();
    let loaded = store.load().await.unwrap().unwrap();
    assert!(loaded.collections[0].dead);
}

/// The fence of a range is not that of its next life.
#[tokio::test]
async fn a_collection_that_is_made_anew_has_no_range_begun() {
    let (_set, target) = one_shard("rs").await;
    let store = PairStore::new(&target.shards[0], RUN, 0);
    let plan = pair_state(vec![collection("d.c", vec![UnitState::Waiting])]);
    store.create(&plan).await.unwrap();
    let c = &plan.collections[0];
    store.start_unit(c.uuid, 0, at(120, 0)).await.unwrap();
    store.add(c).await.unwrap();
    let loaded = store.load().await.unwrap().unwrap();
    assert_eq!(loaded.collections[0].units, [UnitState::Waiting]);
}

#[tokio::test]
async fn a_pair_comes_back_as_it_was_stored() {
    let (_set, target) = one_shard("rs").await;
    let store = PairStore::new(&target.shards[0], RUN, 2);
    assert!(store.load().await.unwrap().is_none());
    assert_eq!(
        store.begin_incarnation().await.unwrap_err().kind,
        Kind::Refused
    );

    let states = vec![
        UnitState::Settled,
        UnitState::Copying(at(90, 7)),
        UnitState::Waiting,
    ];
    let mut plan = pair_state(vec![of_every_type(), collection("d.c", states)]);
    for _ in 0..2 {
        store.create(&plan).await.unwrap();
        assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));
    }
    let first = store.begin_incarnation().await.unwrap();
    assert_eq!(
        store.begin_incarnation().await.unwrap().number,
        first.number + 1
    );
    store.create(&plan).await.unwrap();
    let third = store.begin_incarnation().await.unwrap();
    assert_eq!((third.number, third.term), (first.number + 2, first.term));

    // Everything a run changes.
    let (c, other, added) = (
        plan.collections[1].uuid,
        plan.collections[0].uuid,
        Uuid::new(),
    );
    let term = store.start_unit(c, 2, at(120, 0)).await.unwrap();
    assert_eq!(term, third.term);
    let resume = Mark {
        position: at(110, 0),
        term: 4,
    };
    let settled = vec![(c, 1), (other, 4)];
    let applied = Mark {
        position: at(115, 0),
        term: 4,
    };
    assert_eq!(
        store
            .checkpoint(Some(&Recorded {
                resume,
                applied,
                settled,
                duplicate_names: vec![other]
            }))
            .await
            .unwrap(),
        term
    );
    assert_eq!(store.checkpoint(None).await.unwrap(), term);
    let earlier = Mark {
        position: at(105, 0),
        term: 4,
    };
    let late = Recorded {
        resume: earlier,
        applied,
        settled: vec![],
        duplicate_names: vec![],
    };
    store.checkpoint(Some(&late)).await.unwrap();
    // As a late duplicate would.
    store.start_unit(c, 1, at(90, 7)).await.unwrap();
    assert_eq!(
        store.bind(&[(c, added), (other, added)]).await.unwrap(),
        term
    );
    assert_eq!(store.kill(other).await.unwrap(), term);
    let more = CollectionState {
        uuid: added,
        ..collection("d.more", vec![UnitState::Settled])
    };
    for _ in 0..2 {
        assert_eq!(store.add(&more).await.unwrap(), term);
    }
    (plan.resume, plan.applied) = (resume, applied);
    plan.collections[1].units = vec![
        UnitState::Settled,
        UnitState::Settled,
        UnitState::Copying(at(120, 0)),
    ];
    plan.collections[0].units[4] = UnitState::Settled;
    plan.collections
        .iter_mut()
        .for_each(|c| c.target_uuid = Some(added));
    (
        plan.collections[0].dead,
        plan.collections[0].duplicate_names,
    ) = (true, true);
    plan.collections.push(more);
    assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));

    // An incarnation that replays from before what was applied forgets that; one
    // that cannot leaves the units in flight behind.
    assert_eq!(store.go_on_at(resume).await.unwrap(), term);
    plan.applied = resume;
    assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));
    store.mark_units_wiping(&[(c, 2)]).await.unwrap();
    assert_eq!(
        text(&store.load().await.unwrap().unwrap()),
        text(&plan),
        "its fence stays until it is empty"
    );
    assert_eq!(store.wiping_units().await.unwrap(), [(c, 2)]);
    store.forget_units(&[(c, 2)]).await.unwrap();
    assert!(store.wiping_units().await.unwrap().is_empty());
    store.go_on_at(applied).await.unwrap();
    (plan.resume, plan.applied) = (applied, applied);
    plan.collections[1].units[2] = UnitState::Waiting;
    assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));

    // Units of one collection, then all.
    assert_eq!(store.clear_units(Some(&[c])).await.unwrap(), term);
    plan.collections[1].units = vec![UnitState::Waiting; 3];
    assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));
    assert_eq!(store.clear_units(None).await.unwrap(), term);
    plan.collections
        .iter_mut()
        .for_each(|c| c.units.fill(UnitState::Waiting));
    assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));

    // Seen just before it was dropped and forgotten.
    let forgotten = [Uuid::new()];
    assert_eq!(store.saw_duplicate_names(&forgotten).await.unwrap(), term);
    assert_eq!(
        store.bind(&[(Uuid::new(), added)]).await.unwrap_err().kind,
        Kind::Internal
    );
    assert!(
        PairStore::new(&target.shards[0], "another run", 2)
            .load()
            .await
            .unwrap()
            .is_none()
    );
    store.remove().await.unwrap();
    store.remove().await.unwrap();
    assert!(store.load().await.unwrap().is_none());
}

#[tokio::test]
async fn many_collections_take_several_commands_and_one_too_large_is_refused() {
    let (_set, target) = one_shard("rs").await;
    let store = PairStore::new(&target.shards[0], RUN, 0);
    let one = |i| {
        collection(
            &format!("d.c{i}"),
            vec![UnitState::Settled, UnitState::Waiting],
        )
    };
    let mut plan = pair_state((0..2_500).map(one).collect());
    // Three of these exceed one command.
    let bounds = |megabytes: usize| {
        (0..megabytes)
            .map(|_| RawBson::String("x".repeat(1 << 20)))
            .collect::<Vec<_>>()
    };
    for c in &mut plan.collections[..3] {
        c.bounds = bounds(4);
        c.units = vec![UnitState::Copying(at(7, 7)); 5];
    }
    store.create(&plan).await.unwrap();
    assert_eq!(text(&store.load().await.unwrap().unwrap()), text(&plan));
    let bound: Vec<(Uuid, Uuid)> = plan
        .collections
        .iter()
        .map(|c| (c.uuid, Uuid::new()))
        .collect();
    store.bind(&bound).await.unwrap();
    assert!(
        store
            .load()
            .await
            .unwrap()
            .unwrap()
            .collections
            .iter()
            .all(|c| c.target_uuid.is_some())
    );

    let huge = CollectionState {
        bounds: bounds(13),
        ..one(0)
    };
    let error = store.add(&huge).await.unwrap_err();
    assert!(
        error.kind == Kind::Unsupported && error.message.contains("d.c0"),
        "{error}"
    );
}
