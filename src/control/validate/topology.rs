//! What two deployments must have in common: topology, number of shards, release, feature
//! compatibility version.
//!
//! Pure decisions over what connecting has found.

use crate::cluster::deployment::{Deployment, Topology, Version};
use crate::cluster::dialect::Dialect;
use crate::control::validate::Check;

/// As `Dialect::is_known` has them, for people.
const SERIES_SUPPORTED: &str = "4.2, 4.4, 5.0 and 6.0";

/// The part of a deployment these checks look at.
#[derive(Debug, Clone)]
pub(super) struct Side {
    topology: Topology,
    shard_count: usize,
    version: Version,
    fcv: String,
}

impl Side {
    pub(super) fn of(deployment: &Deployment) -> Self {
        Side {
            topology: deployment.topology,
            shard_count: deployment.shards.len(),
            version: deployment.version,
            fcv: deployment.fcv.clone(),
        }
    }
}

pub(super) fn decide(source: &Side, target: &Side) -> Vec<Check> {
    vec![
        same_topology(source, target),
        shard_count(source, target),
        version(source, target),
        version_supported(source, target),
        fcv(source, target),
    ]
}

fn same_topology(source: &Side, target: &Side) -> Check {
    let found = format!(
        "source is a {}, target is a {}",
        source.topology, target.topology
    );
    if source.topology == target.topology {
        return Check::pass("same topology", found);
    }
    let remedy = match source.topology {
        Topology::Sharded => "give a sharded cluster with as many shards as target",
        Topology::ReplicaSet => {
            "give a replica set as target; scale it to a sharded cluster after the migration"
        }
    };
    Check::fail("same topology", found, remedy)
}

fn shard_count(source: &Side, target: &Side) -> Check {
    let found = format!(
        "source has {}, target has {}",
        source.shard_count, target.shard_count
    );
    if source.shard_count == target.shard_count {
        return Check::pass("same number of shards", found);
    }
    let remedy = format!("give a target with {} shards", source.shard_count);
    Check::fail("same number of shards", found, remedy)
}

/// The same release, or upward.
fn version(source: &Side, target: &Side) -> Check {
    let found = format!(
        "source runs {}, target runs {}",
        source.version, target.version
    );
    let release = |side: &Side| (side.version.major, side.version.minor);
    if release(source) <= release(target) {
        return Check::pass("same or newer release", found);
    }
    let remedy = format!(
        "give a target that runs {} or newer",
        source.version.series()
    );
    Check::fail("same or newer release", found, remedy)
}

fn version_supported(source: &Side, target: &Side) -> Check {
    let found = format!(
        "source runs {}, target runs {}",
        source.version, target.version
    );
    if Dialect::is_known(source.version) && Dialect::is_known(target.version) {
        return Check::pass("release supported", found);
    }
    let remedy = format!("this release of shardlift moves MongoDB {SERIES_SUPPORTED}");
    Check::fail("release supported", found, remedy)
}

fn fcv(source: &Side, target: &Side) -> Check {
    let found = format!("source has {}, target has {}", source.fcv, target.fcv);
    let wrong = |side: &Side| side.fcv != side.version.series();
    let (which, series) = match (wrong(source), wrong(target)) {
        (true, _) => ("source", source.version.series()),
        (false, true) => ("target", target.version.series()),
        (false, false) => return Check::pass("feature compatibility version", found),
    };
    let remedy = format!(
        "on the {which} run db.adminCommand({{setFeatureCompatibilityVersion: \"{series}\"}})"
    );
    Check::fail("feature compatibility version", found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(topology: Topology, shard_count: usize, version: (u32, u32), fcv: &str) -> Side {
        let version = Version {
            major: version.0,
            minor: version.1,
            patch: 5,
        };
        Side {
            topology,
            shard_count,
            version,
            fcv: fcv.to_owned(),
        }
    }

    #[test]
    fn two_sides_must_be_alike() {
        use Topology::{ReplicaSet, Sharded};
        let good = side(Sharded, 2, (6, 0), "6.0");
        let rows: [(Side, Side, &[&str]); 10] = [
            (good.clone(), good.clone(), &[]),
            (
                side(ReplicaSet, 1, (6, 0), "6.0"),
                side(ReplicaSet, 1, (6, 0), "6.0"),
                &[],
            ),
            (
                good.clone(),
                side(ReplicaSet, 1, (6, 0), "6.0"),
                &["same topology", "same number of shards"],
            ),
            (
                good.clone(),
                side(Sharded, 3, (6, 0), "6.0"),
                &["same number of shards"],
            ),
            (
                good.clone(),
                side(Sharded, 2, (7, 0), "7.0"),
                &["release supported"],
            ),
            (
                good.clone(),
                side(Sharded, 2, (5, 0), "5.0"),
                &["same or newer release"],
            ),
            (side(Sharded, 2, (4, 2), "4.2"), good.clone(), &[]),
            (
                side(Sharded, 2, (4, 0), "4.0"),
                side(Sharded, 2, (4, 0), "4.0"),
                &["release supported"],
            ),
            (
                side(Sharded, 2, (6, 0), "5.0"),
                good.clone(),
                &["feature compatibility version"],
            ),
            (
                side(Sharded, 2, (6, 0), "5.0"),
                side(Sharded, 2, (6, 0), "5.0"),
                &["feature compatibility version"],
            ),
        ];
        for (source, target, expect) in rows {
            let checks = decide(&source, &target);
            let failed: Vec<&str> = checks.iter().filter(|c| !c.ok).map(|c| c.name).collect();
            assert_eq!(failed, expect, "{source:?} {target:?}");
            assert!(checks.iter().filter(|c| !c.ok).all(|c| c.remedy.is_some()));
        }
    }
}
