//! `_id`s, shard keys, values and field names that are not UTF-8: the server takes them,
//! most drivers cannot show them, and they arrive as all others.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use mongodb::Client;
use shardlift::bson::element::kind;
use shardlift::observe::phase::Phase;

use crate::bson_values::{Value, document, embed, int, text, timestamp};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

const KINDS: i32 = 5;

/// The `_id` number `i`, of one kind after the other, none of them UTF-8.
fn id(i: i32) -> Value {
    let bytes = [&b"\xff\xfe"[..], &i.to_be_bytes(), b"\xc3"].concat();
    match i % KINDS {
        0 | 1 => text(kind::STRING, &bytes),
        2 => text(kind::SYMBOL, &bytes),
        3 => text(kind::CODE, &bytes),
        _ => embed(
            kind::DOCUMENT,
            &[("a", text(kind::STRING, &bytes)), ("b", int(i))],
        ),
    }
}

fn fields(i: i32, round: i32) -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("_id", id(i)),
        ("k", text(kind::STRING, &[0xe4, i as u8, 0xff])),
        (
            "u",
            text(kind::STRING, &[&b"\xf0"[..], &i.to_be_bytes()].concat()),
        ),
        ("round", int(round)),
    ];
    match i % 11 {
        // A name twice, and what a plain insert would change.
        0 => fields.extend([("twice", int(1)), ("twice", int(2))]),
        1 => fields.push(("zero", timestamp(0))),
        _ => fields.push(("note", text(kind::STRING, &[b'x'; 300]))),
    }
    fields
}

/// With a field whose name is not UTF-8.
fn row(i: i32, round: i32) -> RawDocumentBuf {
    let mut bytes = document(&fields(i, round)).into_bytes();
    bytes.pop();
    bytes.extend([&[kind::INT32][..], b"n\xffme\0", &7i32.to_le_bytes(), &[0]].concat());
    let length = bytes.len() as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

fn query(i: i32, sharded: bool) -> RawDocumentBuf {
    let fields = fields(i, 0);
    document(if sharded { &fields[..2] } else { &fields[..1] })
}

async fn write(
    client: &Client,
    command: &str,
    coll: &str,
    field: &str,
    statements: Vec<RawDocumentBuf>,
) {
    let mut request = RawDocumentBuf::new();
    request.append(bson::raw::CString::try_from(command).unwrap(), coll);
    request.append(
        bson::raw::CString::try_from(field).unwrap(),
        RawArrayBuf::from_iter(statements),
    );
    let reply = client.database("d").run_raw_command(request).await.unwrap();
    assert!(
        !reply.contains_key("writeErrors"),
        "{command} {coll}: {reply}"
    );
}

pub(crate) async fn insert(client: &Client, coll: &str, range: std::ops::Range<i32>) {
    for first in range.clone().step_by(500) {
        let rows = (first..range.end.min(first + 500))
            .map(|i| row(i, 0))
            .collect();
        write(client, "insert", coll, "documents", rows).await;
    }
}

/// An update, a replacement, a delete, a new document, and two that trade a unique value.
pub(crate) async fn round(client: &Client, coll: &str, round: i32, sharded: bool) {
    let at = |i: i32| 20 * round + i;
    let update = |i: i32, u: RawDocumentBuf| rawdoc! {"q": query(i, sharded), "u": u};
    let set = |i: i32, fields: &[(&str, Value)]| update(i, rawdoc! {"$set": document(fields)});
    let u = |i: i32| fields(i, 0)[2].clone();
    let mut updates: Vec<RawDocumentBuf> = (0..10)
        .map(|i| {
            set(
                at(i),
                &[("set", text(kind::STRING, b"\xfe")), ("n", int(round))],
            )
        })
        .collect();
    // A shard without the whole document of one with a zero timestamp would be told the time.
    updates.push(update(at(13), row(at(13), round)));
    if !sharded {
        updates.push(set(at(3), &[("u", int(round))]));
        updates.push(set(at(4), &[u(at(3))]));
        updates.push(set(at(3), &[u(at(4))]));
    }
    write(client, "update", coll, "updates", updates).await;
    let delete = rawdoc! {"q": query(at(15), sharded), "limit": 1};
    write(client, "delete", coll, "deletes", vec![delete]).await;
    write(
        client,
        "insert",
        coll,
        "documents",
        vec![row(100_000 + round, round)],
    )
    .await;
}

async fn arrive(source: &str, target: &str, sharded: bool) {
    let client = Client::with_uri_str(source).await.unwrap();
    if sharded {
        run(
            &client,
            "admin",
            doc! {"shardCollection": "d.ranged", "key": {"k": 1}},
        )
        .await;
        run(
            &client,
            "admin",
            doc! {"shardCollection": "d.hashed", "key": {"_id": "hashed"}},
        )
        .await;
        run(
            &client,
            "admin",
            doc! {"split": "d.ranged", "middle": {"k": "a"}},
        )
        .await;
        run(
            &client,
            "admin",
            doc! {"moveChunk": "d.ranged", "find": {"k": "b"}, "to": "shard1"},
        )
        .await;
    }
    let names = if sharded {
        ["ranged", "hashed", "plain"]
    } else {
        ["plain", "indexed", "clustered"]
    };
    if !sharded {
        let clustered = doc! {"key": {"_id": 1}, "unique": true};
        run(
            &client,
            "d",
            doc! {"create": "clustered", "clusteredIndex": clustered},
        )
        .await;
    }
    for name in names {
        insert(&client, name, 0..6_000).await;
    }
    if !sharded {
        let unique = doc! {"key": {"u": 1}, "name": "u", "unique": true};
        run(
            &client,
            "d",
            doc! {"createIndexes": "indexed", "indexes": [unique]},
        )
        .await;
    }
    let mut engine = Engine::start(source, target, &[]).await;
    for number in 0..150 {
        for name in names {
            round(&client, name, number, sharded && name != "plain").await;
        }
    }
    engine.until_ready().await;
    for number in 150..200 {
        for name in names {
            round(&client, name, number, sharded && name != "plain").await;
        }
    }
    if !sharded {
        let mut op = rawdoc! {"op": "u", "ns": "d.plain"};
        op.append(cstr!("o"), rawdoc! {"$set": {"by": "applyOps"}});
        op.append(cstr!("o2"), query(5_000, false));
        client
            .database("admin")
            .run_raw_command(rawdoc! {"applyOps": [op]})
            .await
            .unwrap();
    }
    engine
        .until("verified", |now| {
            now.phase == Phase::Ready && now.pairs.iter().all(|pair| pair.verified)
        })
        .await;
    engine.cut_over().await;
    expect_equal(source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_not_utf8_arrive_on_a_replica_set_while_they_are_written() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    arrive(&source.uri(), &target.uri(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_not_utf8_arrive_on_a_sharded_cluster_while_they_are_written() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    arrive(&source.uri(), &target.uri(), true).await;
}
