//! What the releases do differently, in one place: a dialect is made once for each side
//! after connecting, and reaches the rooms that need it as data.
//!
//! No other file looks at a version or a feature compatibility version to decide how
//! something is asked, read or written; the tidy test says so.

use crate::cluster::deployment::Version;

/// How a deployment is asked, read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub catalog: CatalogForms,
    pub oplog: OplogForms,
    pub writes: WriteForms,
}

/// What its catalog and its config server are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogForms {
    /// Rows of `config.chunks` name their collection by UUID (feature compatibility version
    /// 5.0), not by name.
    pub chunks_by_uuid: bool,
    /// Commands that make or shard a collection hold a lock in `config.locks` (feature
    /// compatibility version up to 4.4); later ones a critical section on the shard.
    pub ddl_by_locks: bool,
    /// A database must be shown as sharded before a collection of it can be (up to 5.0).
    pub databases_enabled: bool,
    /// The balancer counts chunks, and a chunk is split only by writes through a router, so
    /// few large chunks are no substitute for many (before 6.0.3).
    pub balancer_counts_chunks: bool,
    /// Routers list the indexes of a sharded collection as its database's primary shard has
    /// them, chunks or none (4.2).
    pub primary_lists_indexes: bool,
    /// Routers do not notice that a name was dropped and made again (up to 4.4).
    pub routers_go_stale: bool,
    /// A zone of a hashed key may begin at MinKey or end at MaxKey (4.4+; 4.2 refuses it with
    /// code 72).
    pub hashed_zones_are_whole: bool,
    /// Options of indexes must be of the type and on the kind of index they are for (5.0+).
    pub strict_indexes: bool,
    /// The server parameter that says how long reads at a position in the past are possible,
    /// seconds: 5 by default up to 4.4, 300 since.
    pub history_parameter: &'static str,
    /// `applyOps` is an action of its own (5.0+), and which built-in role grants it.
    pub apply_ops_role: Option<&'static str>,
    /// The collections of time series have a resource of their own in privileges (5.0+).
    pub has_buckets: bool,
}

/// What its oplog says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OplogForms {
    /// Changes are logged as `$v: 1`: replayed over a newer document they keep the fields'
    /// places, so their order may differ for good (seen on 4.2.6 and 4.4.2).
    pub deltas_keep_places: bool,
}

/// How it is written to exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteForms {
    /// Commands take `collectionUUID`. Feature compatibility version 6.0; below it the field
    /// is ignored (`drop` on 4.x) or refused.
    pub binds_uuid: bool,
    /// Updates take the stage `$_internalApplyOplogUpdate` (6.0); else deltas go by
    /// `applyOps`.
    pub delta_stage: bool,
    /// `createIndexes` takes `commitQuorum` (4.4+; 4.2 refuses it with code 2).
    pub commit_quorum: bool,
    /// `collMod` turns a plain index into one that expires documents (6.0; else code 72).
    pub expiry_later: bool,
}

/// The last release whose dialect is known.
const LAST: (u32, u32) = (6, 0);
/// From here on the balancer weighs data; before, it counts chunks.
const WEIGHS_DATA: Version = Version {
    major: 6,
    minor: 0,
    patch: 3,
};

impl Dialect {
    /// The first release whose dialect is known.
    pub const FIRST: (u32, u32) = (4, 2);

    /// Of servers of this release and feature compatibility version. Servers of another
    /// release get the nearest dialect; `is_known` says that it is a guess.
    pub fn of(version: Version, fcv: &str) -> Self {
        let release = (version.major, version.minor);
        Dialect {
            catalog: CatalogForms::of(version, fcv),
            oplog: OplogForms {
                deltas_keep_places: release < (5, 0) || fcv < "5.0",
            },
            writes: WriteForms {
                binds_uuid: (6, 0) <= release && "6.0" <= fcv,
                delta_stage: (6, 0) <= release,
                commit_quorum: (4, 4) <= release,
                expiry_later: (6, 0) <= release,
            },
        }
    }

    /// Whether it was seen on real servers of this release.
    pub fn is_known(version: Version) -> bool {
        (Self::FIRST..=LAST).contains(&(version.major, version.minor))
    }
}

impl CatalogForms {
    fn of(version: Version, fcv: &str) -> Self {
        let release = (version.major, version.minor);
        CatalogForms {
            chunks_by_uuid: (5, 0) <= release && "5.0" <= fcv,
            ddl_by_locks: release < (5, 0) || fcv < "5.0",
            databases_enabled: release < (6, 0),
            balancer_counts_chunks: version < WEIGHS_DATA,
            primary_lists_indexes: release < (4, 4),
            routers_go_stale: release < (5, 0),
            hashed_zones_are_whole: (4, 4) <= release,
            strict_indexes: (5, 0) <= release,
            history_parameter: if release < (5, 0) {
                "maxTargetSnapshotHistoryWindowInSeconds"
            } else {
                "minSnapshotHistoryWindowInSeconds"
            },
            apply_ops_role: match release {
                (0..=4, _) => None,
                (5, _) => Some("dbAdminAnyDatabase"),
                _ => Some("restore"),
            },
            has_buckets: (5, 0) <= release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(major: u32, minor: u32, fcv: &str) -> Dialect {
        let version = Version {
            major,
            minor,
            patch: 1,
        };
        Dialect::of(version, fcv)
    }

    #[test]
    fn a_feature_compatibility_version_below_the_release_counts() {
        assert!(of(6, 0, "6.0").writes.binds_uuid);
        let lowered = of(6, 0, "5.0").writes;
        assert!(!lowered.binds_uuid && lowered.delta_stage && lowered.expiry_later);
        assert!(!of(5, 0, "5.0").oplog.deltas_keep_places);
        assert!(of(5, 0, "4.4").oplog.deltas_keep_places);
        assert!(of(4, 4, "4.4").writes.commit_quorum && !of(4, 2, "4.2").writes.commit_quorum);
    }
}
