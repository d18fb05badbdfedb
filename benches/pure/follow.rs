//! A block of raw oplog entries on all of its way that needs no server: read, classified,
//! queued, compiled, rendered. Per op, by kind.

use std::hint::black_box;
use std::sync::Arc;

use crate::allocations;
use bson::{RawArrayBuf, RawDocumentBuf, Timestamp, Uuid, oid::ObjectId, rawdoc};
use criterion::{BatchSize, Criterion, Throughput};
use parking_lot::Mutex;
use shardlift::cluster::catalog::Namespace;
use shardlift::cluster::dialect::Dialect;
use shardlift::observe::counters::PairMetrics;
use shardlift::pair::budget::{Permit, Share};
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::pair::gate::Gate;
use shardlift::pair::lanes::compile::compile;
use shardlift::pair::lanes::inbox::{Inbox, Oldest};
use shardlift::pair::oplog::block;
use shardlift::pair::oplog::transactions::Transactions;
use shardlift::pair::origin::Origin;
use shardlift::pair::tail::plain::{Next, Plain, Unseen};
use shardlift::pair::tail::view::TailView;
use shardlift::pair::write::flush::FlushPlan;
use shardlift::pair::write::render::{render_in_transaction, render_inserts};
use shardlift::pair::write::statement::{CollectionWrites, FlushLimits};
use shardlift::position::{Mark, Position};
use shardlift::scope::Scope;
use shardlift::spool::segment::Block;
use shardlift::state::UnitState;

const OPS: u32 = 4_096;
const LANES: usize = 4;
const LIMITS: FlushLimits = FlushLimits {
    statements_max: 10_000,
    bytes_max: 48 << 20,
};
const UUID: Uuid = Uuid::from_bytes([7; 16]);

/// A document of about 1 KB with a dozen fields, some of them below the top.
fn document(i: u32) -> RawDocumentBuf {
    let mut items = RawArrayBuf::new();
    (0..3).for_each(|item| {
        items.push(rawdoc! { "sku": format!("sku-{item:06}"), "count": item, "price": 9.5 })
    });
    rawdoc! {
        "_id": id(i), "customer": i as i64, "state": "open", "total": 17.5, "created": bson::DateTime::from_millis(1 << 40),
        "address": { "street": "Some Street 17", "city": "Some City", "zip": "12345" },
        "items": items, "flags": { "paid": true, "sent": false }, "version": 3, "note": "x".repeat(620),
    }
}

fn id(i: u32) -> ObjectId {
    let mut bytes = [0x5a; 12];
    bytes[8..].copy_from_slice(&i.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// As a 6.0 logs them: retryable writes of one session.
fn entry(kind: usize, i: u32) -> RawDocumentBuf {
    let ui = || bson::Binary::from(UUID);
    let session = || rawdoc! { "id": bson::Binary::from(Uuid::from_bytes([9; 16])), "uid": ui() };
    let (ts, wall) = (
        Timestamp {
            time: 9,
            increment: i + 1,
        },
        bson::DateTime::from_millis(9_000 + i as i64 / 4),
    );
    let none = || rawdoc! { "ts": Timestamp { time: 0, increment: 0 }, "t": -1i64 };
    match kind {
        0 => rawdoc! {
            "lsid": session(), "txnNumber": 5i64, "op": "i", "ns": "shop.orders", "ui": ui(), "o": document(i),
            "o2": { "_id": id(i) }, "stmtId": i as i32, "ts": ts, "t": 1i64, "v": 2i64, "wall": wall, "prevOpTime": none(),
        },
        1 => rawdoc! {
            "lsid": session(), "txnNumber": 5i64, "op": "u", "ns": "shop.orders", "ui": ui(),
            "o": { "$v": 2, "diff": { "u": { "total": i as f64 } } }, "o2": { "_id": id(i) },
            "stmtId": 0, "ts": ts, "t": 1i64, "v": 2i64, "wall": wall, "prevOpTime": none(),
        },
        _ => rawdoc! {
            "lsid": session(), "txnNumber": 5i64, "op": "d", "ns": "shop.orders", "ui": ui(), "o": { "_id": id(i) },
            "stmtId": 0, "ts": ts, "t": 1i64, "v": 2i64, "wall": wall, "prevOpTime": none(),
        },
    }
}

fn block(kind: impl Fn(u32) -> usize) -> Arc<Block> {
    let entries: RawArrayBuf = (0..OPS).map(|i| entry(kind(i), i)).collect();
    // Its items, without length and end.
    let payload = entries.as_bytes()[4..]
        .strip_suffix(&[0])
        .expect("an array ends with a zero")
        .to_vec();
    let mark = |increment| Mark {
        position: Timestamp { time: 9, increment }.into(),
        term: 1,
    };
    Arc::new(Block {
        first: mark(1),
        last: mark(OPS),
        payload: payload.into(),
    })
}

struct Pair {
    gate: Mutex<Gate>,
    view: Mutex<TailView>,
    metrics: PairMetrics,
    lanes: Vec<Arc<Inbox>>,
    share: Share,
}

impl Pair {
    fn new() -> Self {
        let lanes: Vec<Arc<Inbox>> = (0..LANES).map(|_| Arc::default()).collect();
        let mut gate = Gate::new(
            Mark {
                position: Position::default(),
                term: 1,
            },
            lanes.clone(),
        );
        let ns = Namespace {
            db: "shop".to_owned(),
            coll: "orders".to_owned(),
        };
        let tracked = Arc::new(Tracked::new(UUID, ns, Traits::default()));
        tracked.bind(UUID);
        gate.admit(tracked, &[], &[UnitState::Settled]);
        Pair {
            gate: gate.into(),
            view: Default::default(),
            metrics: Default::default(),
            lanes,
            share: Share::new(1 << 30),
        }
    }

    fn follow(&self, block: &Block, permit: Permit) {
        let mut plain = Plain {
            gate: &self.gate,
            view: &self.view,
            metrics: &self.metrics,
            unseen: Unseen {
                scope: &Scope::default(),
                catalog_position: Position::default(),
                begun: Position::default(),
            },
            transactions: &mut Transactions::default(),
            at: &mut Position::default(),
        };
        let mut origin = Origin::shared(block.payload.clone(), permit);
        let mut entries = block::entries(block);
        while !matches!(
            plain
                .pass(&mut entries, &mut origin)
                .expect("entries of users"),
            Next::Nothing
        ) {}
    }

    /// As a lane and its writer do it; the bytes of all commands.
    fn drain(&self) -> usize {
        let mut bytes = 0;
        for lane in &self.lanes {
            let Some(mut queue) = lane.try_take() else {
                continue;
            };
            let (oldest, mut applied) = (Oldest::of(&queue), 0);
            while !queue.is_empty() {
                let writes = compile(&mut queue, LIMITS);
                bytes += commands(&writes);
                let ops = writes.iter().map(|write| write.ops).sum();
                applied += ops;
                lane.applied(ops, oldest.after(applied));
            }
        }
        bytes
    }
}

fn commands(flush: &[CollectionWrites]) -> usize {
    let forms = Dialect::newest().writes;
    let plan = FlushPlan::of(flush, LIMITS, forms);
    assert!(plan.delicate.is_empty() && plan.in_order.is_empty());
    let mut bytes = 0;
    for bulk in &plan.inserts {
        bytes += render_inserts(bulk.collection, forms, &bulk.statements).bytes();
    }
    for bulk in plan.changes.iter().flat_map(|group| &group.bulks) {
        bytes += render_in_transaction(bulk.collection, forms, &bulk.statements).bytes();
    }
    bytes
}

/// Allocations per hundred ops by kind, with those of the queues: an insert is the copy
/// of its document, an update its delta, the list of one, and the query.
const ALLOCATIONS_MAX: [(&str, u64); 3] = [("inserts", 110), ("updates", 560), ("deletes", 360)];

pub(crate) fn follow(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (kind, (name, most)) in ALLOCATIONS_MAX.into_iter().enumerate() {
        let (pair, block) = (Pair::new(), block(|_| kind));
        let permit = runtime.block_on(pair.share.reserve(block.payload.len()));
        let count = allocations::during(|| {
            pair.follow(&block, permit);
            black_box(pair.drain());
        });
        let per_hundred = count * 100 / u64::from(OPS);
        println!("{name}: {per_hundred} allocations per hundred ops");
        assert!(
            per_hundred <= most,
            "{name}: {per_hundred} allocations per hundred ops, {most} are expected"
        );
    }
    let mut group = c.benchmark_group("follow");
    group
        .throughput(Throughput::Elements(OPS.into()))
        .sample_size(40);
    for (name, block) in [
        ("inserts", block(|_| 0)),
        ("updates", block(|_| 1)),
        ("deletes", block(|_| 2)),
        ("mixed", block(|i| i as usize % 3)),
    ] {
        group.bench_function(name, |b| {
            let pair = || {
                let pair = Pair::new();
                let permit = runtime.block_on(pair.share.reserve(block.payload.len()));
                (pair, permit)
            };
            b.iter_batched(
                pair,
                |(pair, permit)| {
                    pair.follow(&block, permit);
                    black_box(pair.drain())
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}
