//! Held ops that memory has no room for: the tail goes on, and what it forgot is
//! read again from the spool.

use bson::{Binary, Document, doc};
use loadgen::cluster::transactions::{TransactionSession, Write};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use mongodb::Client;
use shardlift::observe::phase::Phase;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

const DOCUMENTS: i32 = 200;
/// Of one document; all that is written is several times what `memory_mb` allows.
const BYTES: usize = 1 << 20;
const ROUND: i32 = 70;

/// A large transaction on top of large documents takes cache.
async fn roomy_replica_set(name: &str) -> ReplicaSet {
    let oplog_mb = Some(1024);
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        cache_gb: 1.0,
        oplog_mb,
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

/// Bytes that compress badly.
fn noise(seed: i32) -> Binary {
    let bytes = (0..BYTES as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed as u8)
        .collect();
    Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes,
    }
}

fn document(id: i32, seed: i32) -> Document {
    doc! {"_id": id, "n": 0, "bytes": noise(seed)}
}

/// One unit, however small the ranges: its collation sees to that.
async fn fill(client: &Client) {
    run(
        client,
        "d",
        doc! {"create": "rows", "collation": {"locale": "de"}},
    )
    .await;
    for id in 0..DOCUMENTS {
        run(
            client,
            "d",
            doc! {"insert": "rows", "documents": [document(id, id)]},
        )
        .await;
    }
}

/// Writes of every kind on documents of the unit, large ones among them; returns
/// how many ops they are.
async fn change(source: &ReplicaSet, seed: i32) -> u64 {
    let client = source.client().await.unwrap();
    let mut ops = 0;
    for i in 0..ROUND {
        let id = (seed + i) % DOCUMENTS;
        let whole = doc! {"q": {"_id": id}, "u": document(id, seed + i + 1)};
        let delta = doc! {"q": {"_id": id}, "u": {"$inc": {"n": 1}}};
        run(
            &client,
            "d",
            doc! {"update": "rows", "updates": [whole, delta]},
        )
        .await;
        ops += 2;
        if i % 10 == 0 {
            run(
                &client,
                "d",
                doc! {"delete": "rows", "deletes": [{"q": {"_id": id}, "limit": 1}]},
            )
            .await;
            run(
                &client,
                "d",
                doc! {"insert": "rows", "documents": [document(id, seed)]},
            )
            .await;
            ops += 2;
        }
    }
    // More than one entry holds.
    let inserts = (0..20).map(|i| {
        let document = document(1_000 + seed + i, i);
        Write::new("d", doc! {"insert": "rows", "documents": [document]})
    });
    let writes: Vec<Write> = inserts.collect();
    ops += writes.len() as u64;
    let mut session = TransactionSession::connect(&[("a".to_owned(), source.hosts())])
        .await
        .unwrap();
    session.commit(&(0, writes)).await.unwrap();
    ops
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_is_written_beyond_memory_while_it_is_copied_arrives_equal() {
    let (source, mut target) =
        tokio::join!(roomy_replica_set("a"), fixture::loaded_replica_set("b"));
    let (source_uri, target_uri) = (source.uri(), target.uri());
    fill(&source.client().await.unwrap()).await;
    let mut engine = Engine::start(&source_uri, &target_uri, &["--memory-mb", "64"]).await;
    engine
        .until("copying", |now| {
            now.pairs.iter().any(|pair| pair.documents_copied > 0)
        })
        .await;
    // Its scan waits for the target in the middle of the unit; so do the lanes.
    target.member_mut(0).freeze();
    let ops = change(&source, 0).await;
    let now = engine
        .until("reading on", |now| now.pairs[0].ops_read >= ops)
        .await;
    assert_eq!(now.pairs[0].units_copied, 0, "the unit is being copied");
    target.member_mut(0).thaw();
    // More comes while the spool is read again.
    change(&source, 50).await;
    let now = engine.until("ready", |now| now.phase == Phase::Ready).await;
    let pair = &now.pairs[0];
    assert!(
        0 < pair.ops_spooled && pair.ops_spooled == pair.ops_replayed,
        "{pair:?}"
    );
    engine.cut_over().await;
    expect_equal(&source_uri, &target_uri).await;
}
