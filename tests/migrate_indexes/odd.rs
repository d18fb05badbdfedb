//! Definitions and names that no decoded document can hold.

use super::*;

/// An option's document whose two fields have the same name and are no UTF-8.
fn odd_filter() -> RawDocumentBuf {
    let (x, y) = (string_value(b"\xff\xfe"), string_value(b"y"));
    let field = |value| Element {
        kind: kind::STRING,
        name: b"a",
        value,
    };
    document([field(&x), field(&y)])
}

/// With a name that is no UTF-8 either.
fn odd(suffix: u8, key: RawDocumentBuf) -> RawDocumentBuf {
    let spec = rawdoc! {"key": key, "partialFilterExpression": odd_filter()};
    let name = string_value(&[0xff, suffix]);
    document(elements(&spec).chain([Element {
        kind: kind::STRING,
        name: b"name",
        value: &name,
    }]))
}

pub(crate) async fn make_odd(client: &Client) {
    let validated =
        rawdoc! {"create": "validated", "validator": odd_filter(), "validationLevel": "off"};
    let view = rawdoc! {"create": "view", "viewOn": "rows", "pipeline": [{"$match": odd_filter()}]};
    for command in [validated, view] {
        client.database(DB).run_raw_command(command).await.unwrap();
    }
    fill(client, "rows", 10).await;
    create_raw(client, "rows", odd(b'1', rawdoc! {"a": 1})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_decoded_document_cannot_hold_arrives_in_indexes_and_validators() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    make_odd(&a).await;
    let engine = ready(&source.uri(), &target.uri()).await;
    create_raw(&a, "rows", odd(b'2', rawdoc! {"b": 1})).await;
    create_raw(&a, "rows", odd(b'3', rawdoc! {"c": 1})).await;
    create_raw(&a, "later", odd(b'1', rawdoc! {"a": 1})).await;
    let name = string_value(b"\xff3");
    let names = document([Element {
        kind: kind::STRING,
        name: b"0",
        value: &name,
    }]);
    let head = rawdoc! {"dropIndexes": "rows"};
    let names = Element {
        kind: kind::ARRAY,
        name: b"index",
        value: names.as_bytes(),
    };
    a.database(DB)
        .run_raw_command(document(elements(&head).chain([names])))
        .await
        .unwrap();
    engine.cut_over().await;
    for coll in ["rows", "later", "validated"] {
        expect_same_indexes(&a, &b, coll).await;
    }
    assert_eq!(indexes(&b, "rows").await.len(), 3);
    let listed = |client: Client| async move {
        let cursor = client
            .database(DB)
            .run_cursor_command(doc! {"listCollections": 1})
            .await
            .unwrap();
        let lines: Vec<RawDocumentBuf> = cursor.with_type().try_collect().await.unwrap();
        let options = |line: &RawDocumentBuf| {
            (
                line.get_str("name").unwrap().to_owned(),
                line.get_document("options").unwrap().to_owned(),
            )
        };
        lines.iter().map(options).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(listed(a).await, listed(b).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_whose_name_is_no_utf_8_is_refused_by_name_before_the_start() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fill(&a, "rows", 10).await;
    // Inside another command: the driver takes no such name itself.
    let name = string_value(b"\xffodd");
    let create = document([Element {
        kind: kind::STRING,
        name: b"create",
        value: &name,
    }]);
    let op = rawdoc! {"op": "c", "ns": format!("{DB}.$cmd"), "o": create};
    a.database("admin")
        .run_raw_command(rawdoc! {"applyOps": [op]})
        .await
        .unwrap();
    let outcome = Engine::start(&source.uri(), &target.uri(), &[])
        .await
        .end()
        .await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 4, "{log}");
    assert!(
        log.contains("\\xffodd") && log.contains("what to do: "),
        "{log}"
    );
}
