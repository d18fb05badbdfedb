//! What the config servers of both sides say: primaries of databases, shard keys, zones,
//! the owner of every range; shards mapped as the pairs are.
//!
//! Pure functions. A replica set has nothing of this.

use std::collections::BTreeSet;

use bson::RawDocumentBuf;

use crate::cluster::catalog::{Namespace, Sharded, Sharding, Zone};
use crate::cluster::ownership::joined;
use crate::control::proof::Difference;
use crate::control::proof::shown::shown;
use crate::control::sides::Sides;

const ANEW: &str = "begin anew with `shardlift migrate --restart`";
const OWNERS: &str = "keep the balancers of both sides off and move no chunks or primaries; begin anew with `shardlift migrate --restart`";

pub(super) fn compare(sides: &Sides, source: &Sharding, target: &Sharding) -> Vec<Difference> {
    let layout = Layout { sides, source, target };
    let mut names: Vec<&Namespace> = source.collections.keys().collect();
    names.sort();
    let mut found: Vec<Difference> = names.into_iter().filter_map(|ns| layout.collection(ns)).collect();
    for ns in target.collections.keys().filter(|ns| !source.collections.contains_key(ns)) {
        found.push(Difference::new(format!("{ns} is sharded on the target and not on the source"), ANEW));
    }
    found.extend(layout.primaries());
    found.extend(layout.shard_zones());
    found
}

struct Layout<'a> {
    sides: &'a Sides,
    source: &'a Sharding,
    target: &'a Sharding,
}

impl Layout<'_> {
    fn source_shard(&self, shard: usize) -> &str {
        &self.sides.source.shards[shard].id
    }

    fn target_shard(&self, shard: usize) -> &str {
        &self.sides.target.shards[shard].id
    }

    fn collection(&self, ns: &Namespace) -> Option<Difference> {
        let wanted = &self.source.collections[ns];
        let Some(there) = self.target.collections.get(ns) else {
            return Some(Difference::new(format!("{ns} is sharded on the source and not on the target"), ANEW));
        };
        if (wanted.key.as_bytes(), wanted.unique) != (there.key.as_bytes(), there.unique) {
            let key = |s: &Sharded| format!("{}{}", shown(&s.key), if s.unique { " unique" } else { "" });
            let what =
                format!("the shard key of {ns} is {} on the source and {} on the target", key(wanted), key(there));
            return Some(Difference::new(what, ANEW));
        }
        self.owners(ns, wanted, there).or_else(|| zones(ns, &wanted.zones, &there.zones))
    }

    fn owners(&self, ns: &Namespace, wanted: &Sharded, there: &Sharded) -> Option<Difference> {
        let mapped = joined(wanted).into_iter().map(|(min, max, shard)| (min, max, self.sides.pairs[shard]));
        let (wanted, found): (Vec<_>, _) = (mapped.collect(), joined(there));
        let differ = wanted.iter().zip(&found).find(|(wanted, found)| wanted != found);
        let (wanted, found) = differ.or_else(|| (wanted.len() != found.len()).then_some((&wanted[0], &found[0])))?;
        let range = |(min, max, shard): &(RawDocumentBuf, RawDocumentBuf, usize)| {
            format!("{} to {} on shard {}", shown(min), shown(max), self.target_shard(*shard))
        };
        let what = format!("a range of {ns} should be {} of the target and is {}", range(wanted), range(found));
        Some(Difference::new(what, OWNERS))
    }

    /// Of databases with sharded collections: what is not sharded is looked for on its
    /// database's primary.
    fn primaries(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        let counts: BTreeSet<&str> = self.source.collections.keys().map(|ns| ns.db.as_str()).collect();
        for database in self.source.databases.iter().filter(|database| counts.contains(&*database.name)) {
            let Some(there) = self.target.databases.iter().find(|there| there.name == database.name) else { continue };
            if there.primary != self.sides.pairs[database.primary] {
                let (source, target) = (self.source_shard(database.primary), self.target_shard(there.primary));
                let name = &database.name;
                let what =
                    format!("database {name} is on shard {source} of the source and on shard {target} of the target");
                found.push(Difference::new(what, OWNERS));
            }
        }
        found
    }

    /// Zones that the source does not have are the target's own.
    fn shard_zones(&self) -> Vec<Difference> {
        let known: BTreeSet<&String> = self.source.shard_zones.iter().flatten().collect();
        let mut found = Vec::new();
        for (shard, zones) in self.source.shard_zones.iter().enumerate() {
            let to = self.sides.pairs[shard];
            let wanted: BTreeSet<&String> = zones.iter().collect();
            let there: BTreeSet<&String> = self.target.shard_zones[to].iter().filter(|z| known.contains(z)).collect();
            if wanted != there {
                let (source, target) = (self.source_shard(shard), self.target_shard(to));
                let what = format!(
                    "shard {source} of the source is in zones {wanted:?}, shard {target} of the target in {there:?}"
                );
                found.push(Difference::new(what, "use `sh.addShardToZone` or `sh.removeShardFromZone` on the target"));
            }
        }
        found
    }
}

fn zones(ns: &Namespace, wanted: &[Zone], there: &[Zone]) -> Option<Difference> {
    let range = |zone: &Zone| (zone.min.as_bytes().to_vec(), zone.max.as_bytes().to_vec(), zone.name.clone());
    let same = wanted.iter().map(range).collect::<BTreeSet<_>>() == there.iter().map(range).collect::<BTreeSet<_>>();
    let told = |zones: &[Zone]| {
        let told = zones.iter().map(|z| format!("{} to {} in {}", shown(&z.min), shown(&z.max), z.name));
        told.collect::<Vec<_>>().join(", ")
    };
    let what = || format!("zones of {ns} are [{}] on the source and [{}] on the target", told(wanted), told(there));
    (!same).then(|| Difference::new(what(), "bring them alike with `sh.updateZoneKeyRange` on the target"))
}
