//! Everything in its scope that one shard stores: collections and views with their options and
//! finished indexes, byte for byte. Read by one command (`$listCatalog`), whose time
//! hardly grows with the number of collections, or by a command per collection where a
//! server does not offer it.
//!
//! Reads only. Knows nothing about sharding, nor about what should be there.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Uuid, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::catalog::{
    CollectionKind, Namespace, READ_CONCURRENCY, listing, named, rewritten,
};
use crate::cluster::deployment::Shard;
use crate::cluster::retry::answered;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// What makes a view. Its row in `$listCatalog` has more, such as the shard's own id.
const OPTIONS_OF_VIEWS: [&str; 3] = ["viewOn", "pipeline", "collation"];

/// One collection or view of a shard.
#[derive(Debug, Clone)]
pub struct Stored {
    pub ns: Namespace,
    pub kind: CollectionKind,
    /// None for views.
    pub uuid: Option<Uuid>,
    /// Without `uuid`.
    pub options: RawDocumentBuf,
    /// Finished ones, that on `_id` too, without `ns`.
    pub indexes: Vec<RawDocumentBuf>,
}

/// One who may not list all at once, or a server that cannot.
const CODES_NOT_AT_ONCE: [i32; 3] = [
    codes::UNAUTHORIZED,
    codes::UNKNOWN_STAGE,
    codes::STAGE_NOT_ENABLED,
];

/// Reads all of a shard.
///
/// # Errors
/// As the server's.
pub async fn read(shard: &Shard) -> Result<Vec<Stored>> {
    let read = match answered("the shard", at_once(shard)).await {
        Err(e) if e.code.is_some_and(|code| CODES_NOT_AT_ONCE.contains(&code)) => {
            one_by_one(shard).await
        }
        read => read,
    };
    read.map_err(|e| e.context(format_args!("listing what shard {} holds", shard.id)))
}

async fn at_once(shard: &Shard) -> Result<Vec<Stored>> {
    let databases = shard.scope.databases_left_out();
    let left_out = rawdoc! { "db": { "$nin": bson::RawArrayBuf::from_iter(databases) } };
    let command = rawdoc! {
    "aggregate": 1, "pipeline": [{ "$listCatalog": {} }, { "$match": left_out }], "cursor": {}};
    let mut cursor = shard
        .client
        .database("admin")
        .run_raw_cursor_command(command)
        .batch()
        .await?;
    let mut stored = Vec::new();
    while let Some(batch) = cursor.next().await {
        let batch = batch?;
        for row in batch.doc_slices()? {
            let row = row?
                .as_document()
                .ok_or_else(|| malformed("a row of $listCatalog is not a document"))?;
            stored.extend(of_row(&shard.scope, row)?);
        }
    }
    Ok(stored)
}

/// None if it is not in the scope.
fn of_row(scope: &Scope, row: &RawDocument) -> Result<Option<Stored>> {
    let db = row.get_str("db")?;
    let coll = listing::name(db, row)?;
    if !scope.has(db, &coll) {
        return Ok(None);
    }
    let ns = Namespace::named(scope, db, &coll)?;
    let kind = listing::kind_of(row);
    let Ok(metadata) = row.get_document("md") else {
        let options = match kind {
            // Those of its buckets. The view of them is written otherwise by each release.
            CollectionKind::TimeSeries => RawDocumentBuf::new(),
            _ => rewritten::options(scope, db, &ns, &listing::only(row, &OPTIONS_OF_VIEWS))?,
        };
        return Ok(Some(Stored {
            ns,
            kind,
            uuid: None,
            options,
            indexes: Vec::new(),
        }));
    };
    let options = metadata.get_document("options")?;
    let uuid = options
        .get_binary("uuid")?
        .bytes
        .try_into()
        .map(Uuid::from_bytes)
        .ok();
    let indexes = finished(metadata.get_array("indexes")?)?;
    Ok(Some(Stored {
        ns,
        kind,
        uuid,
        options: listing::without(options, &["uuid"]),
        indexes,
    }))
}

fn finished(indexes: &bson::RawArray) -> Result<Vec<RawDocumentBuf>> {
    let mut specs = Vec::new();
    for index in indexes {
        let index = index?
            .as_document()
            .ok_or_else(|| malformed("an index is not a document"))?;
        if index.get("ready")? == Some(RawBsonRef::Boolean(true)) {
            specs.push(listing::without(index.get_document("spec")?, &["ns"]));
        }
    }
    Ok(specs)
}

async fn one_by_one(shard: &Shard) -> Result<Vec<Stored>> {
    let databases = listing::databases(shard, None).await?;
    let listed = databases.into_iter().map(|database| async move {
        let listed = named::collections(shard, &database.name, None).await?;
        Ok::<_, Error>(
            listed
                .into_iter()
                .map(move |l| (database.name.clone(), l))
                .collect::<Vec<_>>(),
        )
    });
    let listed: Vec<_> = stream::iter(listed)
        .buffered(READ_CONCURRENCY)
        .try_collect()
        .await?;
    let stored = listed.into_iter().flatten().map(|(db, listed)| async move {
        let ns = Namespace {
            db,
            coll: listed.name,
        };
        let indexes = match listed.kind {
            CollectionKind::Plain => listing::indexes(shard, &ns).await?,
            CollectionKind::View | CollectionKind::TimeSeries => Vec::new(),
        };
        let options = match listed.kind {
            CollectionKind::TimeSeries => RawDocumentBuf::new(),
            _ => listing::without(&listed.options, &["idIndex"]),
        };
        Ok(Stored {
            ns,
            kind: listed.kind,
            uuid: listed.uuid,
            options,
            indexes,
        })
    });
    stream::iter(stored)
        .buffer_unordered(READ_CONCURRENCY)
        .try_collect()
        .await
}

fn malformed(what: &str) -> Error {
    Error::new(Kind::Server, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_what_it_was_created_with_on_whichever_shard_it_is() {
        let made =
            rawdoc! {"viewOn": "c", "pipeline": [{"$limit": 1}], "collation": {"locale": "de"}};
        let view = |shard: Option<&str>| {
            let mut row = rawdoc! {"db": "d", "name": "v", "type": "view"};
            if let Some(shard) = shard {
                row.append(bson::cstr!("shard"), shard);
            }
            row.append(bson::cstr!("_id"), "d.v");
            made.iter().for_each(|field| {
                let (name, value) = field.unwrap();
                row.append(name, value);
            });
            row.append(bson::cstr!("ns"), "d.v");
            of_row(&Scope::default(), &row).unwrap().unwrap().options
        };
        assert_eq!(
            [view(None), view(Some("a0")), view(Some("b0"))],
            [made.clone(), made.clone(), made.clone()]
        );
    }
}
