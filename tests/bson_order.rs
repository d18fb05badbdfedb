//! Order and identity of values against the server's own indexes.

use std::cmp::Ordering;
use std::collections::HashSet;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::StreamExt;
use mongodb::Client;
use mongodb::error::ErrorKind;
use shardlift::bson::element::{Element, elements, field, kind};
use shardlift::bson::identity::IdKey;
use shardlift::bson::locate::id_of;
use shardlift::bson::order::compare_views;
use shardlift::bson::view::View;

use crate::bson_values::{Random, document, embed, int};
use crate::fixture;

/// Inserts `documents`, unordered; the positions the server refused, with code.
pub(crate) async fn insert(
    client: &Client,
    coll: &str,
    documents: &[RawDocumentBuf],
) -> Vec<(usize, i32)> {
    let mut refused = Vec::new();
    for (at, chunk) in documents.chunks(1000).enumerate() {
        let mut array = RawArrayBuf::new();
        chunk.iter().for_each(|d| array.push(d.clone()));
        let mut command = rawdoc! { "insert": coll, "ordered": false };
        command.append(cstr!("documents"), array);
        let reply = match client
            .database("t")
            .run_raw_command(command)
            .await
            .map_err(|e| *e.kind)
        {
            Ok(reply) => reply,
            Err(ErrorKind::Command(e)) => {
                return (0..documents.len()).map(|index| (index, e.code)).collect();
            }
            Err(e) => panic!("{e}"),
        };
        for error in reply.get_array("writeErrors").into_iter().flatten() {
            let error = error.as_document().unwrap();
            refused.push((
                at * 1000 + error.get_i32("index").unwrap() as usize,
                error.get_i32("code").unwrap(),
            ));
        }
    }
    refused
}

/// All documents a raw `find` gives, with these further fields.
pub(crate) async fn find(client: &Client, coll: &str, with: &RawDocument) -> Vec<RawDocumentBuf> {
    let mut command = rawdoc! { "find": coll };
    with.iter()
        .map(Result::unwrap)
        .for_each(|(name, value)| command.append(name, value));
    let mut batches = client
        .database("t")
        .run_raw_cursor_command(command)
        .batch()
        .await
        .unwrap();
    let mut found = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        let elements =
            shardlift::bson::element::elements_of(batch.doc_slices().unwrap().as_bytes());
        found.extend(elements.map(|e| RawDocumentBuf::from_bytes(e.value.to_vec()).unwrap()));
    }
    found
}

/// Every embedded value in one index: the server's order must be ours, and what
/// we call equal must be in the order of insertion.
#[tokio::test]
async fn values_sort_as_the_servers_index() {
    let set = fixture::replica_set("order", &[]).await;
    let client = set.client().await.unwrap();
    let index = doc! { "createIndexes": "c", "indexes": [{ "key": { "k": 1 }, "name": "k" }] };
    fixture::run(&client, "t", index).await;
    let mut random = Random(20);
    let value = |at: i32, random: &mut Random| {
        let wrapped = embed(
            shardlift::bson::element::kind::DOCUMENT,
            &[("v", random.value(3))],
        );
        document(&[("_id", int(at)), ("k", wrapped)])
    };
    let documents: Vec<_> = (0..12_000).map(|at| value(at, &mut random)).collect();
    assert_eq!(insert(&client, "c", &documents).await, []);

    let sorted = find(&client, "c", &rawdoc! { "hint": { "k": 1 } }).await;
    assert_eq!(sorted.len(), documents.len());
    let key = |d: &RawDocumentBuf| d.get_i32("_id").unwrap();
    for pair in sorted.windows(2) {
        let [a, b] = [&pair[0], &pair[1]].map(|d| field(d.as_bytes(), b"k").unwrap());
        let order = compare_views(&a.into(), &b.into()).then(key(&pair[0]).cmp(&key(&pair[1])));
        assert_eq!(
            order,
            Ordering::Less,
            "{:?}\n{:?}",
            View::from(inner(a)),
            View::from(inner(b))
        );
    }
    let equal = sorted
        .windows(2)
        .filter(|p| compare_keys_of(&p[0], &p[1]).is_eq())
        .count();
    assert!(
        1000 < equal,
        "only {equal} neighbours were equal: the values are too sparse to prove anything"
    );
}

fn inner(element: Element<'_>) -> Element<'_> {
    field(element.value, b"v").unwrap()
}

fn compare_keys_of(a: &RawDocument, b: &RawDocument) -> Ordering {
    let key = |d| {
        elements(d)
            .find(|e| e.name == b"k")
            .map(View::from)
            .unwrap()
    };
    compare_views(&key(a), &key(b))
}

/// The `_id` index refuses exactly the values we call equal to an earlier one.
#[tokio::test]
async fn ids_are_one_exactly_where_the_index_says_so() {
    let set = fixture::replica_set("identity", &[]).await;
    let client = set.client().await.unwrap();
    let mut random = Random(21);
    // The server's error repeats an `_id` that is there already: the driver must be able to
    // read it.
    let documents: Vec<_> = std::iter::repeat_with(|| document(&[("_id", random.value(2))]))
        .filter(|d| id_of(d).is_some_and(|id| id.readable().is_some()))
        .take(12_000)
        .collect();
    let refused = insert(&client, "c", &documents).await;

    let mut seen = HashSet::new();
    for (at, document) in documents.iter().enumerate() {
        let id = id_of(document).unwrap();
        let code = refused
            .iter()
            .find(|(index, _)| *index == at)
            .map(|(_, code)| *code);
        match code {
            Some(11000) => assert!(
                seen.contains(&IdKey::new(id)),
                "{id:?} is not new to the server"
            ),
            Some(53 | 52) => assert!(may_not_be_an_id(id.kind), "{id:?}"),
            Some(other) => panic!("{id:?}: {other}"),
            None => assert!(seen.insert(IdKey::new(id)), "{id:?} is new to the server"),
        }
    }
    assert!(
        1000 < seen.len() && 1000 < refused.len(),
        "{} ids, {} refused",
        seen.len(),
        refused.len()
    );

    let sorted = find(&client, "c", &rawdoc! { "hint": { "_id": 1 } }).await;
    assert_eq!(sorted.len(), seen.len());
    let ids: Vec<View<'_>> = sorted.iter().map(|d| id_of(d).unwrap().view()).collect();
    assert!(ids.windows(2).all(|p| compare_views(&p[0], &p[1]).is_lt()));
}

fn may_not_be_an_id(kind: u8) -> bool {
    matches!(kind, kind::ARRAY | kind::REGEX | kind::UNDEFINED)
}
