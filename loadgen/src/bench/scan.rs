//! Reading everything and writing it nowhere: what the source alone allows.
//!
//! Knows nothing about the engine.

use std::time::Instant;

use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::Client;
use mongodb::options::Hint;
use tokio::sync::Mutex;

use crate::bench::statements::DATABASE;
use crate::error::{Error, Result};

/// Connections that read side by side, as many as the engine has by default.
const READERS: u64 = 2;
/// More documents than fit a reply: the server then fills it up by bytes.
const BATCH_DOCUMENTS: u32 = 1_000_000;

/// One range of one collection, `_id` from the first, below the second bound.
pub(super) struct Range {
    pub(super) collection: String,
    pub(super) lower: Option<i64>,
    pub(super) upper: Option<i64>,
}

/// `collections` cut at `bounds`, so that all readers are busy to the end.
pub(super) fn ranges(collections: &[String], bounds: &[i64]) -> Vec<Range> {
    let lower = || [None].into_iter().chain(bounds.iter().copied().map(Some));
    let upper = || bounds.iter().copied().map(Some).chain([None]);
    let of = |collection: &String| {
        let collection = collection.clone();
        lower().zip(upper()).map(move |(lower, upper)| Range {
            collection: collection.clone(),
            lower,
            upper,
        })
    };
    collections.iter().flat_map(of).collect()
}

/// All of each collection, in the order of the disk.
pub(super) fn whole(collections: &[String]) -> Vec<Range> {
    ranges(collections, &[])
}

/// Reads all ranges in `_id` order, whole collections in the order of the disk; documents found,
/// and seconds it took.
pub(super) async fn read(client: &Client, ranges: Vec<Range>) -> Result<(u64, f64)> {
    let began = Instant::now();
    let ranges = Mutex::new(ranges.into_iter());
    let reader = || async {
        let mut documents = 0;
        loop {
            let Some(range) = ranges.lock().await.next() else {
                return Ok::<u64, Error>(documents);
            };
            documents += read_range(client, &range).await?;
        }
    };
    let counts = futures_util::future::try_join_all((0..READERS).map(|_| reader())).await?;
    Ok((counts.iter().sum(), began.elapsed().as_secs_f64()))
}

async fn read_range(client: &Client, range: &Range) -> Result<u64> {
    let mut bounds = Document::new();
    bounds.extend(range.lower.map(|lower| ("$gte".to_owned(), lower.into())));
    bounds.extend(range.upper.map(|upper| ("$lt".to_owned(), upper.into())));
    let (filter, hint) = if bounds.is_empty() {
        (doc! {}, doc! { "$natural": 1 })
    } else {
        (doc! { "_id": bounds }, doc! { "_id": 1 })
    };
    let rows = client
        .database(DATABASE)
        .collection::<Document>(&range.collection);
    let find = rows
        .find(filter)
        .hint(Hint::Keys(hint))
        .batch_size(BATCH_DOCUMENTS);
    let mut cursor = find.batch().await?;
    let mut documents = 0;
    while let Some(batch) = cursor.next().await {
        documents += batch?.doc_slices()?.into_iter().count() as u64;
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_no_gap() {
        let ranges = ranges(&["a".to_owned(), "b".to_owned()], &[10, 20]);
        let found: Vec<_> = ranges
            .iter()
            .map(|r| (r.collection.as_str(), r.lower, r.upper))
            .collect();
        let (ten, twenty) = (Some(10), Some(20));
        let of = |c| [(c, None, ten), (c, ten, twenty), (c, twenty, None)];
        assert_eq!(found, [of("a"), of("b")].concat());
    }
}
