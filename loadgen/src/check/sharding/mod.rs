//! Sharding metadata of both sides, raw: primaries, shard keys, who owns what,
//! zones. Chunks are compared as owned intervals: neighbours on one shard are one.
//!
//! Knows nothing about documents.

pub(super) mod metadata;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::check::report::Findings;
use crate::check::sharding::metadata::{Metadata, Range};
use crate::check::{Sides, fields, raw};

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
