//! Databases, collections and indexes as one server lists them.
//!
//! Knows nothing about sharding.

use std::collections::BTreeSet;
use std::fmt;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Uuid, doc};
use futures_util::TryStreamExt;
use mongodb::Client;
use parking_lot::Mutex;

use crate::bson::element::{document, elements, elements_of, field, string};
use crate::cluster::catalog::{CollectionKind, Database, Namespace, index};
use crate::cluster::deployment::Shard;
use crate::cluster::retry::answered;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// Version of an index on `_id` that a server makes by itself.
const ID_INDEX_VERSION: i32 = 2;

/// One line of `listCollections`.
#[derive(Debug)]
pub(super) struct Listed {
    /// Without the database.
    pub(super) name: String,
    pub(super) kind: CollectionKind,
    pub(super) uuid: Option<Uuid>,
    pub(super) options: RawDocumentBuf,
}

/// Names that are not UTF-8, in words. Whoever gives none wants an error for the first.
pub(super) type Unnamed = Mutex<BTreeSet<String>>;

/// Databases of a replica set that may be in its scope, by the run's names.
pub(super) async fn databases(shard: &Shard, unnamed: Option<&Unnamed>) -> Result<Vec<Database>> {
    let client = &shard.client;
    let named = answered("the server", async {
        Ok(client.list_database_names().await?)
    })
    .await;
    let mut names = match (named, unnamed) {
        (Ok(names), _) => names,
        (Err(e), _) if e.kind == Kind::Transient => return Err(e),
        // The driver does not say which name it cannot read.
        (Err(e), unnamed) => readable(client, unnamed).await.unwrap_or(Err(e))?,
    };
    names.retain(|name| shard.scope.may_have_in(name));
    let names = names
        .iter()
        .flat_map(|name| shard.scope.databases_named(name));
    let names: BTreeSet<String> = names.collect();
    Ok(names
        .into_iter()
        .map(|name| Database { name, primary: 0 })
        .collect())
}

/// Names of the databases that can be read. None if the server does not list them so.
async fn readable(client: &Client, unnamed: Option<&Unnamed>) -> Option<Result<Vec<String>>> {
    let all = doc! {"aggregate": 1, "pipeline": [{"$listCatalog": {}}, {"$project": {"db": 1}}], "cursor": {}};
    let rows = async {
        let cursor = client.database("admin").run_cursor_command(all).await?;
        Ok(cursor
            .with_type()
            .try_collect::<Vec<RawDocumentBuf>>()
            .await?)
    };
    let rows = answered("the server", rows).await.ok()?;
    let names = rows.iter().map(|row| text("a database", row, "db"));
    let names: Result<Vec<Option<String>>> = names.map(|name| noted(name, unnamed)).collect();
    let unique = |names: Vec<Option<String>>| {
        let names: BTreeSet<String> = names.into_iter().flatten().collect();
        names.into_iter().collect()
    };
    Some(names.map(unique))
}

/// None for what has no name that is UTF-8, once that is noted.
fn noted<T>(parsed: Result<T>, unnamed: Option<&Unnamed>) -> Result<Option<T>> {
    match (parsed, unnamed) {
        (Err(e), Some(unnamed)) if e.kind == Kind::Refused => {
            unnamed.lock().insert(e.message);
            Ok(None)
        }
        (parsed, _) => parsed.map(Some),
    }
}

/// Collections and views of database `db`, by the server's own names. `unnamed`: what has no
/// name that is UTF-8 is left out, and noted there.
pub(super) async fn collections_in(
    scope: &Scope,
    client: &Client,
    (db, only): (&str, Option<&str>),
    unnamed: Option<&Unnamed>,
) -> Result<Vec<Listed>> {
    let mut command = doc! {"listCollections": 1};
    if let Some(name) = only {
        command.insert("filter", doc! {"name": name});
    }
    let lines = lines(client, db, command).await?;
    let listed = lines.iter().map(|line| noted(parse(db, line), unnamed));
    let listed: Vec<Option<Listed>> = listed.collect::<Result<_>>()?;
    let listed = listed.into_iter().flatten();
    Ok(listed.filter(|l| scope.has(db, &l.name)).collect())
}

async fn listed(client: &Client, db: &str, command: Document) -> Result<Vec<Listed>> {
    let lines = lines(client, db, command).await?;
    lines.iter().map(|line| parse(db, line)).collect()
}

async fn lines(client: &Client, db: &str, command: Document) -> Result<Vec<RawDocumentBuf>> {
    let lines = async {
        let cursor = client.database(db).run_cursor_command(command).await?;
        Ok(cursor
            .with_type()
            .try_collect::<Vec<RawDocumentBuf>>()
            .await?)
    };
    answered("listing collections", lines).await
}

/// Options of the collection with this UUID, whatever its name; None if there is none. `db`:
/// the server's own.
pub async fn options_of(client: &Client, db: &str, uuid: Uuid) -> Result<Option<RawDocumentBuf>> {
    Ok(of_uuid(client, db, uuid)
        .await?
        .map(|listed| listed.options))
}

/// Name of the collection with this UUID; None if there is none. The server's own, as `db`.
pub async fn name_of(client: &Client, db: &str, uuid: Uuid) -> Result<Option<String>> {
    Ok(of_uuid(client, db, uuid).await?.map(|listed| listed.name))
}

async fn of_uuid(client: &Client, db: &str, uuid: Uuid) -> Result<Option<Listed>> {
    let filter = doc! {"info.uuid": bson::Binary::from(uuid)};
    let listed = listed(client, db, doc! {"listCollections": 1, "filter": filter}).await?;
    Ok(listed.into_iter().next())
}

fn parse(db: &str, line: &RawDocument) -> Result<Listed> {
    let name = name(db, line)?;
    let kind = kind_of(line);
    let uuid = line
        .get_document("info")
        .and_then(|i| i.get_binary("uuid"))
        .ok();
    let uuid = uuid
        .and_then(|b| b.bytes.try_into().ok())
        .map(Uuid::from_bytes);
    if uuid.is_none() && kind == CollectionKind::Plain {
        return Err(Error::new(
            Kind::Server,
            format!("collection {name} is listed without a UUID"),
        ));
    }
    let mut options = line
        .get_document("options")
        .map(RawDocument::to_owned)
        .unwrap_or_default();
    if let Some(old) = old_id_index(line) {
        options.append(bson::cstr!("idIndex"), old.to_owned());
    }
    Ok(Listed {
        name,
        kind,
        uuid,
        options,
    })
}

/// The index on `_id`, where it is not as a server makes it by itself: then `create`
/// has to ask for it.
fn old_id_index(line: &RawDocument) -> Option<&RawDocument> {
    let index = line.get_document("idIndex").ok()?;
    index
        .get_i32("v")
        .is_ok_and(|version| version < ID_INDEX_VERSION)
        .then_some(index)
}

/// By `type`, as both listings of a server have it.
pub(super) fn kind_of(line: &RawDocument) -> CollectionKind {
    match line.get_str("type") {
        Ok("view") => CollectionKind::View,
        Ok("timeseries") => CollectionKind::TimeSeries,
        _ => CollectionKind::Plain,
    }
}

/// The name of a collection or view in a listing of database `db`.
pub(super) fn name(db: &str, line: &RawDocument) -> Result<String> {
    text(
        format_args!("a collection or view of database {db}"),
        line,
        "name",
    )
}

/// A name in `line`. Servers take any bytes for one.
///
/// # Errors
/// `Refused` for one that is not UTF-8: nothing of it could be named.
pub(super) fn text(of: impl fmt::Display, line: &RawDocument, place: &str) -> Result<String> {
    let name = field(line.as_bytes(), place.as_bytes())
        .and_then(|name| Some(string(name.value)?.0))
        .unwrap_or_default();
    std::str::from_utf8(name).map(str::to_owned).map_err(|_| {
        Error::new(
            Kind::Refused,
            format!("{of} has a name that is not UTF-8: {}", name.escape_ascii()),
        )
        .remedy(
            "rename it, or move it by other means and drop it: only UTF-8 names can be migrated",
        )
    })
}

/// Index specifications (`listIndexes`, without `ns`) of a collection on one
/// shard, addressed by name; empty if the collection is not there. Indexes
/// still being built are left out: their commit is still to come in the oplog.
pub async fn indexes(shard: &Shard, ns: &Namespace) -> Result<Vec<RawDocumentBuf>> {
    let ns = ns.own(&shard.scope);
    let listed = listed_indexes(&shard.client, &ns.db, Bson::from(ns.coll)).await?;
    Ok(finished(listed.unwrap_or_default()))
}

/// Like `indexes`, addressed by UUID, so never those of a namesake, in the shard's own
/// database `db`. None if the shard
/// does not list the collection now: a drop shows before a majority has it, and may still
/// be rolled back.
pub async fn indexes_of(
    shard: &Shard,
    db: &str,
    uuid: Uuid,
) -> Result<Option<Vec<RawDocumentBuf>>> {
    Ok(listed_indexes(&shard.client, db, Bson::from(uuid))
        .await?
        .map(finished))
}

/// Like `indexes_of`, including those being built: a build goes on without the client
/// that began it.
pub async fn indexes_and_builds_of(
    shard: &Shard,
    db: &str,
    uuid: Uuid,
) -> Result<Option<Vec<index::Listed>>> {
    listed_indexes(&shard.client, db, Bson::from(uuid)).await
}

pub(super) fn finished(listed: Vec<index::Listed>) -> Vec<RawDocumentBuf> {
    listed
        .into_iter()
        .filter(|index| index.build.is_none())
        .map(|index| index.spec)
        .collect()
}

/// Indexes of a collection, given by name or by UUID, those under way too; None if it is
/// not listed there now.
pub(super) async fn listed_indexes(
    client: &Client,
    db: &str,
    of: Bson,
) -> Result<Option<Vec<index::Listed>>> {
    // With this option a build in progress is `{spec, buildUUID}` (4.4+).
    let command = doc! {"listIndexes": of, "includeBuildUUIDs": true};
    let specs = async {
        let cursor = client.database(db).run_cursor_command(command).await?;
        Ok(cursor
            .with_type()
            .try_collect::<Vec<RawDocumentBuf>>()
            .await?)
    };
    let specs = match answered("listing indexes", specs).await {
        Err(e) if e.code == Some(codes::NAMESPACE_NOT_FOUND) => return Ok(None),
        Err(e) if e.code == Some(codes::NOT_SUPPORTED_ON_VIEW) => return Ok(Some(Vec::new())),
        specs => specs?,
    };
    Ok(Some(specs.iter().map(|line| listed_index(line)).collect()))
}

fn listed_index(line: &RawDocument) -> index::Listed {
    let build = field(line.as_bytes(), b"buildUUID")
        .and_then(|build| build.value.get(5..)?.try_into().ok());
    let spec = field(line.as_bytes(), b"spec").filter(|_| build.is_some());
    let spec = spec.map_or_else(|| line.to_owned(), |spec| document(elements_of(spec.value)));
    index::Listed {
        spec: without(&spec, &["ns"]),
        build: build.map(Uuid::from_bytes),
    }
}

/// A document less some of its top-level fields.
pub(crate) fn without(doc: &RawDocument, fields: &[&str]) -> RawDocumentBuf {
    document(
        elements(doc)
            .filter(|element| !fields.iter().any(|field| field.as_bytes() == element.name)),
    )
}

/// The top-level fields of a document that have these names.
pub(super) fn only(doc: &RawDocument, fields: &[&str]) -> RawDocumentBuf {
    document(
        elements(doc).filter(|element| fields.iter().any(|field| field.as_bytes() == element.name)),
    )
}

/// A count, in whichever number type the server chose.
pub(super) fn count(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(n) => u64::try_from(*n).ok(),
        Bson::Int64(n) => u64::try_from(*n).ok(),
        Bson::Double(n) if *n >= 0.0 => Some(*n as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn fields_are_left_out_and_the_rest_keeps_its_order() {
        let spec = rawdoc! {"v": 2, "ns": "a.b", "key": {"x": 1}};
        assert_eq!(without(&spec, &["ns"]), rawdoc! {"v": 2, "key": {"x": 1}});
    }

    #[test]
    fn an_index_that_is_being_built_is_told_from_one_that_is_there() {
        let (spec, build) = (
            rawdoc! {"v": 2, "key": {"x": 1}, "name": "x"},
            Uuid::from_bytes([7; 16]),
        );
        let under_way = rawdoc! {"buildUUID": bson::Binary::from(build), "spec": spec.clone()};
        for (line, expect) in [(&spec, None), (&under_way, Some(build))] {
            let listed = listed_index(line);
            assert_eq!((listed.spec, listed.build), (spec.clone(), expect));
        }
    }
}
