//! What is deleted of a recorded run, and when.

use shardlift::bson::element::{Element, document, elements, kind, string_value};

use super::*;

#[tokio::test]
async fn a_unit_that_is_given_up_is_emptied_whole_and_alone() {
    let (_set, target) = one_shard("t").await;
    let shard = &target.shards[0];
    let many = (0..12_000).map(|i| Bson::Double(f64::from(i) + 4.5));
    let all: Vec<Bson> = [Bson::MinKey, Bson::Null, Bson::Int32(-7), Bson::Int64(4)]
        .into_iter()
        .chain(many)
        .chain([
            Bson::String("k".to_owned()),
            Bson::String("m".to_owned()),
            Bson::Document(doc! {"a": 1}),
        ])
        .chain([
            Bson::ObjectId(ObjectId::new()),
            Bson::Boolean(false),
            Bson::MaxKey,
        ])
        .collect();
    for (coll, options) in [
        ("ranges", doc! {}),
        ("capped", doc! {"capped": true, "size": 1 << 24}),
    ] {
        let mut create = doc! {"create": coll};
        create.extend(options);
        run(&target.entry, "d", create).await;
        let documents: Vec<Document> = all.iter().map(|id| doc! {"_id": id.clone()}).collect();
        run(
            &target.entry,
            "d",
            doc! {"insert": coll, "documents": documents, "writeConcern": {"w": "majority"}},
        )
        .await;
    }
    run(
        &target.entry,
        "d",
        doc! {"createIndexes": "ranges", "indexes": [{"name": "u", "key": {"u": 1, "_id": 1}, "unique": true}]},
    )
    .await;
    // [.., 4), [4, "m"), ["m", ..]: numbers of every type and strings lie in the second.
    let mut ranges = collection(
        "d.ranges",
        vec![
            UnitState::Settled,
            UnitState::Copying(at(5, 5)),
            UnitState::Copying(at(9, 9)),
        ],
    );
    ranges.bounds = vec![RawBson::Int32(4), RawBson::String("m".to_owned())];
    ranges.target_uuid = Some(uuid_of(&target, "d.ranges").await);
    let mut capped = collection("d.capped", vec![UnitState::Copying(at(6, 6))]);
    capped.options = bson::rawdoc! {"capped": true};
    capped.target_uuid = Some(uuid_of(&target, "d.capped").await);
    // One of the same name that is not there any more.
    let gone = CollectionState {
        target_uuid: Some(Uuid::new()),
        ..collection("d.ranges", vec![UnitState::Copying(at(6, 6))])
    };
    let units = [(ranges.uuid, 1), (capped.uuid, 0), (gone.uuid, 0)];
    let store = PairStore::new(shard, RUN, 0);
    store
        .create(&pair_state(vec![ranges.clone(), capped.clone(), gone]))
        .await
        .unwrap();

    // Ended after the mark: whoever comes next completes it.
    store.mark_units_wiping(&units).await.unwrap();
    assert_eq!(ids(&target, "ranges").await.len(), all.len());
    assert_eq!(
        emptying::finish_wipes(shard, &store).await.unwrap(),
        0,
        "no collection is emptied whole"
    );
    let left: Vec<Bson> = all[..3].iter().chain(&all[12_005..]).cloned().collect();
    assert_eq!(ids(&target, "ranges").await, left);
    assert!(ids(&target, "capped").await.is_empty());
    let state = store.load().await.unwrap().unwrap();
    let units_of = |uuid| {
        state
            .collections
            .iter()
            .find(|c| c.uuid == uuid)
            .unwrap()
            .units
            .clone()
    };
    assert_eq!(
        units_of(ranges.uuid),
        [
            UnitState::Settled,
            UnitState::Waiting,
            UnitState::Copying(at(9, 9))
        ]
    );
    assert_eq!(units_of(capped.uuid), [UnitState::Waiting]);
    let indexes = catalog::indexes(shard, &ns("d.ranges")).await.unwrap();
    assert_eq!(
        indexes.len(),
        1,
        "unique ones are built again after the copy"
    );

    // The first and the last range: open to one side.
    emptying::wipe_units(shard, &store, &[(ranges.uuid, 2)])
        .await
        .unwrap();
    assert_eq!(ids(&target, "ranges").await, all[..3]);
    emptying::wipe_units(shard, &store, &[(ranges.uuid, 0)])
        .await
        .unwrap();
    assert!(ids(&target, "ranges").await.is_empty());
}

#[tokio::test]
async fn documents_whose_id_is_no_utf8_go_with_their_range() {
    let (_set, target) = one_shard("t").await;
    let shard = &target.shards[0];
    run(&target.entry, "d", doc! {"create": "odd"}).await;
    // Strings of two bytes; both lie in ["a", ..].
    let mut documents = RawArrayBuf::new();
    for text in [*b"b\xfe", *b"\xff\xff"] {
        let bytes = [&b"\x11\0\0\0\x02_id\0\x03\0\0\0"[..], &text, b"\0\0"].concat();
        documents.push(RawDocumentBuf::from_bytes(bytes).unwrap());
    }
    let insert =
        rawdoc! {"insert": "odd", "documents": documents, "writeConcern": {"w": "majority"}};
    let reply = target
        .entry
        .database("d")
        .run_raw_command(insert)
        .await
        .unwrap();
    assert_eq!(reply.get_i32("n").unwrap(), 2, "{reply}");
    let mut odd = collection(
        "d.odd",
        vec![UnitState::Settled, UnitState::Copying(at(5, 5))],
    );
    odd.bounds = vec![RawBson::String("a".to_owned())];
    odd.target_uuid = Some(uuid_of(&target, "d.odd").await);
    let store = PairStore::new(shard, RUN, 0);
    store.create(&pair_state(vec![odd.clone()])).await.unwrap();

    emptying::wipe_units(shard, &store, &[(odd.uuid, 1)])
        .await
        .unwrap();
    let left = target
        .entry
        .database("d")
        .collection::<Document>("odd")
        .count_documents(doc! {})
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_unique_index_goes_whatever_its_name_is() {
    let recorded = recorded().await;
    let (shard, store, a) = (&recorded.target.shards[0], &recorded.store, &recorded.a);
    let name = string_value(b"n\xff\xfe");
    let name = Element {
        kind: kind::STRING,
        name: b"name",
        value: &name,
    };
    let spec = rawdoc! {"key": {"z": 1}, "unique": true};
    let spec = document(elements(&spec).chain([name]));
    let create = rawdoc! {"createIndexes": "a", "indexes": [spec]};
    recorded
        .target
        .entry
        .database("d")
        .run_raw_command(create)
        .await
        .unwrap();
    store.mark_wiping(&[a.uuid], true).await.unwrap();
    assert_eq!(emptying::finish_wipes(shard, store).await.unwrap(), 1);
    assert_eq!(recorded.indexes("d.a").await, ["_id_", "y", "k"]);
    assert_eq!(recorded.count("a").await, 0);
}

#[tokio::test]
async fn an_interrupted_restart_is_completed_by_whoever_comes_next() {
    let recorded = recorded().await;
    let (shard, store, a, b) = (
        &recorded.target.shards[0],
        &recorded.store,
        &recorded.a,
        &recorded.b,
    );
    assert_eq!(emptying::finish_wipes(shard, store).await.unwrap(), 0);
    // Ended right after the mark: units and documents are as before.
    store.mark_wiping(&[a.uuid], true).await.unwrap();
    assert_eq!(recorded.stored(a.uuid).await.units, a.units);
    assert_eq!(emptying::finish_wipes(shard, store).await.unwrap(), 1);
    assert_eq!(
        (recorded.count("a").await, recorded.count("b").await),
        (0, 1)
    );
    let stored = recorded.stored(a.uuid).await;
    assert_eq!(
        (stored.units, stored.wiping),
        (vec![UnitState::Waiting; 3], false)
    );
    assert_eq!(recorded.stored(b.uuid).await.units, b.units);
    assert_eq!(emptying::finish_wipes(shard, store).await.unwrap(), 0);

    // Another collection of that name: not ours to empty.
    run(&recorded.target.entry, "d", doc! {"drop": "b"}).await;
    fixture::insert(&recorded.target.entry, "d", "b").await;
    store.mark_wiping(&[b.uuid], true).await.unwrap();
    emptying::finish_wipes(shard, store).await.unwrap();
    assert_eq!(recorded.count("b").await, 1);
}

async fn connect_as(shard: &Shard, name: &str) -> Client {
    let client = shard.data_client(name, 1).unwrap();
    run(&client, "admin", doc! {"ping": 1}).await;
    client
}

#[tokio::test]
async fn nothing_is_deleted_while_an_older_incarnation_is_connected() {
    let recorded = recorded().await;
    let shard = &recorded.target.shards[0];
    let first = recorded.store.begin_incarnation().await.unwrap().number;
    let old = connect_as(shard, &incarnation::app_name(RUN, 0, first)).await;
    let wait = Duration::from_millis(300);
    let waits = incarnation::alone(shard, &incarnation::app_name(RUN, 0, first + 1), wait)
        .await
        .unwrap_err();
    assert!(
        waits.kind == Kind::Transient && waits.message.contains("127.0.0.1:"),
        "{waits}"
    );
    incarnation::alone(shard, &incarnation::app_name(RUN, 0, first), wait)
        .await
        .unwrap();

    let began = Instant::now();
    let goes = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        old.shutdown().await;
    });
    recorded.restart("s", Some(&recorded.a.ns)).await.unwrap();
    assert!(Duration::from_secs(1) <= began.elapsed());
    goes.await.unwrap();
    // Its own connections are gone with it.
    incarnation::alone(shard, &incarnation::app_name(RUN, 0, i64::MAX), wait)
        .await
        .unwrap();
    assert_eq!(recorded.count("a").await, 0);
}
