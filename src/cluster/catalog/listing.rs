//! Databases, collections and indexes as one server lists them.
//!
//! Decides which collections are users' own. Knows nothing about sharding.

use bson::{Bson, RawBson, RawDocument, RawDocumentBuf, Uuid, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::cluster::catalog::{CollectionKind, DATABASES_LEFT_OUT, Database};
use crate::error::{Error, Kind, Result};

/// Of an index on `_id` that a server makes by itself.
const ID_INDEX_VERSION: i32 = 2;

const NAMESPACE_NOT_FOUND: i32 = 26;
const NOT_SUPPORTED_ON_VIEW: i32 = 166;

/// One line of `listCollections`.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) kind: CollectionKind,
    pub(super) uuid: Option<Uuid>,
    pub(super) options: RawDocumentBuf,
}

/// Databases of a replica set, by name.
pub(super) async fn databases(client: &Client) -> Result<Vec<Database>> {
    let mut names = client.list_database_names().await?;
    names.retain(|n| !DATABASES_LEFT_OUT.contains(&n.as_str()));
    names.sort();
    Ok(names.into_iter().map(|name| Database { name, primary: 0 }).collect())
}

/// Users' collections and views of a database (or the one named `only`) on one server.
pub(super) async fn collections(client: &Client, db: &str, only: Option<&str>) -> Result<Vec<Listed>> {
    let mut command = doc! {"listCollections": 1};
    if let Some(name) = only {
        command.insert("filter", doc! {"name": name});
    }
    let cursor = client.database(db).run_cursor_command(command).await?;
    let lines: Vec<RawDocumentBuf> = cursor.with_type().try_collect().await?;
    let listed: Vec<Listed> = lines.iter().map(|line| parse(line)).collect::<Result<_>>()?;
    Ok(listed.into_iter().filter(|l| is_users(&l.name)).collect())
}

fn parse(line: &RawDocument) -> Result<Listed> {
    let name = line.get_str("name")?.to_owned();
    let kind = kind_of(line);
    let uuid = line.get_document("info").and_then(|i| i.get_binary("uuid")).ok();
    let uuid = uuid.and_then(|b| b.bytes.try_into().ok()).map(Uuid::from_bytes);
    if uuid.is_none() && kind == CollectionKind::Plain {
        return Err(Error::new(Kind::Server, format!("collection {name} is listed without a UUID")));
    }
    let mut options = line.get_document("options").map(RawDocument::to_owned).unwrap_or_default();
    if let Some(old) = old_id_index(line) {
        options.append(bson::cstr!("idIndex"), old.to_owned());
    }
    Ok(Listed { name, kind, uuid, options })
}

/// The index on `_id`, where it is not as a server makes it by itself: then `create`
/// has to ask for it.
fn old_id_index(line: &RawDocument) -> Option<&RawDocument> {
    let index = line.get_document("idIndex").ok()?;
    index.get_i32("v").is_ok_and(|version| version < ID_INDEX_VERSION).then_some(index)
}

/// By `type`, as both listings of a server have it.
pub(super) fn kind_of(line: &RawDocument) -> CollectionKind {
    match line.get_str("type") {
        Ok("view") => CollectionKind::View,
        Ok("timeseries") => CollectionKind::TimeSeries,
        _ => CollectionKind::Plain,
    }
}

/// Of the `system.` collections only stored functions are users' data: views
/// are made by command, buckets belong to their time series, the profile and
/// what resharding leaves are the server's.
pub(super) fn is_users(name: &str) -> bool {
    !name.starts_with("system.") || name == "system.js"
}

/// Finished indexes of a collection, given by name or by UUID; None if it is not
/// listed there now.
pub(super) async fn indexes(client: &Client, db: &str, of: Bson) -> Result<Option<Vec<RawDocumentBuf>>> {
    // With this option a build in progress is `{spec, buildUUID}` (4.4+).
    let command = doc! {"listIndexes": of, "includeBuildUUIDs": true};
    let cursor = match client.database(db).run_cursor_command(command).await.map_err(Error::from) {
        Err(e) if e.code == Some(NAMESPACE_NOT_FOUND) => return Ok(None),
        Err(e) if e.code == Some(NOT_SUPPORTED_ON_VIEW) => return Ok(Some(Vec::new())),
        answer => answer?,
    };
    let specs: Vec<RawDocumentBuf> = cursor.with_type().try_collect().await?;
    let finished = specs.iter().filter(|s| !matches!(s.get("buildUUID"), Ok(Some(_))));
    finished.map(|s| without(s, &["ns"])).collect::<Result<_>>().map(Some)
}

/// A document less some of its top-level fields.
pub(crate) fn without(doc: &RawDocument, fields: &[&str]) -> Result<RawDocumentBuf> {
    let mut kept = RawDocumentBuf::new();
    for element in doc {
        let (name, value) = element?;
        if !fields.contains(&name.as_str()) {
            kept.append(name, RawBson::from(value));
        }
    }
    Ok(kept)
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
    fn only_stored_functions_of_the_system_collections_are_users() {
        let rows = [
            ("a", true),
            ("a.system.b", true),
            ("systematic", true),
            ("system.js", true),
            ("system.views", false),
            ("system.buckets.t", false),
            ("system.profile", false),
            ("system.resharding.x", false),
        ];
        for (name, expect) in rows {
            assert_eq!(is_users(name), expect, "{name}");
        }
    }

    #[test]
    fn fields_are_left_out_and_the_rest_keeps_its_order() {
        let spec = rawdoc! {"v": 2, "ns": "a.b", "key": {"x": 1}};
        assert_eq!(without(&spec, &["ns"]).unwrap(), rawdoc! {"v": 2, "key": {"x": 1}});
    }
}
