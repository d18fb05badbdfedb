//! The pure parts of the data plane: reading entries, comparing and hashing
//! `_id`s, owning documents, compiling ops, the spool's blocks. Small under `cargo test`.

use std::hint::black_box;
use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocumentBuf, Timestamp, Uuid, oid::ObjectId, rawdoc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shardlift::bson::identity::IdKey;
use shardlift::bson::locate::Look;
use shardlift::bson::{identity, order};
use shardlift::cluster::catalog::Namespace;
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::pair::lanes::compile::compile;
use shardlift::pair::lanes::queue::{Queue, Queued};
use shardlift::pair::op::{Op, OpKind};
use shardlift::pair::oplog::entry::Entry;
use shardlift::pair::write::statement::FlushLimits;
use shardlift::position::{Mark, Position};
use shardlift::spool::log::{Limits, OplogLog};
use shardlift::spool::quota::Quota;
use shardlift::spool::segment::Block;

#[path = "pure/allocations.rs"]
mod allocations;
#[path = "pure/follow.rs"]
mod follow;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const OPS: u64 = 1_000;

fn update_entry(id: i32) -> RawDocumentBuf {
    rawdoc! {
        "lsid": { "id": 1 }, "txnNumber": 5i64, "op": "u", "ns": "shop.orders",
        "ui": bson::Binary::from(Uuid::from_bytes([7; 16])),
        "o": { "$v": 2, "diff": { "u": { "total": 17.5 }, "sitems": { "a": true, "u3": 1 } } },
        "o2": { "customer": id, "_id": id }, "ts": Timestamp { time: 9, increment: 1 }, "t": 1i64, "v": 2i64,
    }
}

fn entries(c: &mut Criterion) {
    let raw: Vec<RawDocumentBuf> = (0..OPS as i32).map(update_entry).collect();
    let mut group = c.benchmark_group("entry");
    group.throughput(Throughput::Elements(OPS));
    group.bench_function("read an update", |b| {
        b.iter(|| {
            for raw in &raw {
                let entry = Entry::read(raw).expect("an entry");
                black_box(entry.crud(entry.position).expect("an op"));
            }
        });
    });
    group.finish();
}

fn ids(c: &mut Criterion) {
    let ids: Vec<RawBson> = (0..OPS)
        .map(|_| RawBson::ObjectId(ObjectId::new()))
        .collect();
    let mut group = c.benchmark_group("_id");
    group.throughput(Throughput::Elements(OPS));
    group.bench_function("hash an ObjectId", |b| {
        b.iter(|| {
            ids.iter()
                .map(|id| identity::hash(id.as_raw_bson_ref()))
                .fold(0, u64::wrapping_add)
        });
    });
    group.bench_function("compare ObjectIds", |b| {
        b.iter(|| {
            ids.windows(2)
                .filter(|w| order::compare(w[0].as_raw_bson_ref(), w[1].as_raw_bson_ref()).is_lt())
                .count()
        });
    });
    group.finish();
}

/// Updates over `documents` documents, as a lane takes them.
fn queue(documents: u64) -> Queue {
    let ns = Namespace {
        db: "shop".to_owned(),
        coll: "orders".to_owned(),
    };
    let uuid = Uuid::from_bytes([7; 16]);
    let collection = Arc::new(Tracked::new(uuid, ns, Traits::default()));
    let delta = rawdoc! { "$v": 2, "diff": { "u": { "total": 17.5 } } };
    let op = |i: u64| {
        let id = IdKey::of(RawBsonRef::Int64((i % documents) as i64));
        let body = bytes::Bytes::copy_from_slice(delta.as_bytes());
        let look = Look::default();
        let op = Op {
            position: Position::from_raw(i),
            uuid,
            kind: OpKind::Delta,
            id,
            body,
            look,
            permit: None,
        };
        Queued {
            op,
            collection: collection.clone(),
        }
    };
    (0..OPS).map(op).collect()
}

fn compiles(c: &mut Criterion) {
    let limits = FlushLimits {
        statements_max: OPS as usize,
        bytes_max: usize::MAX,
    };
    let mut group = c.benchmark_group("compile");
    group.throughput(Throughput::Elements(OPS));
    for (name, documents) in [("uniform", OPS), ("hot", 10)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || queue(documents),
                |mut queue| black_box(compile(&mut queue, limits)),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// What a busy source answers: inserts of small documents, about 1 MB.
fn reply() -> Vec<u8> {
    let mut reply = Vec::new();
    for i in 0i64.. {
        // As good as random, in three forms; the rest of a document repeats.
        let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64);
        let entry = rawdoc! {
            "op": "i", "ns": "shop.orders", "ui": bson::Binary::from(Uuid::from_bytes([7; 16])),
            "o": { "_id": ObjectId::new(), "customer": noise, "total": noise as f64, "state": "open", "note": format!("{noise:x}") },
            "o2": { "_id": i }, "ts": Timestamp { time: 9, increment: i as u32 }, "t": 1i64, "v": 2i64,
        };
        reply.extend(entry.as_bytes());
        if 1_000_000 <= reply.len() {
            break;
        }
    }
    reply
}

fn spool(c: &mut Criterion) {
    const BLOCKS: u64 = 16;
    let (reply, runtime) = (reply(), tokio::runtime::Runtime::new().expect("a runtime"));
    let block = |at: u64| {
        let mark = Mark {
            position: Position::from_raw(at),
            term: 1,
        };
        Block {
            first: mark,
            last: mark,
            payload: reply.clone().into(),
        }
    };
    let open = |dir: &std::path::Path, cache_bytes| {
        let limits = Limits {
            bytes_max: 1 << 30,
            segment_bytes: 16 << 20,
            cache_bytes,
            stored_bytes: 0,
        };
        OplogLog::open(dir, limits, Arc::new(Quota::new(1 << 30))).expect("a log")
    };
    let mut group = c.benchmark_group("spool");
    group.throughput(Throughput::Bytes(reply.len() as u64));
    let dir = tempfile::tempdir().expect("a directory");
    let (log, mut next) = (open(dir.path(), 64 << 20), 0);
    group.bench_function("append 1 MB", |b| {
        let make = || {
            next += 1;
            block(next)
        };
        b.iter_batched(
            make,
            |block| {
                let at = block.first.position;
                log.append(block).expect("an append");
                log.trim(at).expect("a trim");
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Bytes(BLOCKS * reply.len() as u64));
    for (name, cache_bytes) in [
        ("read 1 MB blocks from disk", 0),
        ("read 1 MB blocks from memory", 64 << 20),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(dir.path(), cache_bytes);
        (1..=BLOCKS).for_each(|at| log.append(block(at)).expect("an append"));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut reader = log.reader(Position::default());
                runtime.block_on(async {
                    while black_box(reader.try_next().await.expect("a block")).is_some() {}
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, entries, ids, compiles, follow::follow, spool);
criterion_main!(benches);
