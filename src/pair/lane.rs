//! A lane: one ordered worker of a pair. Takes what its inbox holds, compiles
//! it to one state per document, writes it, and only then takes more.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::error::Result;
use crate::observe::metrics::PairMetrics;
use crate::pair::bulk::Writer;
use crate::pair::compile::{CollectionWrites, compile};
use crate::pair::inbox::Inbox;

/// Works until an error; ends by being dropped.
pub async fn run(inbox: Arc<Inbox>, writer: Writer, metrics: Arc<PairMetrics>) -> Result<()> {
    loop {
        // Natural batching: while one flush is under way, the next gathers.
        let mut queue = inbox.take().await.into_iter().peekable();
        while queue.peek().is_some() {
            let writes = compile(&mut queue, writer.limits);
            let sent = writer.flush(&writes).await?;
            acknowledge(&writes, sent, &metrics);
        }
        // IMPORTANT: only after the last flush of what was taken: until then
        // its oldest position holds the watermark back.
        inbox.applied();
    }
}

fn acknowledge(writes: &[CollectionWrites], sent: u64, metrics: &PairMetrics) {
    for write in writes {
        write.collection.in_lanes.fetch_sub(write.ops, SeqCst);
        metrics.ops_applied.fetch_add(write.ops, Relaxed);
    }
    metrics.statements_sent.fetch_add(sent, Relaxed);
}
