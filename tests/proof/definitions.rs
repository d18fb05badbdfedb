//! Options, indexes and views arrive byte for byte.

use super::*;

/// `$listCatalog`'s row of a collection, less what is each server's own.
async fn stored(client: &Client, db: &str, coll: &str) -> RawDocumentBuf {
    let project = rawdoc! {"$project": {"_id": 0, "md.indexes.spec": 1, "options": {"$unsetField": {
        "field": "uuid", "input": "$md.options",
    }}}};
    let of = rawdoc! {"$match": {"db": db, "name": coll}};
    let command =
        rawdoc! {"aggregate": 1, "pipeline": [{"$listCatalog": {}}, of, project], "cursor": {}};
    let cursor = client
        .database("admin")
        .run_raw_cursor_command(command)
        .batch()
        .await
        .unwrap();
    let batches: Vec<_> = cursor.try_collect().await.unwrap();
    let rows: Vec<RawDocumentBuf> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .doc_slices()
                .unwrap()
                .into_iter()
                .map(|row| row.unwrap().as_document().unwrap().to_owned())
        })
        .collect();
    rows.into_iter()
        .next()
        .unwrap_or_else(|| panic!("{db}.{coll} is not there"))
}

/// A document in which one field is there twice, and a string is not UTF-8.
fn undecodable() -> RawDocumentBuf {
    let twice = b"\x10k\x00\x01\x00\x00\x00\x10k\x00\x02\x00\x00\x00\x02s\x00\x03\x00\x00\x00\xff\xfe\x00\x00";
    let mut raw = (twice.len() as i32 + 4).to_le_bytes().to_vec();
    raw.extend_from_slice(twice);
    RawDocumentBuf::from_bytes(raw).unwrap()
}

/// What a decoded document cannot hold arrives as it is: in validators and partial
/// filters; and an index on `_id` keeps its old version.
async fn definitions_arrive_byte_for_byte(source: &str, target: &str) {
    let (a, b) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    let old = rawdoc! {"key": {"_id": 1}, "name": "_id_", "v": 1};
    let make = async |name: &str| {
        let odd = undecodable();
        let create = rawdoc! {"create": name, "validator": {"x": {"$ne": odd.clone()}}, "idIndex": old.clone()};
        a.database("odd").run_raw_command(create).await.unwrap();
        insert(&a, "odd", name, (0..20).map(|x| doc! {"x": x})).await;
        let create = rawdoc! {"create": format!("{name}_de"), "collation": {"locale": "de"}, "capped": true, "size": 5_000};
        a.database("odd").run_raw_command(create).await.unwrap();
    };
    make("before").await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    make("during").await;
    engine.cut_over().await;
    for name in ["before", "during", "before_de", "during_de"] {
        assert_eq!(
            stored(&a, "odd", name).await,
            stored(&b, "odd", name).await,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_arrive_byte_for_byte_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    definitions_arrive_byte_for_byte(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_on_id_keeps_its_old_version_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let old = doc! {"key": {"_id": 1}, "name": "_id_", "v": 1};
    for name in ["plain", "sharded"] {
        run(&a, "odd", doc! {"create": name, "idIndex": &old}).await;
    }
    run(
        &a,
        "admin",
        doc! {"shardCollection": "odd.sharded", "key": {"_id": 1}},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    run(&a, "odd", doc! {"create": "during", "idIndex": &old}).await;
    insert(&a, "odd", "during", [doc! {"x": 1}]).await;
    engine.cut_over().await;
    for name in ["plain", "sharded", "during"] {
        let indexes: Vec<Document> = b
            .database("odd")
            .run_cursor_command(doc! {"listIndexes": name})
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(indexes[0].get_i32("v").unwrap(), 1, "{name}: {indexes:?}");
    }
    expect_equal(&source.uri(), &target.uri()).await;
}
