//! Sharding metadata on both sides: primaries, shard keys, who owns what, zones.
//! Chunks are compared as owned intervals: neighbours on one shard are one.
//!
//! Knows nothing about documents.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::{Sides, catalog::compare_fields, report::Findings};
use crate::{
    entry::{Entry, SYSTEM_DATABASES},
    owner::chunk_filter,
    workload_error::Result,
};

/// Fields of `config.collections` that a migration carries.
const COLLECTION_FIELDS: [&str; 5] = ["key", "unique", "defaultCollation", "noBalance", "timeseriesFields"];

/// Compares the sharding metadata, where both sides have shards that belong together.
pub(super) async fn compare(sides: &Sides, exclude: &[String], findings: &Findings) -> Result<()> {
    let Some(pairs) = &sides.pairs else { return Ok(()) };
    let names = Names::new(sides, pairs);
    let left_out = |name: &str| {
        let database = name.split('.').next().unwrap_or(name);
        SYSTEM_DATABASES.contains(&database) || exclude.iter().any(|other| other == database)
    };
    let (source, target) = (&sides.source, &sides.target);
    let databases = (rows(source, "databases", &left_out).await?, rows(target, "databases", &left_out).await?);
    compare_primaries(&databases.0, &databases.1, &names, findings);
    let collections = (rows(source, "collections", &left_out).await?, rows(target, "collections", &left_out).await?);
    for name in collections.1.keys().filter(|name| !collections.0.contains_key(*name)) {
        findings.add(name, "sharding", || "it is sharded on the target only".into());
    }
    for (ns, row) in &collections.0 {
        match collections.1.get(ns) {
            None => findings.add(ns, "sharding", || "it is sharded on the source only".into()),
            Some(other) => compare_collection(sides, &names, ns, row, other, findings).await?,
        }
    }
    compare_shard_tags(sides, &names, findings).await
}

/// Names of the target's shards by those of the source's.
struct Names(BTreeMap<String, String>);

impl Names {
    fn new(sides: &Sides, pairs: &[usize]) -> Self {
        let pair = |(i, j): (usize, &usize)| (sides.source.shards[i].id.clone(), sides.target.shards[*j].id.clone());
        Names(pairs.iter().enumerate().map(pair).collect())
    }

    fn mapped(&self, source: &str) -> String {
        self.0.get(source).cloned().unwrap_or_else(|| format!("{source} (no pair)"))
    }
}

async fn rows(entry: &Entry, name: &str, left_out: &impl Fn(&str) -> bool) -> Result<BTreeMap<String, Document>> {
    let rows = entry.config_rows(name, doc! {"dropped": {"$ne": true}}).await?;
    let named = rows.into_iter().map(|row| (row.get_str("_id").unwrap_or_default().to_string(), row));
    Ok(named.filter(|(name, _)| !left_out(name)).collect())
}

fn compare_primaries(
    source: &BTreeMap<String, Document>,
    target: &BTreeMap<String, Document>,
    names: &Names,
    findings: &Findings,
) {
    let primary = |row: &Document| row.get_str("primary").unwrap_or_default().to_string();
    for (name, row) in source {
        let wanted = names.mapped(&primary(row));
        match target.get(name).map(primary) {
            Some(found) if found == wanted => (),
            // A database without collections is nothing; with some, they are reported.
            None => (),
            Some(found) => findings.add(name, "primary shard", || format!("{wanted} expected, {found} on the target")),
        }
    }
}

async fn compare_collection(
    sides: &Sides,
    names: &Names,
    ns: &str,
    source: &Document,
    target: &Document,
    findings: &Findings,
) -> Result<()> {
    compare_fields(ns, "sharding", "", &carried(source), &carried(target), findings);
    let wanted = intervals(&sides.source, ns, source, |shard| names.mapped(shard)).await?;
    let found = intervals(&sides.target, ns, target, str::to_string).await?;
    if let Some((wanted, found)) = first_apart(&wanted, &found) {
        findings.add(ns, "chunks", || format!("{wanted} expected, {found} on the target"));
    }
    let zones = |side| zones(side, ns);
    let (wanted, found) = (zones(&sides.source).await?, zones(&sides.target).await?);
    if let Some((wanted, found)) = first_apart(&wanted, &found) {
        findings.add(ns, "zones", || format!("{wanted} on the source, {found} on the target"));
    }
    Ok(())
}

/// The carried fields alone; false and absent are the same to the server.
fn carried(row: &Document) -> Document {
    let fields = COLLECTION_FIELDS.iter().filter_map(|field| Some((field.to_string(), row.get(*field)?.clone())));
    fields.filter(|(_, value)| *value != Bson::Boolean(false) && *value != Bson::Document(doc! {})).collect()
}

/// Owned intervals in key order, as text; chunks are joined where neighbours
/// have the same owner.
async fn intervals(entry: &Entry, ns: &str, row: &Document, name: impl Fn(&str) -> String) -> Result<Vec<String>> {
    let mut chunks = BTreeMap::new();
    for chunk in entry.config_rows("chunks", chunk_filter(ns, row)).await? {
        chunks.insert(bound(&chunk, "min"), (bound(&chunk, "max"), name(chunk.get_str("shard").unwrap_or_default())));
    }
    let all_min: Document =
        row.get_document("key").into_iter().flatten().map(|(f, _)| (f.clone(), Bson::MinKey)).collect();
    let mut joined: Vec<(String, String, String)> = Vec::new();
    // By following max to min the order of the keys need not be known.
    let mut at = Bson::Document(all_min).to_string();
    while let Some((max, shard)) = chunks.remove(&at) {
        match joined.last_mut() {
            Some(last) if last.2 == shard => last.1 = max.clone(),
            _ => joined.push((at.clone(), max.clone(), shard)),
        }
        at = max;
    }
    let mut shown: Vec<String> =
        joined.into_iter().map(|(min, max, shard)| format!("[{min}, {max}) on {shard}")).collect();
    shown.extend(chunks.into_iter().map(|(min, (max, shard))| format!("[{min}, {max}) on {shard}, out of line")));
    Ok(shown)
}

fn bound(chunk: &Document, field: &str) -> String {
    chunk.get(field).map(|bound| format!("{bound}")).unwrap_or_default()
}

async fn zones(entry: &Entry, ns: &str) -> Result<Vec<String>> {
    let rows = entry.config_rows("tags", doc! {"ns": ns}).await?;
    let show = |row: &Document| {
        format!("[{}, {}) in {}", bound(row, "min"), bound(row, "max"), row.get_str("tag").unwrap_or_default())
    };
    let mut shown: Vec<String> = rows.iter().map(show).collect();
    shown.sort();
    Ok(shown)
}

/// The first place where two lists differ.
fn first_apart(source: &[String], target: &[String]) -> Option<(String, String)> {
    let longest = source.len().max(target.len());
    let at = (0..longest).find(|&i| source.get(i) != target.get(i))?;
    let show = |list: &[String]| list.get(at).cloned().unwrap_or_else(|| "nothing".into());
    Some((show(source), show(target)))
}

async fn compare_shard_tags(sides: &Sides, names: &Names, findings: &Findings) -> Result<()> {
    let source = sides.source.config_rows("shards", doc! {}).await?;
    let target = sides.target.config_rows("shards", doc! {}).await?;
    for row in &source {
        let mapped = names.mapped(row.get_str("_id").unwrap_or_default());
        let other = target.iter().find(|row| row.get_str("_id").ok() == Some(&mapped));
        let (wanted, found) = (tags(Some(row)), tags(other));
        if wanted != found {
            findings.add(&mapped, "shard zones", || format!("{wanted:?} expected, {found:?} on the target"));
        }
    }
    Ok(())
}

fn tags(row: Option<&Document>) -> Vec<String> {
    let tags = row.and_then(|row| row.get_array("tags").ok()).into_iter().flatten();
    let mut tags: Vec<String> = tags.filter_map(|tag| tag.as_str().map(str::to_string)).collect();
    tags.sort();
    tags
}
