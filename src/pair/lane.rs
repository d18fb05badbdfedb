//! A lane: one ordered worker of a pair. Takes what its inbox holds, compiles
//! it to one state per document, writes it, and only then takes more.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::error::Result;
use crate::observe::metrics::PairMetrics;
use crate::pair::bulk::Writer;
use crate::pair::compile::{CollectionWrites, compile};
use crate::pair::inbox::{Inbox, Oldest};

/// Works until an error; ends by being dropped.
pub async fn run(inbox: Arc<Inbox>, writer: Writer, metrics: Arc<PairMetrics>) -> Result<()> {
    loop {
        // Natural batching: while one flush is under way, the next gathers.
        let taken = inbox.take().await;
        let (oldest, mut applied) = (Oldest::of(&taken), 0);
        let mut queue = taken.into_iter().peekable();
        while queue.peek().is_some() {
            let writes = compile(&mut queue, writer.limits);
            let sent = writer.flush(&writes).await?;
            let ops = acknowledge(&writes, sent, &metrics);
            applied += ops;
            // IMPORTANT: only after the flush: until then its oldest position holds
            // the watermark back.
            inbox.applied(ops, oldest.after(applied));
        }
    }
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
