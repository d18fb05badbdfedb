//! Random `_id`s of a collection, as bounds to cut it by. Bounds are hints, so a few are
//! enough where more would take long.
//!
//! Knows nothing about what is cut.

use std::time::{Duration, Instant};

use bson::{RawBson, rawdoc};
use futures_util::StreamExt;
use mongodb::Client;

use crate::bson::locate;
use crate::bson::value::ValueRef;
use crate::cluster::catalog::Namespace;
use crate::codes;
use crate::error::{Error, Kind, Result};

/// `_id`s in one request, and how long it may take: a random read of a slow disk each.
const AT_A_TIME: u64 = 200;
const TIME_MAX: Duration = Duration::from_secs(3);
/// Requests that may take longer, and how long all may take, before what was found has
/// to do.
const WAITS_MAX: u32 = 8;
const ALL_TIME_MAX: Duration = Duration::from_secs(120);

/// As many `_id`s as asked for, or fewer, unsorted. A sample blocks at a document that a
/// transaction keeps prepared, for ever if its coordinator hangs (seen on 6.0.5), and
/// sometimes finds only the same documents (28799). An `_id` that cannot be read is left
/// out.
///
/// # Errors
/// Transient ones. Any other refusal of the shard's `$sample` only makes the result
/// smaller.
pub async fn ids(shard: &Client, ns: &Namespace, count: u64) -> Result<Vec<RawBson>> {
    let (mut ids, mut at_a_time, mut waited, mut refused) = (Vec::new(), AT_A_TIME, 0, None);
    let began = Instant::now();
    while (ids.len() as u64) < count && waited < WAITS_MAX && began.elapsed() < ALL_TIME_MAX {
        match some(shard, ns, at_a_time.min(count - ids.len() as u64)).await {
            Ok(some) if some.is_empty() => break,
            Ok(some) => ids.extend(some),
            Err(e) if e.code == Some(codes::MAX_TIME_EXPIRED) => {
                waited += 1;
                at_a_time = (at_a_time / 4).max(1);
            }
            Err(e) if e.kind == Kind::Server => {
                tracing::debug!(%ns, "a sample failed: {e}");
                waited += 1;
                refused = Some(e);
            }
            Err(e) => return Err(e),
        }
    }
    if let Some(e) = refused.filter(|_| (ids.len() as u64) < count) {
        tracing::warn!(
            "{ns} could not be sampled fully; it is split at {} documents instead of {count}: {e}",
            ids.len()
        );
    }
    Ok(ids)
}

async fn some(shard: &Client, ns: &Namespace, count: u64) -> Result<Vec<RawBson>> {
    let command = rawdoc! {
    "aggregate": ns.coll.as_str(),
    "pipeline": [{ "$sample": { "size": count as i64 } }, { "$project": { "_id": 1 } }],
    "cursor": { "batchSize": count as i64 }, "allowDiskUse": true, "maxTimeMS": TIME_MAX.as_millis() as i64};
    let mut cursor = shard
        .database(&ns.db)
        .run_raw_cursor_command(command)
        .batch()
        .await?;
    let mut ids = Vec::new();
    while let Some(batch) = cursor.next().await {
        let batch = batch.map_err(Error::from)?;
        for document in batch.doc_slices()? {
            ids.extend(
                document?
                    .as_document()
                    .and_then(locate::id_of)
                    .and_then(ValueRef::readable),
            );
        }
    }
    Ok(ids)
}
