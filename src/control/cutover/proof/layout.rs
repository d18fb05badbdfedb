//! Compares what the config servers of both sides know: primaries of databases, shard
//! keys, zones, the owner of every range. Shards are mapped as the pairs are.
//!
//! Pure functions. A replica set has nothing of this.

use std::collections::BTreeSet;

use bson::RawDocumentBuf;

use crate::cluster::catalog::{Namespace, Sharded, Sharding};
use crate::cluster::ownership::joined;
use crate::control::cutover::proof::shown::shown;
use crate::control::cutover::proof::zones::zones;
use crate::control::cutover::proof::{Difference, Repair, ShardMap, repaired_or};
use crate::control::layout::refined;

const REFINED: &str =
    "shardlift refines it by itself once the index that carries it is on the target";

/// Lays a collection out anew, or (`db.*`) all of a database.
fn anew(ns: &str) -> String {
    format!(
        "keep the balancers of both sides off and move no chunks or primaries; run `shardlift recopy --ns {ns}`"
    )
}

pub(super) fn compare(map: &ShardMap, source: &Sharding, target: &Sharding) -> Vec<Difference> {
    let layout = Layout {
        map,
        source,
        target,
    };
    let mut names: Vec<&Namespace> = source.collections.keys().collect();
    names.sort();
    let mut found: Vec<Difference> = names
        .into_iter()
        .filter_map(|ns| layout.collection(ns))
        .collect();
    for ns in target
        .collections
        .keys()
        .filter(|ns| !source.collections.contains_key(ns))
    {
        found.push(Difference::new(
            format!("{ns} is sharded on the target and not on the source"),
            anew(&ns.public().to_string()),
        ));
    }
    found.extend(layout.primaries());
    found.extend(layout.shard_zones());
    found
}

struct Layout<'a> {
    map: &'a ShardMap,
    source: &'a Sharding,
    target: &'a Sharding,
}

impl Layout<'_> {
    fn source_shard(&self, shard: usize) -> &str {
        &self.map.source[shard]
    }

    fn target_shard(&self, shard: usize) -> &str {
        &self.map.target[shard]
    }

    fn collection(&self, ns: &Namespace) -> Option<Difference> {
        let wanted = &self.source.collections[ns];
        let Some(there) = self.target.collections.get(ns) else {
            let homes = self.source.databases.iter();
            let mut home = homes.filter(|d| d.name == ns.db).map(|d| d.primary);
            let shard = home
                .next()
                .map_or("…", |primary| self.source_shard(primary));
            let by_hand = format!(
                "shardlift shards it by itself if all of it stayed on its shard; if this stays, run `shardlift recopy --shard {shard} --ns {ns}`"
            );
            return Some(Difference::new(
                format!("{ns} is sharded on the source and not on the target"),
                by_hand,
            ));
        };
        if (wanted.key.as_bytes(), wanted.unique) != (there.key.as_bytes(), there.unique) {
            let key =
                |s: &Sharded| format!("{}{}", shown(&s.key), if s.unique { " unique" } else { "" });
            let what = format!(
                "the shard key of {ns} is {} on the source and {} on the target",
                key(wanted),
                key(there)
            );
            let is_refined =
                refined::is_begin(&there.key, &wanted.key) && wanted.unique == there.unique;
            let remedy = if is_refined {
                REFINED.to_owned()
            } else {
                anew(&ns.public().to_string())
            };
            return Some(Difference::new(what, remedy));
        }
        self.owners(ns, wanted, there)
            .or_else(|| zones(ns, &wanted.zones, &there.zones))
    }

    fn owners(&self, ns: &Namespace, wanted: &Sharded, there: &Sharded) -> Option<Difference> {
        let mapped = joined(wanted)
            .into_iter()
            .map(|(min, max, shard)| (min, max, self.map.pairs[shard]));
        let (wanted, found): (Vec<_>, _) = (mapped.collect(), joined(there));
        let differ = wanted
            .iter()
            .zip(&found)
            .find(|(wanted, found)| wanted != found);
        let (wanted, found) =
            differ.or_else(|| (wanted.len() != found.len()).then_some((&wanted[0], &found[0])))?;
        let range = |(min, max, shard): &(RawDocumentBuf, RawDocumentBuf, usize)| {
            format!(
                "{} to {} on shard {}",
                shown(min),
                shown(max),
                self.target_shard(*shard)
            )
        };
        let what = format!(
            "a range of {ns} should be {} of the target and is {}",
            range(wanted),
            range(found)
        );
        Some(Difference::new(what, anew(&ns.public().to_string())))
    }

    /// Compares primaries of databases that have sharded collections. An unsharded
    /// collection is looked for on its database's primary.
    fn primaries(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        let counts: BTreeSet<&str> = self
            .source
            .collections
            .keys()
            .map(|ns| ns.db.as_str())
            .collect();
        for database in self
            .source
            .databases
            .iter()
            .filter(|database| counts.contains(&*database.name))
        {
            let Some(there) = self
                .target
                .databases
                .iter()
                .find(|there| there.name == database.name)
            else {
                continue;
            };
            if there.primary != self.map.pairs[database.primary] {
                let (source, target) = (
                    self.source_shard(database.primary),
                    self.target_shard(there.primary),
                );
                let name = &database.name;
                let what = format!(
                    "database {name} is on shard {source} of the source and on shard {target} of the target"
                );
                found.push(Difference::new(what, anew(&format!("'{name}.*'"))));
            }
        }
        found
    }

    /// Zones that the source does not have are the target's own.
    fn shard_zones(&self) -> Vec<Difference> {
        let known: BTreeSet<&String> = self.source.shard_zones.iter().flatten().collect();
        let mut found = Vec::new();
        for (shard, zones) in self.source.shard_zones.iter().enumerate() {
            let to = self.map.pairs[shard];
            let wanted: BTreeSet<&String> = zones.iter().collect();
            let there: BTreeSet<&String> = self.target.shard_zones[to]
                .iter()
                .filter(|z| known.contains(z))
                .collect();
            if wanted != there {
                let (source, target) = (self.source_shard(shard), self.target_shard(to));
                let what = format!(
                    "shard {source} of the source is in zones {wanted:?}, shard {target} of the target in {there:?}"
                );
                let remedy = repaired_or(
                    "use `sh.addShardToZone` or `sh.removeShardFromZone` on the target",
                );
                found.push(Difference::new(what, remedy).ours(Repair::ShardZones));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, rawdoc};

    use super::*;
    use crate::cluster::catalog::{Chunk, Database, Zone};

    fn map() -> ShardMap {
        let ids = |side: &str| ["0", "1"].map(|n| format!("{side}{n}")).into();
        ShardMap {
            source: ids("a"),
            target: ids("b"),
            pairs: vec![1, 0],
            expiry_never: None,
            trims_come: true,
            scope: Default::default(),
        }
    }

    fn key(value: RawBson) -> RawDocumentBuf {
        let mut key = RawDocumentBuf::new();
        key.append(bson::cstr!("k"), value);
        key
    }

    /// Chunks from one bound to the next, each with its shard.
    fn sharded(begins: &[(i32, usize)]) -> Sharded {
        let bound =
            |n: Option<&(i32, usize)>, open| key(n.map_or(open, |(n, _)| RawBson::Int32(*n)));
        let chunk = |(i, (_, shard)): (usize, &(i32, usize))| Chunk {
            min: bound(begins.get(i).filter(|_| 0 < i), RawBson::MinKey),
            max: bound(begins.get(i + 1), RawBson::MaxKey),
            shard: *shard,
        };
        let chunks = begins.iter().enumerate().map(chunk).collect();
        Sharded {
            key: rawdoc! {"k": 1},
            unique: false,
            chunks,
            zones: Vec::new(),
            version: None,
        }
    }

    fn sharding(collection: Option<Sharded>, primary: usize) -> Sharding {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        Sharding {
            databases: vec![Database {
                name: "d".to_owned(),
                primary,
            }],
            collections: collection
                .map(|collection| (ns, collection))
                .into_iter()
                .collect(),
            shard_zones: vec![Vec::new(), Vec::new()],
        }
    }

    fn check(source: Sharding, target: Sharding, expect: &[&str]) {
        let found = compare(&map(), &source, &target);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        found
            .iter()
            .zip(expect)
            .for_each(|(found, part)| assert!(found.what.contains(part), "{found:?}"));
    }

    #[test]
    fn owners_are_compared_as_the_shards_are_mapped_however_they_are_split() {
        let source = || sharding(Some(sharded(&[(0, 0), (5, 1)])), 0);
        check(source(), sharding(Some(sharded(&[(0, 1), (5, 0)])), 1), &[]);
        check(
            source(),
            sharding(Some(sharded(&[(0, 1), (3, 1), (5, 0), (7, 0)])), 1),
            &[],
        );
        check(
            source(),
            sharding(Some(sharded(&[(0, 0), (5, 0)])), 1),
            &["a range of d.c should be"],
        );
        check(
            source(),
            sharding(Some(sharded(&[(0, 1), (6, 0)])), 1),
            &["{ \"k\": 5 } on shard b1"],
        );
        check(
            source(),
            sharding(Some(sharded(&[(0, 1), (5, 0)])), 0),
            &["database d is on shard a0"],
        );
        check(
            source(),
            sharding(None, 1),
            &["sharded on the source and not on the target"],
        );
        check(
            sharding(None, 0),
            sharding(Some(sharded(&[(0, 1)])), 1),
            &["sharded on the target and not"],
        );
    }

    #[test]
    fn what_is_laid_out_otherwise_is_laid_out_anew() {
        let found =
            |target: Sharding| compare(&map(), &sharding(Some(sharded(&[(0, 0)])), 0), &target);
        let rows = [
            (sharding(Some(sharded(&[(0, 0)])), 1), "recopy --ns d.c`"),
            (sharding(Some(sharded(&[(0, 1)])), 0), "recopy --ns 'd.*'`"),
        ];
        for (target, expect) in rows {
            let found = found(target);
            assert!(found[0].remedy.contains(expect), "{found:?}");
        }
    }

    #[test]
    fn keys_and_zones_are_compared_by_their_bytes() {
        let source = || sharding(Some(sharded(&[(0, 0)])), 0);
        let target = |change: fn(&mut Sharded)| {
            let mut collection = sharded(&[(0, 1)]);
            change(&mut collection);
            sharding(Some(collection), 1)
        };
        check(
            source(),
            target(|c| c.key = rawdoc! {"k": 1.0}),
            &["the shard key of d.c"],
        );
        check(
            source(),
            target(|c| c.unique = true),
            &["the shard key of d.c"],
        );
        let zone = || Zone {
            min: rawdoc! {"k": 1},
            max: rawdoc! {"k": 2},
            name: "z".to_owned(),
        };
        check(
            source(),
            target(|c| {
                c.zones.push(Zone {
                    min: rawdoc! {"k": 1},
                    max: rawdoc! {"k": 2},
                    name: "z".to_owned(),
                })
            }),
            &["zones of d.c"],
        );
        let mut both = (source(), target(|_| ()));
        for side in [&mut both.0, &mut both.1] {
            side.collections
                .values_mut()
                .for_each(|collection| collection.zones.push(zone()));
        }
        check(both.0, both.1, &[]);
    }

    #[test]
    fn shards_are_in_the_same_zones_and_may_be_in_others_of_the_targets_own() {
        let zones = |zones: [&[&str]; 2]| Sharding {
            shard_zones: zones
                .map(|zones| zones.iter().map(ToString::to_string).collect())
                .into(),
            ..Sharding::default()
        };
        check(zones([&["x"], &["y"]]), zones([&["y"], &["x", "own"]]), &[]);
        check(
            zones([&["x"], &["y"]]),
            zones([&["y"], &[]]),
            &["shard a0 of the source is in zones"],
        );
        check(
            zones([&["x"], &["y"]]),
            zones([&["y", "x"], &["x"]]),
            &["shard a1 of the source is in zones"],
        );
    }
}
