//! The shard-key hash against the keys of the server's own hashed index.

use bson::{doc, rawdoc};
use shardlift::bson::element::{field, kind};
use shardlift::bson::hash::hashed_view;
use shardlift::bson::view::View;

use crate::bson_order::{find, insert};
use crate::bson_values::{Random, document, embed, int, text};
use crate::fixture;

/// A compound hashed index shows each hash beside the number of its document.
#[tokio::test]
async fn hashes_are_those_of_a_hashed_index() {
    let set = fixture::replica_set("hash", &[]).await;
    let client = set.client().await.unwrap();
    let index = doc! { "createIndexes": "c", "indexes": [{ "key": { "k": "hashed", "i": 1 }, "name": "k" }] };
    fixture::run(&client, "t", index).await;

    let mut random = Random(22);
    let mut values: Vec<_> = (0..8000)
        .map(|_| random.value(3))
        .filter(|v| v.0 != kind::ARRAY)
        .collect();
    values.push(embed(
        kind::DOCUMENT,
        &[("a", text(kind::STRING, b"x")), ("a", int(1))],
    ));
    let row = |at: usize| {
        document(&[
            ("_id", int(at as i32)),
            ("i", int(at as i32)),
            ("k", values[at].clone()),
        ])
    };
    let mut documents: Vec<_> = (0..values.len()).map(row).collect();
    documents.push(document(&[
        ("_id", int(values.len() as i32)),
        ("i", int(values.len() as i32)),
    ]));
    assert_eq!(insert(&client, "c", &documents).await, []);

    let keys = find(&client, "c", &rawdoc! { "hint": "k", "returnKey": true }).await;
    assert_eq!(keys.len(), documents.len());
    for key in keys {
        let document = &documents[key.get_i32("i").unwrap() as usize];
        let view = field(document.as_bytes(), b"k").map_or(View::Null, View::from);
        assert_eq!(hashed_view(&view), key.get_i64("k").unwrap(), "{view:?}");
    }
}
