//! Many small collections, spread over databases, each with a secondary index.
//!
//! Measures nothing.

use bson::{Document, doc};
use futures_util::future::try_join_all;

use crate::bench::cases::CONNECTIONS;
use crate::cluster::ReplicaSet;
use crate::error::{Error, Result};
use crate::server::open_files;

/// What they are spread over.
const DATABASES: u64 = 50;

/// Makes `collections` of `docs` documents each.
pub(super) async fn make(source: &ReplicaSet, collections: u64, docs: i64) -> Result<()> {
    let parts = (0..CONNECTIONS).map(|part| make_part(source, collections, part, docs));
    try_join_all(parts).await.map(drop)
}

/// How many to take: what is `asked` for, or `usual`, or as many as servers have files for.
///
/// # Errors
/// If more are asked for than a server has files for.
pub(super) fn count(asked: Option<u64>, usual: u64) -> Result<u64> {
    let most = open_files::collections_max(1);
    if asked.is_some_and(|asked| most < asked) {
        let remedy =
            "raise the limit (`ulimit -n`, three files for each collection) or ask for fewer";
        return Err(Error::new(format!(
            "the limit of open files allows {most} collections only"
        ))
        .remedy(remedy));
    }
    Ok(asked.unwrap_or(usual.min(most)))
}

/// Every `CONNECTIONS`th of them, from `part` on.
async fn make_part(source: &ReplicaSet, collections: u64, part: u64, docs: i64) -> Result<()> {
    let mut link = source.primary_link().await?;
    for n in (part..collections).step_by(CONNECTIONS as usize) {
        let (db, coll) = (format!("many{}", n % DATABASES), format!("c{n}"));
        let documents: Vec<Document> = (0..docs).map(|k| doc! { "_id": k, "k": k }).collect();
        link.command(&db, doc! { "insert": &coll, "documents": documents })
            .await?;
        let index = doc! { "key": { "k": 1 }, "name": "k" };
        link.command(&db, doc! { "createIndexes": &coll, "indexes": [index] })
            .await?;
    }
    Ok(())
}
