//! Comparing one range of a part: both sides at once, digest against digest.
//!
//! Knows nothing about other ranges.

use std::sync::Arc;
use std::time::Duration;

use crate::bson::identity::IdKey;
use crate::cluster::retry::a_few_times;
use crate::error::{Error, Result};
use crate::verify::digest::Digest;
use crate::verify::explain::Explained;
use crate::verify::part::{Counted, Order, Part, Reader};
use crate::verify::range::Range;
use crate::verify::read::{self, Documents};
use crate::verify::{Depth, Differing, explain};

/// How often a range is read again after a transient fault.
const ATTEMPTS_MAX: u32 = 4;
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The result of comparing a range.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The source's.
    pub documents: u64,
    pub bytes: u64,
    /// Documents read again, one by one.
    pub rechecked: u64,
    pub differences: Vec<String>,
    /// How many documents differ, with their collection and source shard.
    pub differing: Option<Differing>,
}

impl Outcome {
    fn differs(&mut self, part: &Part, explained: Explained) {
        if explained.sentences.is_empty() {
            return;
        }
        self.differences = explained.sentences;
        let (shard, ns) = (part.source.shard.id.clone(), part.ns.to_string());
        self.differing = Some(Differing {
            shard,
            ns,
            documents: explained.documents,
        });
    }
}

/// Compares one range. Passing faults are retried.
///
/// # Errors
/// If a side cannot be read.
pub async fn compare(part: Arc<Part>, range: Range) -> Result<Outcome> {
    after_faults(&part, || compare_once(&part, &range)).await
}

/// Documents that were touched since they were verified. Passing faults are retried.
///
/// # Errors
/// If a side cannot be read.
pub async fn recheck(part: Arc<Part>, ids: Vec<IdKey>) -> Result<Outcome> {
    let explained = after_faults(&part, || explain::documents(&part, &ids)).await?;
    let mut outcome = Outcome {
        rechecked: ids.len() as u64,
        ..Outcome::default()
    };
    outcome.differs(&part, explained);
    Ok(outcome)
}

async fn after_faults<T, F: Future<Output = Result<T>>>(
    part: &Part,
    work: impl Fn() -> F,
) -> Result<T> {
    let again =
        |attempt, e: &Error| tracing::warn!(ns = %part.ns, attempt, error = %e, "comparing again");
    let done = a_few_times(ATTEMPTS_MAX, RETRY_DELAY, again, work).await;
    done.map_err(|e| e.context(format_args!("comparing {}", part.ns)))
}

async fn compare_once(part: &Part, range: &Range) -> Result<Outcome> {
    let (source, target) = tokio::try_join!(
        digest(part, &part.source, range),
        digest(part, &part.target, range)
    )?;
    let mut outcome = Outcome {
        documents: source.documents,
        bytes: source.bytes,
        ..Outcome::default()
    };
    let order_counts = part.order == Order::Natural && part.depth == Depth::Digests;
    if if order_counts {
        source == target
    } else {
        source.same_documents(&target)
    } {
        return Ok(outcome);
    }
    let mut explained = explain::explain(part, range).await?;
    if explained.sentences.is_empty() {
        explained
            .sentences
            .push(unexplained(part, &source, &target));
    }
    outcome.differs(part, explained);
    Ok(outcome)
}

/// Reads one side of a range.
async fn digest(part: &Part, reader: &Reader, range: &Range) -> Result<Digest> {
    let mut digest = Digest::default();
    if matches!(reader.counted, Counted::Nothing) {
        return Ok(digest);
    }
    let command = read::find(part, reader, range);
    let mut documents = Documents::open(reader, &part.ns, command, range.batch_documents).await?;
    while let Some(batch) = documents.next().await? {
        let counted = batch.iter().filter(|d| reader.counted.counts(d));
        match part.depth {
            Depth::Digests => counted.for_each(|d| digest.add(d.as_bytes())),
            Depth::Counts => counted.for_each(|d| digest.count(d.as_bytes())),
        }
    }
    Ok(digest)
}

/// The digests differ and a second look found nothing to name.
fn unexplained(part: &Part, source: &Digest, target: &Digest) -> String {
    let ns = &part.ns;
    let (ours, theirs) = (source.documents, target.documents);
    if part.depth == Depth::Digests && source.same_documents(target) {
        return format!("{ns}: the same documents, but in another natural order");
    }
    format!(
        "{ns}: {ours} documents on the source and {theirs} on the target, then equal: someone is still writing"
    )
}
