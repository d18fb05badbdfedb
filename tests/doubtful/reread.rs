//! What is read again: documents of every form, very many, and none where that cannot be.

use super::*;

/// Whatever an `_id` is, it is found again; and whatever the document is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_every_form_are_read_again() {
    let sides = Sides::start().await;
    types::create(&LoadEntry::connect(&sides.uris.0, 8).await.unwrap())
        .await
        .unwrap();
    for coll in ["ids", "shapes", "values"] {
        let ns = Namespace {
            db: types::DATABASE.to_owned(),
            coll: coll.to_owned(),
        };
        run(&sides.target, types::DATABASE, doc! { "create": coll }).await;
        if coll == "shapes" {
            let zero_twice = document(&[
                ("_id", int(-7)),
                ("t", timestamp(0)),
                ("a", int(1)),
                ("a", int(2)),
            ]);
            upsert_literal(&sides.source, &zero_twice).await;
        }
        let replay = sides.replay(&ns, Traits::default(), MANY).await;
        let documents = all(&sides.source, &ns).await;
        assert!(!documents.is_empty());
        let position = sides.newest().await.position;
        for (i, document) in documents.iter().enumerate() {
            let id = locate::id_of(document).unwrap();
            // Every other one is there already, as something else.
            if i % 2 == 0 {
                insert_stale(&sides.target, &ns, id.readable().unwrap()).await;
            }
            replay.tracked.doubts.add(&IdKey::new(id), position);
        }
        replay.to_the_end(position).await;
        replay.expect_equal().await;
    }
}

async fn upsert_literal(client: &Client, document: &RawDocument) {
    let mut stage = RawArrayBuf::new();
    stage.push(rawdoc! { "$replaceWith": { "$literal": document.to_owned() } });
    let mut update = rawdoc! { "q": locate::id_query(document).unwrap(), "upsert": true };
    update.append(cstr!("u"), stage);
    let command = rawdoc! { "update": "shapes", "updates": [update] };
    let reply = client
        .database(types::DATABASE)
        .run_raw_command(command)
        .await
        .unwrap();
    assert!(!reply.contains_key("writeErrors"), "{reply}");
}

async fn insert_stale(client: &Client, ns: &Namespace, id: RawBson) {
    let mut stale = RawDocumentBuf::new();
    stale.append(cstr!("_id"), id);
    stale.append(cstr!("stale"), true);
    client
        .database(&ns.db)
        .collection::<RawDocumentBuf>(&ns.coll)
        .insert_one(stale)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_is_mended_only_if_nothing_is_left_to_mend() {
    let sides = Sides::start().await;
    sides
        .on_both(doc! { "create": "rows", "capped": true, "size": 100_000 })
        .await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    let start = sides.newest().await.position;
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [{ "_id": 1, "u": 1 }] },
    )
    .await;
    write(
        &sides.source,
        doc! { "delete": "rows", "deletes": [{ "q": { "_id": 1 }, "limit": 1 }] },
    )
    .await;
    write(
        &sides.source,
        doc! { "insert": "rows", "documents": [{ "_id": 2, "u": 1 }, { "_id": 3, "u": 3 }] },
    )
    .await;
    copy_all(&sides, &rows()).await;
    let traits = Traits {
        capped: true,
        ..Traits::default()
    };
    let replay = sides.replay(&rows(), traits, MANY).await;
    assert_eq!(replay.to_the_end(start).await, 1);
    replay.expect_equal().await;
    replay
        .tracked
        .doubts
        .add(&IdKey::of(bson::RawBsonRef::Int32(3)), start);
    assert_eq!(replay.resolve().await.unwrap_err().kind, Kind::Unsupported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_documents_than_one_transaction_takes_are_read_again() {
    many_are_read_again(6_000, 60, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_documents_than_the_target_s_cache_takes_are_read_again() {
    many_are_read_again(45_000, 500, DOCUMENTS_MAX).await;
}

/// `round` of `count` documents hold each other's values.
async fn many_are_read_again(count: i32, round: i32, documents_max: usize) {
    let sides = Sides::start().await;
    sides.on_both(doc! { "create": "rows" }).await;
    sides.on_both(index(doc! { "u": 1 }, true)).await;
    let fill = |client: Client, shift: i32| async move {
        let rows = client.database(DB).collection::<Document>("rows");
        for first in (0..count).step_by(3_000) {
            let value = |id: i32| {
                if id % (count / round) == 0 {
                    (id + shift).rem_euclid(count)
                } else {
                    id
                }
            };
            let some = (first..first + 3_000)
                .map(|id| doc! { "_id": id, "u": value(id), "n": shift, "pad": "x".repeat(500) });
            rows.insert_many(some).await.unwrap();
        }
    };
    fill(sides.source.clone(), count / round).await;
    fill(sides.target.clone(), 0).await;
    let mut replay = sides.replay(&rows(), Traits::default(), MANY).await;
    replay.doubtful.documents_max = documents_max;
    let position = sides.newest().await.position;
    (0..count).for_each(|id| {
        replay
            .tracked
            .doubts
            .add(&IdKey::of(bson::RawBsonRef::Int32(id)), position)
    });
    let began = std::time::Instant::now();
    replay.to_the_end(position).await;
    eprintln!("{count} documents read again in {:?}", began.elapsed());
    replay.expect_equal().await;
}

/// Nothing of a collection that is gone is doubtful.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_dropped_has_no_doubtful_documents() {
    let ns = rows();
    let tracked = Arc::new(Tracked::new(
        Uuid::from_bytes([3; 16]),
        ns,
        Traits::default(),
    ));
    let mut gate = Gate::new(
        Mark {
            position: Position::from_raw(10),
            term: 1,
        },
        Vec::new(),
    );
    gate.admit_new(tracked.clone());
    tracked.doubts.add(
        &IdKey::of(bson::RawBsonRef::Int32(1)),
        Position::from_raw(5),
    );
    assert_eq!(gate.watermark(), Position::from_raw(4));
    assert_eq!(gate.doubtful().len(), 1);
    gate.kill(&tracked.uuid);
    assert_eq!(
        (gate.watermark(), gate.doubtful().len()),
        (Position::from_raw(10), 0)
    );
}
