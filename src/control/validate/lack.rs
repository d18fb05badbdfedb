//! What a user lacks, as it is told: by the built-in roles that would grant it, with the
//! phases of a run that need each.
//!
//! Pure.

use std::fmt;

use bson::Document;

use crate::control::validate::privileges::{Need, On};
use crate::control::validate::role;

/// What a run cannot do without a role; all of them are asked for before it begins.
const PHASES: [(&str, &str); 7] = [
    ("readAnyDatabase", "copying and the comparison"),
    (
        "readWriteAnyDatabase",
        "copying, following and the comparison",
    ),
    ("backup", "copying, following and the cutover"),
    ("restore", "the layout, copying, following and the cutover"),
    ("dbAdminAnyDatabase", "following"),
    ("clusterMonitor", "every phase"),
    ("clusterManager", "the balancer, sharding and zones"),
];

/// What no privilege covers, by the role that would.
#[derive(Debug, PartialEq)]
pub(super) struct Lack {
    pub(super) role: &'static str,
    /// `action`, or `action on place` where it is not everywhere.
    pub(super) actions: Vec<String>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.role, self.actions.join(", "))?;
        let phases = PHASES.iter().find(|(role, _)| *role == self.role);
        phases.map_or(Ok(()), |(_, phases)| write!(f, " for {phases}"))
    }
}

pub(super) fn missing(privileges: &[Document], needs: &[Need]) -> Vec<Lack> {
    let mut by_role: Vec<Lack> = Vec::new();
    for need in role::lacking(privileges, needs) {
        let action = match need.on {
            On::Cluster | On::AnyDatabase => need.action.to_owned(),
            On::AnyBuckets => format!("{} on system.buckets", need.action),
            On::Collection("", coll) => format!("{} on {coll}", need.action),
            On::Collection(db, coll) => format!("{} on {db}.{coll}", need.action),
        };
        match by_role.iter_mut().find(|lack| lack.role == need.role) {
            Some(lack) => lack.actions.push(action),
            None => by_role.push(Lack {
                role: need.role,
                actions: vec![action],
            }),
        }
    }
    by_role
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::cluster::deployment::{Topology, Version};
    use crate::cluster::dialect::Dialect;
    use crate::control::validate::privileges;

    #[test]
    fn missing_actions_are_named_by_role_with_the_phases_that_need_them() {
        let read = doc! {"resource": {"db": "", "collection": ""}, "actions": ["find"]};
        let version = Version {
            major: 6,
            minor: 0,
            patch: 4,
        };
        let dialect = Dialect::of(version, &version.series());
        let needs = privileges::source(Topology::ReplicaSet, &dialect).shard;
        let missing = missing(&[read], &needs);
        let roles: Vec<&str> = missing.iter().map(|lack| lack.role).collect();
        assert_eq!(roles, ["readAnyDatabase", "backup", "clusterMonitor"]);
        assert_eq!(
            missing[0].actions,
            [
                "listCollections",
                "listIndexes",
                "find on system.js",
                "listCollections on system.js",
                "listIndexes on system.js",
                "listCollections on system.buckets",
                "listIndexes on system.buckets",
                "listDatabases"
            ]
        );
        assert_eq!(
            missing[1].to_string(),
            "backup (find on local.oplog.rs, appendOplogNote, useUUID) for copying, following and the cutover"
        );
    }

    #[test]
    fn of_each_role_is_known_what_needs_it() {
        for (major, minor) in [(4, 2), (5, 0), (6, 0)] {
            let version = Version {
                major,
                minor,
                patch: 4,
            };
            let dialect = Dialect::of(version, &version.series());
            for needs in [
                privileges::source(Topology::Sharded, &dialect),
                privileges::target(Topology::Sharded, &dialect),
            ] {
                for need in needs.router.iter().chain(&needs.shard) {
                    let known = PHASES.iter().any(|(role, _)| *role == need.role);
                    assert!(known, "{need:?}");
                }
            }
        }
    }
}
