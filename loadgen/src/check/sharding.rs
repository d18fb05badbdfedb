//! Sharding metadata of both sides, raw: primaries, shard keys, who owns what,
//! zones. Chunks are compared as owned intervals: neighbours on one shard are one.
//!
//! Knows nothing about documents.

use std::collections::{BTreeMap, BTreeSet};

use bson::doc;

use super::fields::{self, Options};
use super::report::Findings;
use super::{Sides, raw, rows};
use crate::entry::{Entry, SYSTEM_DATABASES};
use crate::error::Result;

/// Fields of `config.collections` that a migration carries.
const COLLECTION_FIELDS: [&[u8]; 5] = [
    b"key",
    b"unique",
    b"defaultCollation",
    b"noBalance",
    b"timeseriesFields",
];

/// What one side's config servers have; nothing where there is no router.
#[derive(Default)]
pub(super) struct Metadata {
    /// Primary shards by database.
    primaries: BTreeMap<String, String>,
    /// By namespace.
    collections: BTreeMap<String, Sharded>,
    /// Zone ranges, by namespace.
    zones: BTreeMap<String, BTreeSet<Range>>,
    /// Zones of each shard.
    shards: BTreeMap<String, BTreeSet<String>>,
}

pub(super) struct Sharded {
    pub(super) uuid: Option<Vec<u8>>,
    options: Options,
    chunks: Vec<Range>,
}

/// A range of shard keys with its owner or zone; bounds are the bytes of documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    min: Vec<u8>,
    max: Vec<u8>,
    name: String,
}

impl Sharded {
    /// True if that shard owns a chunk of it.
    pub(super) fn is_on(&self, shard: &str) -> bool {
        self.chunks.iter().any(|chunk| chunk.name == shard)
    }
}

impl Metadata {
    pub(super) async fn read(entry: &Entry, exclude: &[String]) -> Result<Metadata> {
        if !entry.router {
            return Ok(Metadata::default());
        }
        let alive = doc! {"dropped": {"$ne": true}};
        let of = |name, filter| rows::of_config(&entry.client, name, filter);
        let mut metadata = Metadata::default();
        for row in of("databases", alive.clone()).await? {
            metadata.primaries.insert(
                raw::text(&row, "_id").to_owned(),
                raw::text(&row, "primary").to_owned(),
            );
        }
        let mut chunks: BTreeMap<Vec<u8>, Vec<Range>> = BTreeMap::new();
        for row in of("chunks", doc! {}).await? {
            // By UUID since 5.0, before by namespace.
            let owner = raw::field(&row, "uuid")
                .or(raw::field(&row, "ns"))
                .map_or(Vec::new(), |of| of.bytes.to_vec());
            chunks
                .entry(owner)
                .or_default()
                .push(Range::of(&row, "shard"));
        }
        for row in of("collections", alive).await? {
            let key = raw::field(&row, "uuid")
                .or(raw::field(&row, "_id"))
                .map_or(Vec::new(), |of| of.bytes.to_vec());
            let uuid = raw::field(&row, "uuid").map(|uuid| uuid.bytes.to_vec());
            // Before 5.0 rows have a UUID, and their chunks the namespace.
            let by_name = raw::field(&row, "_id").map_or(&[][..], |id| id.bytes);
            let chunks = chunks
                .remove(&key)
                .or_else(|| chunks.remove(by_name))
                .unwrap_or_default();
            let sharded = Sharded {
                uuid,
                options: carried(&row),
                chunks,
            };
            metadata
                .collections
                .insert(raw::text(&row, "_id").to_owned(), sharded);
        }
        for row in of("tags", doc! {}).await? {
            metadata
                .zones
                .entry(raw::text(&row, "ns").to_owned())
                .or_default()
                .insert(Range::of(&row, "tag"));
        }
        for row in of("shards", doc! {}).await? {
            let tags = raw::field(&row, "tags")
                .map(|tags| tags.items())
                .unwrap_or_default();
            let tags = tags.iter().filter_map(|tag| tag.text().map(str::to_owned));
            metadata
                .shards
                .insert(raw::text(&row, "_id").to_owned(), tags.collect());
        }
        metadata.leave_out(exclude);
        Ok(metadata)
    }

    pub(super) fn sharded(&self, ns: &str) -> Option<&Sharded> {
        self.collections.get(ns)
    }

    pub(super) fn primary(&self, database: &str) -> Option<&str> {
        self.primaries.get(database).map(String::as_str)
    }

    fn leave_out(&mut self, exclude: &[String]) {
        let kept = |name: &str| {
            let database = name.split('.').next().unwrap_or(name);
            !SYSTEM_DATABASES.contains(&database) && !exclude.iter().any(|other| other == database)
        };
        self.primaries.retain(|name, _| kept(name));
        self.collections.retain(|name, _| kept(name));
        self.zones.retain(|name, _| kept(name));
    }
}

impl Range {
    fn of(row: &[u8], name: &str) -> Range {
        let bound = |field| raw::embedded(row, field).to_vec();
        Range {
            min: bound("min"),
            max: bound("max"),
            name: raw::text(row, name).to_owned(),
        }
    }

    fn show(&self, of: &str) -> String {
        let bound = |bytes: &[u8]| {
            raw::Field {
                name: b"",
                kind: 0x03,
                bytes,
            }
            .show()
        };
        format!(
            "[{}, {}) {of} {}",
            bound(&self.min),
            bound(&self.max),
            self.name
        )
    }
}

/// The carried fields alone; false and absent are the same to the server.
fn carried(row: &[u8]) -> Options {
    let mut all = fields::of(row);
    let is_default = |value: &raw::Value| value.bytes == [0] || value.bytes == [5, 0, 0, 0, 0];
    all.retain(|name, values| {
        COLLECTION_FIELDS.contains(&&**name) && !values.iter().all(is_default)
    });
    all
}

/// Compares the metadata, where both sides have shards that belong together.
pub(super) fn compare(sides: &Sides, metadata: &(Metadata, Metadata), findings: &Findings) {
    let Some(pairs) = &sides.pairs else { return };
    let pair = |(i, j): (usize, &usize)| {
        (
            sides.source.shards[i].id.clone(),
            sides.target.shards[*j].id.clone(),
        )
    };
    let names = Names(pairs.iter().enumerate().map(pair).collect());
    compare_all(&names, &metadata.0, &metadata.1, findings);
}

/// Names of the target's shards by those of the source's.
struct Names(BTreeMap<String, String>);

impl Names {
    fn mapped(&self, source: &str) -> String {
        self.0
            .get(source)
            .cloned()
            .unwrap_or_else(|| format!("{source} (no pair)"))
    }
}

fn compare_all(names: &Names, source: &Metadata, target: &Metadata, findings: &Findings) {
    for (name, primary) in &source.primaries {
        let wanted = names.mapped(primary);
        // A database without collections is nothing; with some, they are reported.
        if let Some(found) = target.primary(name).filter(|found| *found != wanted) {
            findings.add(name, "primary shard", || {
                format!("{wanted} expected, {found} on the target")
            });
        }
    }
    for ns in target
        .collections
        .keys()
        .filter(|ns| source.sharded(ns).is_none())
    {
        findings.add(ns, "sharding", || "it is sharded on the target only".into());
    }
    for (ns, sharded) in &source.collections {
        let Some(other) = target.sharded(ns) else {
            findings.add(ns, "sharding", || "it is sharded on the source only".into());
            continue;
        };
        fields::compare(
            ns,
            "sharding",
            "",
            &sharded.options,
            &other.options,
            findings,
        );
        let wanted = intervals(&sharded.chunks, |shard| names.mapped(shard));
        let found = intervals(&other.chunks, str::to_owned);
        if let Some((wanted, found)) = first_apart(&wanted, &found, "on") {
            findings.add(ns, "chunks", || {
                format!("{wanted} expected, {found} on the target")
            });
        }
    }
    compare_zones(source, target, findings);
    for (shard, tags) in &source.shards {
        let mapped = names.mapped(shard);
        let found = target.shards.get(&mapped).cloned().unwrap_or_default();
        if *tags != found {
            findings.add(&mapped, "shard zones", || {
                format!("{tags:?} expected, {found:?} on the target")
            });
        }
    }
}

/// Of sharded collections; and none may be left on the target of which the source has none.
fn compare_zones(source: &Metadata, target: &Metadata, findings: &Findings) {
    let none = BTreeSet::new();
    for ns in source.collections.keys().chain(
        target
            .zones
            .keys()
            .filter(|ns| source.sharded(ns).is_none()),
    ) {
        let of = |side: &Metadata| -> Vec<Range> {
            side.zones
                .get(ns)
                .unwrap_or(&none)
                .iter()
                .cloned()
                .collect()
        };
        if let Some((wanted, found)) = first_apart(&of(source), &of(target), "in") {
            findings.add(ns, "zones", || {
                format!("{wanted} on the source, {found} on the target")
            });
        }
    }
}

/// Owned intervals in key order; chunks are joined where neighbours have the same owner.
fn intervals(chunks: &[Range], name: impl Fn(&str) -> String) -> Vec<Range> {
    let mut by_min: BTreeMap<&[u8], &Range> =
        chunks.iter().map(|chunk| (&*chunk.min, chunk)).collect();
    let ends: BTreeSet<&[u8]> = chunks.iter().map(|chunk| &*chunk.max).collect();
    let mut joined: Vec<Range> = Vec::new();
    // By following max to min the order of the keys need not be known.
    let first = by_min.keys().find(|min| !ends.contains(*min)).copied();
    let mut at = first.unwrap_or_default();
    while let Some(chunk) = by_min.remove(at) {
        let owner = name(&chunk.name);
        match joined.last_mut() {
            Some(last) if last.name == owner => last.max.clone_from(&chunk.max),
            _ => joined.push(Range {
                name: owner,
                ..chunk.clone()
            }),
        }
        at = &chunk.max;
    }
    joined.extend(by_min.values().map(|chunk| Range {
        name: format!("{}, out of line", chunk.name),
        ..(*chunk).clone()
    }));
    joined
}

/// The first place where two lists differ.
fn first_apart(source: &[Range], target: &[Range], of: &str) -> Option<(String, String)> {
    let longest = source.len().max(target.len());
    let at = (0..longest).find(|&i| source.get(i) != target.get(i))?;
    let show = |list: &[Range]| {
        list.get(at)
            .map_or("nothing".into(), |range| range.show(of))
    };
    let bytes = |list: &[Range]| {
        list.get(at)
            .map(|range| [&*range.min, &*range.max].concat())
            .unwrap_or_default()
    };
    Some(raw::show_apart(
        &show(source),
        &show(target),
        &bytes(source),
        &bytes(target),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::{RawBson, RawDocumentBuf, rawdoc};

    use super::*;

    fn range(min: impl Into<RawBson>, max: impl Into<RawBson>, name: &str) -> Range {
        let bound = |value: RawBson| rawdoc! { "k": value }.into_bytes();
        Range {
            min: bound(min.into()),
            max: bound(max.into()),
            name: name.to_owned(),
        }
    }

    fn side(change: impl FnOnce(&mut Metadata)) -> Metadata {
        let (low, high) = (
            range(RawBson::MinKey, 5, "shard0"),
            range(5, RawBson::MaxKey, "shard1"),
        );
        let options = carried(rawdoc! { "key": { "k": 1 }, "unique": false }.as_bytes());
        let sharded = Sharded {
            uuid: None,
            options,
            chunks: vec![low, high],
        };
        let mut side = Metadata {
            primaries: BTreeMap::from([("d".to_owned(), "shard0".to_owned())]),
            collections: BTreeMap::from([("d.c".to_owned(), sharded)]),
            zones: BTreeMap::from([("d.c".to_owned(), BTreeSet::from([range(0, 9, "far")]))]),
            shards: BTreeMap::from([("shard1".to_owned(), BTreeSet::from(["far".to_owned()]))]),
        };
        change(&mut side);
        side
    }

    fn with_options(side: &mut Metadata, row: RawDocumentBuf) {
        side.collections.get_mut("d.c").unwrap().options = carried(row.as_bytes());
    }

    fn with_chunks(side: &mut Metadata, chunks: Vec<Range>) {
        side.collections.get_mut("d.c").unwrap().chunks = chunks;
    }

    /// What differs, and how the target of a row was changed.
    type Row = (Option<&'static str>, fn(&mut Metadata));

    #[test]
    fn metadata_that_differs_in_one_thing_is_named_by_it() {
        let rows: [Row; 14] = [
            (None, |_| ()),
            (None, |side| {
                let halves = [range(RawBson::MinKey, 2, "shard0"), range(2, 5, "shard0")];
                with_chunks(
                    side,
                    [&halves[..], &[range(5, RawBson::MaxKey, "shard1")]].concat(),
                );
            }),
            (Some("chunks"), |side| {
                let chunks = vec![
                    range(RawBson::MinKey, 5, "shard0"),
                    range(5, RawBson::MaxKey, "shard0"),
                ];
                with_chunks(side, chunks);
            }),
            (Some("chunks"), |side| {
                let chunks = vec![
                    range(RawBson::MinKey, 5_i64, "shard0"),
                    range(5_i64, RawBson::MaxKey, "shard1"),
                ];
                with_chunks(side, chunks);
            }),
            (Some("chunks"), |side| {
                with_chunks(side, vec![range(RawBson::MinKey, 5, "shard0")])
            }),
            (Some("sharding"), |side| {
                with_options(side, rawdoc! { "key": { "k": 1 }, "unique": true })
            }),
            (Some("sharding"), |side| {
                with_options(side, rawdoc! { "key": { "k": 1.0 } })
            }),
            (Some("sharding"), |side| {
                with_options(side, rawdoc! { "key": { "k": 1 }, "noBalance": true })
            }),
            (Some("sharding"), |side| side.collections.clear()),
            (Some("primary shard"), |side| {
                _ = side.primaries.insert("d".into(), "shard1".into())
            }),
            (Some("zones"), |side| side.zones.clear()),
            (Some("zones"), |side| {
                _ = side
                    .zones
                    .insert("d.c".into(), BTreeSet::from([range(0, 9_i64, "far")]))
            }),
            (Some("zones"), |side| {
                _ = side
                    .zones
                    .insert("d.gone".into(), BTreeSet::from([range(0, 9, "far")]))
            }),
            (Some("shard zones"), |side| side.shards.clear()),
        ];
        let names = Names(
            ["shard0", "shard1"]
                .map(|name| (name.to_owned(), name.to_owned()))
                .into(),
        );
        for (row, (wanted, change)) in rows.into_iter().enumerate() {
            let findings = Findings::new(10);
            compare_all(&names, &side(|_| ()), &side(change), &findings);
            let report = findings.report(Default::default(), Duration::ZERO);
            assert_eq!(
                report.differences.iter().map(|found| found.kind).next(),
                wanted,
                "row {row}: {report}"
            );
        }
    }

    #[test]
    fn shards_have_other_names_on_the_target() {
        let names = Names(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let chunks = [range(RawBson::MinKey, RawBson::MaxKey, "a")];
        assert_eq!(intervals(&chunks, |shard| names.mapped(shard))[0].name, "b");
    }
}
