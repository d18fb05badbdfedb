//! Collections, their options, views and indexes on both sides.
//!
//! Knows nothing about documents and chunks.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use mongodb::Client;

use super::{Sides, report::Findings};
use crate::{
    entry::{Entry, command_on},
    owner::chunk_filter,
    workload_error::Result,
};

/// NamespaceNotFound (server source, `error_codes.yml`).
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Every collection and view of a deployment, by namespace.
pub(super) struct Catalog(BTreeMap<(String, String), Document>);

/// A collection or view that is on both sides.
pub(super) struct Collection {
    pub(super) database: String,
    pub(super) name: String,
    kind: String,
    pub(super) capped: bool,
}

impl Collection {
    pub(super) fn ns(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Views and time series are read through to what is below them.
    pub(super) fn holds_documents(&self) -> bool {
        self.kind == "collection"
    }
}

impl Catalog {
    pub(super) async fn read(entry: &Entry, exclude: &[String]) -> Result<Self> {
        let mut all = BTreeMap::new();
        for database in entry.databases().await?.into_iter().filter(|name| !exclude.contains(name)) {
            let command = doc! {"listCollections": 1, "cursor": {"batchSize": 100_000}};
            for row in first_batch(command_on(&entry.client, &database, command).await?) {
                let name = row.get_str("name").unwrap_or_default().to_string();
                if !matches!(name.as_str(), "system.views" | "system.profile") {
                    all.insert((database.clone(), name), row);
                }
            }
        }
        Ok(Catalog(all))
    }

    /// Reports what is on one side only or has other options; answers what is on both.
    pub(super) fn compare(&self, target: &Catalog, findings: &Findings) -> Vec<Collection> {
        let ns = |key: &(String, String)| format!("{}.{}", key.0, key.1);
        for key in target.0.keys().filter(|key| !self.0.contains_key(key)) {
            findings.add(&ns(key), "extra collection", || "it is on the target only".into());
        }
        let mut both = Vec::new();
        for (key, source) in &self.0 {
            match target.0.get(key) {
                None => findings.add(&ns(key), "missing collection", || "it is on the source only".into()),
                Some(target) => {
                    compare_row(&ns(key), source, target, findings);
                    both.push(collection(key, source));
                }
            }
        }
        both
    }
}

fn collection(key: &(String, String), row: &Document) -> Collection {
    let options = row.get_document("options").ok();
    Collection {
        database: key.0.clone(),
        name: key.1.clone(),
        kind: row.get_str("type").unwrap_or("collection").to_string(),
        capped: options.is_some_and(|options| options.get_bool("capped").unwrap_or_default()),
    }
}

fn compare_row(ns: &str, source: &Document, target: &Document, findings: &Findings) {
    let kind = |row: &Document| row.get_str("type").unwrap_or_default().to_string();
    if kind(source) != kind(target) {
        findings.add(ns, "type", || format!("{} on the source, {} on the target", kind(source), kind(target)));
    }
    let options = |row: &Document| {
        let mut options = row.get_document("options").cloned().unwrap_or_default();
        // No command makes such a collection: it is carried over as an ordinary one.
        options.remove("temp");
        options
    };
    compare_fields(ns, "options", "", &options(source), &options(target), findings);
}

/// Compares two documents field by field: the order of the fields is free, each
/// value must have the same bytes.
pub(super) fn compare_fields(
    ns: &str,
    kind: &'static str,
    name: &str,
    source: &Document,
    target: &Document,
    findings: &Findings,
) {
    for field in source.keys().chain(target.keys().filter(|field| !source.contains_key(field))) {
        let (left, right) = (source.get(field), target.get(field));
        if left.map(bytes) != right.map(bytes) {
            let show = |value: Option<&Bson>| value.map_or("nothing".into(), |value| value.to_string());
            let (left, right) = (show(left), show(right));
            findings.add(ns, kind, || format!("{name} {field}: {left} on the source, {right} on the target"));
        }
    }
}

/// Bytes tell field order and number types apart, which `==` does not.
fn bytes(value: &Bson) -> Vec<u8> {
    bson::serialize_to_vec(&doc! {"": value}).unwrap_or_default()
}

/// Compares the indexes of every collection: as the router shows them, and on
/// each shard that holds a part.
pub(super) async fn compare_indexes(sides: &Sides, both: &[Collection], findings: &Findings) -> Result<()> {
    for collection in both.iter().filter(|collection| collection.holds_documents()) {
        let source = indexes(&sides.source.client, collection).await?;
        let target = indexes(&sides.target.client, collection).await?;
        compare_index_sets(&collection.ns(), "", &source, &target, findings);
        for (i, j) in sides.pairs.iter().flatten().enumerate() {
            let (from, to) = (&sides.source.shards[i], &sides.target.shards[*j]);
            let ns = collection.ns();
            if !holds_chunks(&sides.source, &ns, &from.id).await? || !holds_chunks(&sides.target, &ns, &to.id).await? {
                continue;
            }
            let source = indexes(&from.client, collection).await?;
            let target = indexes(&to.client, collection).await?;
            compare_index_sets(&ns, &format!("on shard {} ", to.id), &source, &target, findings);
        }
    }
    Ok(())
}

async fn holds_chunks(entry: &Entry, ns: &str, shard: &str) -> Result<bool> {
    let rows = entry.config_rows("collections", doc! {"_id": ns, "dropped": {"$ne": true}}).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let mut filter = chunk_filter(ns, row);
    filter.insert("shard", shard);
    let chunks = entry.client.database("config").collection::<Document>("chunks");
    let found = chunks.find_one(filter).await;
    use crate::workload_error::Doing;
    Ok(found.doing(|| "reading config.chunks".into())?.is_some())
}

async fn indexes(client: &Client, collection: &Collection) -> Result<BTreeMap<String, Document>> {
    let command = doc! {"listIndexes": &collection.name, "cursor": {"batchSize": 1000}};
    let reply = match command_on(client, &collection.database, command).await {
        Err(error) if error.code() == Some(NAMESPACE_NOT_FOUND) => return Ok(BTreeMap::new()),
        reply => reply?,
    };
    let mut all = BTreeMap::new();
    for mut index in first_batch(reply) {
        // Written by servers before 4.4, and a hint for builds: no property of the index.
        index.remove("ns");
        index.remove("background");
        if let Some(seconds) = index.get("expireAfterSeconds").and_then(as_f64) {
            index.insert("expireAfterSeconds", seconds);
        }
        all.insert(index.get_str("name").unwrap_or_default().to_string(), index);
    }
    Ok(all)
}

/// An expiry is the same whichever number type it was given in.
fn as_f64(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        _ => None,
    }
}

fn compare_index_sets(
    ns: &str,
    place: &str,
    source: &BTreeMap<String, Document>,
    target: &BTreeMap<String, Document>,
    findings: &Findings,
) {
    for name in target.keys().filter(|name| !source.contains_key(*name)) {
        findings.add(ns, "extra index", || format!("{place}{name}"));
    }
    for (name, index) in source {
        match target.get(name) {
            None => findings.add(ns, "missing index", || format!("{place}{name}")),
            Some(other) => compare_fields(ns, "index", &format!("{place}{name}"), index, other, findings),
        }
    }
}

fn first_batch(reply: Document) -> Vec<Document> {
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    batch.into_iter().flatten().filter_map(|row| row.as_document().cloned()).collect()
}
