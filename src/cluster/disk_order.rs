//! Whether `_id`s ascend on a server's disk: looks at both ends of a collection.
//!
//! Where they do, both ends are far apart in the order of `_id`, also where several writers
//! made them at a time. Record ids are not asked for: 4.2 shows none with a sample.

use std::time::Duration;

use bson::{RawBson, RawDocumentBuf, rawdoc};
use futures_util::StreamExt;
use mongodb::Client;

use crate::bson::locate;
use crate::bson::order;
use crate::bson::value::ValueRef;
use crate::cluster::catalog::Namespace;
use crate::error::{Error, Result};

/// Documents at each end, and how long they may take to read: they are read whole.
const DOCUMENTS: i64 = 200;
const TIME_MAX: Duration = Duration::from_secs(5);

/// Pairs of one document from each end that ascend, as a share of all: about 1 where `_id`s
/// ascend on the disk, 0 where they descend, 0.5 where they are mixed. None if there is
/// nothing to compare.
///
/// # Errors
/// As the server gives them.
pub async fn ascending(shard: &Client, ns: &Namespace) -> Result<Option<f64>> {
    let (first, last) = (ids(shard, ns, 1).await?, ids(shard, ns, -1).await?);
    Ok(share(&first, &last))
}

/// Neither order of `_id` is that of the disk.
pub fn is_mixed(ascending: f64) -> bool {
    (0.1..=0.9).contains(&ascending)
}

async fn ids(shard: &Client, ns: &Namespace, direction: i32) -> Result<Vec<RawBson>> {
    let mut cursor = shard
        .database(&ns.db)
        .run_raw_cursor_command(find(&ns.coll, direction))
        .batch()
        .await?;
    let mut ids = Vec::new();
    while let Some(batch) = cursor.next().await {
        let batch = batch.map_err(Error::from)?;
        for document in batch.doc_slices()? {
            let id = document?.as_document().and_then(locate::id_of);
            ids.extend(id.and_then(ValueRef::readable));
        }
    }
    Ok(ids)
}

fn find(coll: &str, direction: i32) -> RawDocumentBuf {
    rawdoc! {
        "find": coll, "hint": { "$natural": direction }, "projection": { "_id": 1 },
        "limit": DOCUMENTS, "batchSize": DOCUMENTS, "maxTimeMS": TIME_MAX.as_millis() as i64,
    }
}

fn share(first: &[RawBson], last: &[RawBson]) -> Option<f64> {
    let of = |first: &RawBson| {
        let ascends = |last: &&RawBson| {
            order::compare(first.as_raw_bson_ref(), last.as_raw_bson_ref()).is_lt()
        };
        last.iter().filter(ascends).count()
    };
    let pairs = first.len() * last.len();
    let ascending: usize = first.iter().map(of).sum();
    (0 < pairs).then(|| ascending as f64 / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_tell_whether_ids_ascend() {
        let ids = |ids: &[i32]| ids.iter().map(|id| RawBson::Int32(*id)).collect::<Vec<_>>();
        for (first, last, expect) in [
            (&[2, 1, 3][..], &[9, 7, 8][..], Some(1.0)),
            (&[9, 8], &[1, 2], Some(0.0)),
            (&[5, 1], &[2, 9], Some(0.75)),
            (&[], &[], None),
        ] {
            assert_eq!(
                share(&ids(first), &ids(last)),
                expect,
                "{first:?}, {last:?}"
            );
        }
        assert!(is_mixed(0.5) && !is_mixed(1.0) && !is_mixed(0.0));
    }
}
