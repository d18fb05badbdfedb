//! Single documents, read again on both sides by `_id`: those that were touched since
//! their range was verified.
//!
//! IMPORTANT: a document that is on neither side is equal. So whatever is asked for
//! must be found if it is there: `$in` on the `_id` index compares as the index does,
//! for every value that `pair::gate::touched` keeps.

use std::collections::HashMap;

use bson::{RawDocumentBuf, rawdoc};
use xxhash_rust::xxh3::xxh3_128;

use crate::bson::identity::{self, IdKey};
use crate::bson::locate::id_of;
use crate::cluster::ranges::id_hint;
use crate::error::Result;
use crate::verify::part::{Counted, Part, Reader};
use crate::verify::read::Documents;

/// `_id`s asked for at a time: enough that round trips do not count. The command has
/// room for them as long as they have less than 16 KB each; `chunks` sees to that.
const IDS_MAX: usize = 1_000;
const IDS_BYTES_MAX: usize = 8 << 20;

/// Cuts ids into lists for one command each.
pub fn chunks(ids: &[IdKey]) -> impl Iterator<Item = &[IdKey]> {
    identity::split(ids, IDS_MAX, IDS_BYTES_MAX)
}

/// How one document differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Missing,
    Extra,
    Changed,
}

/// Those of `ids` that differ, and how.
///
/// # Errors
/// If a side cannot be read.
pub async fn different(part: &Part, ids: &[IdKey]) -> Result<Vec<(IdKey, How)>> {
    let (source, target) = tokio::try_join!(
        hashes(part, &part.source, ids),
        hashes(part, &part.target, ids)
    )?;
    let how = |id: &IdKey| match (source.get(id), target.get(id)) {
        (Some(_), None) => Some(How::Missing),
        (None, Some(_)) => Some(How::Extra),
        (ours, theirs) if ours != theirs => Some(How::Changed),
        _ => None,
    };
    Ok(ids
        .iter()
        .filter_map(|id| Some((id.clone(), how(id)?)))
        .collect())
}

/// Hashes of the documents that exist and count on this side.
async fn hashes(part: &Part, reader: &Reader, ids: &[IdKey]) -> Result<HashMap<IdKey, u128>> {
    let mut hashes = HashMap::new();
    if ids.is_empty() || matches!(reader.counted, Counted::Nothing) {
        return Ok(hashes);
    }
    let command = find(part, reader, ids);
    let mut documents = Documents::open(reader, &part.ns, command, ids.len() as u32).await?;
    while let Some(batch) = documents.next().await? {
        for document in batch.iter().filter(|d| reader.counted.counts(d)) {
            if let Some(id) = id_of(document) {
                hashes.insert(IdKey::new(id), xxh3_128(document.as_bytes()));
            }
        }
    }
    Ok(hashes)
}

/// Those of `ids` that a side has.
pub(super) fn find(part: &Part, reader: &Reader, ids: &[IdKey]) -> RawDocumentBuf {
    let taken = reader.shard.writes.clustered_hint || !part.clustered;
    rawdoc! {
        "find": part.ns.own(&reader.shard.scope).coll,
        "filter": { "_id": identity::any_of(ids) },
        "hint": id_hint(taken),
        "batchSize": ids.len() as i64,
    }
}
