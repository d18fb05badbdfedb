//! A lane: one ordered worker of a pair. It takes everything its inbox holds, compiles it
//! to one state per document, writes that, and only then takes more.
//!
//! The more ops wait, the more are written at once, in the order of `_id`: the target
//! then touches a page once for many documents (benches/log.md has the saving).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::observe::counters::PairMetrics;
use crate::pair::lanes::compile::compile;
use crate::pair::lanes::inbox::{Inbox, Oldest};
use crate::pair::throttle::Throttle;
use crate::pair::write::bulk::Writer;
use crate::pair::write::statement::{CollectionWrites, FlushLimits};

/// How long a flush should take, about: its ops count as applied only all together.
const FLUSH: Duration = Duration::from_secs(5);

/// Works until an error; ends by being dropped. `flush_bytes`: in one flush.
pub async fn run(
    inbox: Arc<Inbox>,
    writer: Writer,
    flush_bytes: usize,
    metrics: Arc<PairMetrics>,
    throttle: Arc<Throttle>,
) -> Result<()> {
    let mut limits = FlushLimits {
        bytes_max: flush_bytes,
        ..writer.limits
    };
    loop {
        // Natural batching: while one flush is under way, the next gathers.
        let mut queue = inbox.take().await;
        let (oldest, mut applied) = (Oldest::of(&queue), 0);
        while !queue.is_empty() {
            writer.majority.keeps_up().await;
            let began = Instant::now();
            let writes = compile(&mut queue, limits);
            let sent = writer.flush(&writes).await?;
            let ops = acknowledge(&writes, sent, &metrics);
            applied += ops;
            // IMPORTANT: only after the flush: until then its oldest position holds
            // the watermark back.
            inbox.applied(ops, oldest.after(applied));
            // Upwards slowly: the next ops may cost more than the last ones.
            let pace = at_that_pace(sent, began.elapsed()).min(2 * limits.statements_max);
            limits.statements_max = pace.max(writer.limits.statements_max);
            throttle.applied(ops).await;
        }
    }
}

/// Statements that take as long as `FLUSH` if `sent` took `elapsed`.
fn at_that_pace(sent: u64, elapsed: Duration) -> usize {
    (sent as f64 * FLUSH.as_secs_f64() / elapsed.as_secs_f64().max(1e-3)) as usize
}

/// Returns how many ops it were.
fn acknowledge(writes: &[CollectionWrites], sent: u64, metrics: &PairMetrics) -> u64 {
    for write in writes {
        write.collection.in_lanes.fetch_sub(write.ops, SeqCst);
        metrics.ops_applied.fetch_add(write.ops, Relaxed);
    }
    metrics.statements_sent.fetch_add(sent, Relaxed);
    writes.iter().map(|write| write.ops).sum()
}
