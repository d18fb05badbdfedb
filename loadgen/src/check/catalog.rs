//! Collections, views and their options on both sides: as the router (or the
//! replica set) lists them, and as each shard does.
//!
//! Knows nothing about indexes, documents and chunks.

use std::collections::BTreeMap;

use bson::Document;
use mongodb::Client;

use super::fields::{self, Options};
use super::filter::Filter;
use super::renames::Renames;
use super::report::Findings;
use super::sharding::metadata::Metadata;
use super::{Sides, raw, rows};
use crate::error::{Doing, Result};

/// Made by the server for what is listed beside it, or never carried over.
const NOT_LISTED: [&[u8]; 2] = [b"system.views", b"system.profile"];

/// Database and name; a name's bytes need not be UTF-8.
type Key = (String, Vec<u8>);

/// Every collection and view of a deployment or a shard, as it is listed. By the target's
/// names.
pub(super) struct Catalog(BTreeMap<Key, Row>);

struct Row {
    /// Its name there.
    own: Key,
    /// By the target's names.
    listed: Vec<u8>,
}

/// Where a collection is on one side.
pub(super) struct Place {
    pub(super) database: String,
    pub(super) name: String,
}

/// A collection or view that is on both sides.
pub(super) struct Collection {
    pub(super) source: Place,
    pub(super) target: Place,
    kind: String,
    pub(super) capped: bool,
}

impl Collection {
    /// The target's name.
    pub(super) fn ns(&self) -> String {
        format!("{}.{}", self.target.database, self.target.name)
    }

    /// Views and time series are read through to what is below them.
    pub(super) fn holds_documents(&self) -> bool {
        self.kind == "collection"
    }
}

impl Catalog {
    /// `admin`: whether users' collections in that database are compared.
    pub(super) async fn read(client: &Client, filter: &Filter, admin: bool) -> Result<Self> {
        let mut names = client
            .list_database_names()
            .await
            .doing(|| "listing databases".into())?;
        names.retain(|name| filter.has_database(name, admin));
        let mut all = BTreeMap::new();
        for database in names {
            for row in rows::collections(client, &database).await? {
                let name = name_of(&row);
                let is_in = filter.has(&database, &String::from_utf8_lossy(&name));
                if is_in && !NOT_LISTED.contains(&&*name) {
                    let own = (database.clone(), name);
                    let listed = by_other_names(&database, row, filter.to_target());
                    all.insert(renamed(&own, filter.to_target()), Row { own, listed });
                }
            }
        }
        Ok(Catalog(all))
    }

    /// Something of this database is compared.
    pub(super) fn has_database(&self, name: &str) -> bool {
        self.0.keys().any(|(database, _)| database == name)
    }

    /// Reports what is on one side only, is of another kind or has other options;
    /// answers what is on both and of one kind.
    pub(super) fn compare(&self, target: &Catalog, findings: &Findings) -> Vec<Collection> {
        for key in target.0.keys().filter(|key| !self.0.contains_key(key)) {
            findings.add(&ns(key), "extra collection", || {
                "it is on the target only".into()
            });
        }
        let mut both = Vec::new();
        for (key, source) in &self.0 {
            let Some(target) = target.0.get(key) else {
                findings.add(&ns(key), "missing collection", || {
                    "it is on the source only".into()
                });
                continue;
            };
            compare_row(&ns(key), "", &source.listed, &target.listed, findings);
            if kind(&source.listed) != kind(&target.listed) {
                continue;
            }
            match (place(&source.own), place(&target.own)) {
                (Some(source_place), Some(target_place)) => {
                    both.push(collection(source_place, target_place, &source.listed));
                }
                _ => findings.add(&ns(key), "stopped", || {
                    "its name is not UTF-8: its content is not read".into()
                }),
            }
        }
        both
    }
}

/// Compares what each pair of shards lists of the sharded collections it holds a
/// part of, and reports what no router shows.
pub(super) async fn compare_shards(
    sides: &Sides,
    shown: &Catalog,
    metadata: &(Metadata, Metadata),
    filter: &Filter,
    findings: &Findings,
) -> Result<()> {
    for (i, j) in sides.pairs.iter().flatten().enumerate() {
        let (from, to) = (&sides.source.shards[i], &sides.target.shards[*j]);
        let source = Catalog::read(&from.client, filter, false).await?;
        let target = Catalog::read(&to.client, &filter.of_target(), false).await?;
        let place = format!("on shard {}", to.id);
        for (key, row) in &target.0 {
            let ns = ns(key);
            let row = &row.listed;
            if is_stray(key, row, shown, &metadata.1, &to.id) {
                findings.add(&ns, "stray collection", || {
                    format!("{place}, where no router looks for it")
                });
            }
            let Some(sharded) = metadata
                .1
                .sharded(&ns)
                .filter(|sharded| sharded.is_on(&to.id))
            else {
                continue;
            };
            if sharded
                .uuid
                .as_deref()
                .is_some_and(|uuid| uuid != uuid_of(row))
            {
                findings.add(&ns, "uuid", || {
                    format!("{place} it is another collection than the router's")
                });
            }
            let on_source = metadata
                .0
                .sharded(&ns)
                .is_some_and(|sharded| sharded.is_on(&from.id));
            if let Some(other) = source.0.get(key).filter(|_| on_source) {
                compare_row(&ns, &place, &other.listed, row, findings);
            }
        }
    }
    Ok(())
}

/// True if no router would come to that shard for it: it is not listed, or it is
/// neither sharded nor on its database's primary shard. Views are on the latter only.
fn is_stray(key: &Key, row: &[u8], shown: &Catalog, metadata: &Metadata, shard: &str) -> bool {
    let is_view = raw::text(row, "type") != "collection";
    let elsewhere = metadata
        .primary(&key.0)
        .is_some_and(|primary| primary != shard);
    !shown.0.contains_key(key) || (metadata.sharded(&ns(key)).is_none() && elsewhere && !is_view)
}

fn renamed(own: &Key, renames: &Renames) -> Key {
    let Ok(name) = std::str::from_utf8(&own.1) else {
        return own.clone();
    };
    let (database, name) = renames.of(&own.0, name);
    (database, name.into_bytes())
}

/// What is listed of a view, by other names; of all else as it is.
fn by_other_names(database: &str, listed: Vec<u8>, renames: &Renames) -> Vec<u8> {
    if renames.are_none() || kind(&listed) != "view" {
        return listed;
    }
    let Ok(mut row) = Document::from_reader(&*listed) else {
        return listed;
    };
    if let Ok(options) = row.get_document_mut("options") {
        renames.view(database, options);
    }
    row.to_vec().unwrap_or(listed)
}

fn place(own: &Key) -> Option<Place> {
    let (database, name) = (own.0.clone(), String::from_utf8(own.1.clone()).ok()?);
    Some(Place { database, name })
}

fn ns(key: &Key) -> String {
    format!("{}.{}", key.0, raw::name(&key.1))
}

fn name_of(row: &[u8]) -> Vec<u8> {
    raw::field(row, "name")
        .and_then(|name| name.text_bytes())
        .unwrap_or_default()
        .to_vec()
}

fn uuid_of(row: &[u8]) -> &[u8] {
    raw::field(raw::embedded(row, "info"), "uuid").map_or(&[], |uuid| uuid.bytes)
}

fn collection(source: Place, target: Place, row: &[u8]) -> Collection {
    let capped = raw::field(raw::embedded(row, "options"), "capped");
    Collection {
        source,
        target,
        kind: kind(row).to_owned(),
        capped: capped.is_some_and(|capped| capped.is_true()),
    }
}

fn kind(row: &[u8]) -> &str {
    match raw::text(row, "type") {
        "" => "collection",
        kind => kind,
    }
}

/// Kind and options.
fn compare_row(ns: &str, place: &str, source: &[u8], target: &[u8], findings: &Findings) {
    if kind(source) != kind(target) {
        let (source, target) = (kind(source), kind(target));
        return findings.add(ns, "type", || {
            format!("{place} {source} on the source, {target} on the target")
        });
    }
    fields::compare(
        ns,
        "options",
        place,
        &options(source),
        &options(target),
        findings,
    );
}

/// Without the mark of a temporary collection: no command makes one, it is carried over
/// as an ordinary one.
fn options(row: &[u8]) -> Options {
    let mut options = fields::of(raw::embedded(row, "options"));
    options.remove(&b"temp"[..]);
    options
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn row(name: &str, kind: &str, options: RawDocumentBuf) -> (Key, Row) {
        let row = rawdoc! { "name": name, "type": kind, "options": options };
        let own = ("d".to_owned(), name.as_bytes().to_vec());
        let listed = row.into_bytes();
        (own.clone(), Row { own, listed })
    }

    #[test]
    fn what_differs_in_one_thing_is_named_by_it() {
        let plain = || row("c", "collection", rawdoc! {});
        let view = |pipeline: RawDocumentBuf| {
            row(
                "v",
                "view",
                rawdoc! { "viewOn": "c", "pipeline": [pipeline] },
            )
        };
        let rows = [
            (vec![plain()], vec![plain()], None),
            (vec![plain()], vec![], Some("missing collection")),
            (vec![], vec![plain()], Some("extra collection")),
            (
                vec![plain()],
                vec![row("c", "view", rawdoc! {})],
                Some("type"),
            ),
            (
                vec![plain()],
                vec![row("c", "collection", rawdoc! { "capped": true })],
                Some("options"),
            ),
            (
                vec![row("c", "collection", rawdoc! { "validator": { "a": 1 } })],
                vec![row(
                    "c",
                    "collection",
                    rawdoc! { "validator": { "a": 1_i64 } },
                )],
                Some("options"),
            ),
            (
                vec![view(rawdoc! { "$match": { "a": 1 } })],
                vec![view(rawdoc! { "$match": { "a": 2 } })],
                Some("options"),
            ),
            (
                vec![view(rawdoc! { "$match": {} })],
                vec![],
                Some("missing collection"),
            ),
        ];
        for (source, target, wanted) in rows {
            let findings = Findings::new(10);
            let (source, target) = (
                Catalog(source.into_iter().collect()),
                Catalog(target.into_iter().collect()),
            );
            source.compare(&target, &findings);
            let report = findings.report(Default::default(), Duration::ZERO);
            assert_eq!(
                report.differences.first().map(|found| found.kind),
                wanted,
                "{report}"
            );
        }
    }
}
