//! What the config servers of one side have, raw.
//!
//! Knows nothing about the other side.

use std::collections::{BTreeMap, BTreeSet};

use bson::doc;

use crate::check::fields::{self, Options};
use crate::check::filter::Filter;
use crate::check::renames::Renames;
use crate::check::{raw, rows};
use crate::entry::Entry;
use crate::error::Result;

/// Fields of `config.collections` that a migration carries.
const COLLECTION_FIELDS: [&[u8]; 4] = [b"key", b"unique", b"defaultCollation", b"noBalance"];

/// What a time series is, in a field of its own.
const SERIES: &str = "timeseriesFields";

/// Of these the span of a bucket: written only where a time series is sharded in place, or was
/// changed. It is among the options of the buckets, which are compared.
const SPAN: &[u8] = b"bucketMaxSpanSeconds";

/// What one side's config servers have; nothing where there is no router.
#[derive(Default)]
pub(in crate::check) struct Metadata {
    /// Primary shards by database.
    pub(super) primaries: BTreeMap<String, String>,
    /// By namespace.
    pub(super) collections: BTreeMap<String, Sharded>,
    /// Zone ranges, by namespace.
    pub(super) zones: BTreeMap<String, BTreeSet<Range>>,
    /// Zones of each shard.
    pub(super) shards: BTreeMap<String, BTreeSet<String>>,
}

pub(in crate::check) struct Sharded {
    pub(in crate::check) uuid: Option<Vec<u8>>,
    pub(super) options: Options,
    pub(super) chunks: Vec<Range>,
}

/// A range of shard keys with its owner or zone; bounds are the bytes of documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) min: Vec<u8>,
    pub(super) max: Vec<u8>,
    pub(super) name: String,
}

impl Sharded {
    /// True if that shard owns a chunk of it.
    pub(in crate::check) fn is_on(&self, shard: &str) -> bool {
        self.chunks.iter().any(|chunk| chunk.name == shard)
    }
}

impl Metadata {
    pub(in crate::check) async fn read(entry: &Entry, filter: &Filter) -> Result<Metadata> {
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
        metadata.leave_out(filter);
        metadata.rename(filter.to_target());
        Ok(metadata)
    }

    pub(in crate::check) fn sharded(&self, ns: &str) -> Option<&Sharded> {
        self.collections.get(ns)
    }

    pub(in crate::check) fn primary(&self, database: &str) -> Option<&str> {
        self.primaries.get(database).map(String::as_str)
    }

    /// Where databases are of which nothing is compared does not matter.
    pub(in crate::check) fn keep_databases(&mut self, kept: impl Fn(&str) -> bool) {
        self.primaries.retain(|name, _| kept(name));
    }

    /// By the target's names.
    fn rename(&mut self, renames: &Renames) {
        let named = |ns: String| {
            let (database, name) = ns.split_once('.').unwrap_or((&ns, ""));
            let (database, name) = renames.of(database, name);
            format!("{database}.{name}")
        };
        let primaries = std::mem::take(&mut self.primaries).into_iter();
        self.primaries = primaries
            .map(|(name, primary)| (renames.database(&name), primary))
            .collect();
        let collections = std::mem::take(&mut self.collections).into_iter();
        self.collections = collections.map(|(ns, of)| (named(ns), of)).collect();
        let zones = std::mem::take(&mut self.zones).into_iter();
        self.zones = zones.map(|(ns, of)| (named(ns), of)).collect();
    }

    fn leave_out(&mut self, filter: &Filter) {
        let kept = |name: &str| {
            let (database, name) = name.split_once('.').unwrap_or((name, ""));
            filter.has_database(database, false) && filter.has(database, name)
        };
        self.primaries
            .retain(|name, _| filter.has_database(name, false));
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

    pub(super) fn show(&self, of: &str) -> String {
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
pub(super) fn carried(row: &[u8]) -> Options {
    let mut all = fields::of(row);
    let is_default = |value: &raw::Value| value.bytes == [0] || value.bytes == [5, 0, 0, 0, 0];
    all.retain(|name, values| {
        COLLECTION_FIELDS.contains(&&**name) && !values.iter().all(is_default)
    });
    for field in raw::fields(raw::embedded(row, SERIES)) {
        if field.name != SPAN {
            let name = [SERIES.as_bytes(), b".", field.name].concat();
            all.entry(name).or_default().push(field.value());
        }
    }
    all
}
