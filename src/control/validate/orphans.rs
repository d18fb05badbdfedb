//! Documents that a source shard keeps of ranges it has given away: orphans. They are never
//! copied, but a copy reads them. An estimate: what the shards still have to delete.
//!
//! Reads only.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use crate::cluster::deployment::{Deployment, Shard, Topology};
use crate::cluster::retry::answered;
use crate::control::validate::{Check, Group};
use crate::error::Result;

const NAME: &str = "source orphans";
const REMEDY: &str = "none of them is copied, but the copy reads them: let the source delete them first (it does by itself, \
    orphanCleanupDelaySecs after a move; `cleanupOrphaned` on the shard's primary)";

/// Of one collection on one shard.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    ranges: u64,
    /// As far as the shard has counted them (6.0).
    documents: u64,
}

/// None without shards.
pub(super) async fn check(source: &Deployment) -> Option<Check> {
    if source.topology == Topology::ReplicaSet {
        return None;
    }
    if !source.dialect.catalog.notes_orphans {
        return Some(untold().about(Group::SourceState));
    }
    let asked = source.shards.iter().map(of_shard);
    let mut noted = Vec::new();
    for (shard, left) in source.shards.iter().zip(join_all(asked).await) {
        match left {
            Ok(left) => noted.extend(told(&shard.id, &left)),
            Err(e) => noted.push(format!("{} does not tell: {}", shard.id, e.message)),
        }
    }
    let good = "no shard has a range left to delete";
    Some(Check::warn_of(NAME, &noted, good, REMEDY).about(Group::SourceState))
}

fn untold() -> Check {
    let found = "shards of this release do not tell what they have still to delete";
    Check::warn(NAME, found, REMEDY)
}

async fn of_shard(shard: &Shard) -> Result<BTreeMap<String, Left>> {
    let config = shard.client.database("config");
    let ranges = config.collection::<Document>("rangeDeletions");
    let find = ranges.find(doc! {});
    let find = find.projection(doc! {"_id": 0, "nss": 1, "numOrphanDocs": 1});
    let rows = answered("ranges to delete", async {
        Ok(find.await?.try_collect::<Vec<_>>().await?)
    });
    Ok(counted(&rows.await?))
}

fn counted(rows: &[Document]) -> BTreeMap<String, Left> {
    let mut left: BTreeMap<String, Left> = BTreeMap::new();
    for row in rows {
        let ns = row.get_str("nss").unwrap_or("a collection").to_owned();
        let left = left.entry(ns).or_default();
        let documents = row.get("numOrphanDocs").and_then(whole).unwrap_or(0);
        left.ranges += 1;
        left.documents += documents.max(0) as u64;
    }
    left
}

fn whole(value: &Bson) -> Option<i64> {
    value.as_i64().or(value.as_i32().map(i64::from))
}

fn told(shard: &str, left: &BTreeMap<String, Left>) -> Vec<String> {
    let text = |(ns, left): (&String, &Left)| {
        let documents = match left.documents {
            0 => String::new(),
            count => format!(", about {count} documents"),
        };
        format!("{} ranges of {ns} on {shard}{documents}", left.ranges)
    };
    left.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::Verdict;

    #[test]
    fn a_release_that_does_not_tell_is_warned_of() {
        assert_eq!(untold().verdict, Verdict::Warning);
    }

    #[test]
    fn ranges_to_delete_are_counted_by_collection() {
        let rows = [
            doc! {"nss": "d.a", "numOrphanDocs": 5i64},
            doc! {"nss": "d.a", "numOrphanDocs": 2},
            doc! {"nss": "d.b"},
        ];
        assert_eq!(
            told("s0", &counted(&rows)),
            [
                "2 ranges of d.a on s0, about 7 documents",
                "1 ranges of d.b on s0"
            ]
        );
        assert!(told("s0", &counted(&[])).is_empty());
    }
}
