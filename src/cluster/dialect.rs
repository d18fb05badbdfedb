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
    pub reads: ReadForms,
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
    /// What a shard still has to delete of ranges that it gave away is in its
    /// `config.rangeDeletions` (4.4+, with that feature compatibility version).
    pub notes_orphans: bool,
    /// Options of indexes must be of the type and on the kind of index they are for (5.0+).
    pub strict_indexes: bool,
    /// `applyOps` is an action of its own (5.0+), and which built-in role grants it.
    pub apply_ops_role: Option<&'static str>,
    /// The collections of time series have a resource of their own in privileges (5.0+).
    pub has_buckets: bool,
    /// The view that a time series is names the fields it leaves out, of which there are none
    /// (5.0).
    pub series_exclude: bool,
}

/// How its oplog and its documents are read. What an entry of the oplog means is in the
/// entry, never in the release: a 5.0 server may log as a 4.4 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadForms {
    /// A `find` by `ts` in the oplog goes straight there only with `oplogReplay` (4.2; newer
    /// ones ignore the flag).
    pub seeks_by_flag: bool,
    /// `atClusterTime` is for transactions only (4.2, 4.4; else code 72).
    pub snapshots_in_transactions: bool,
    /// What a full capped collection lets go is logged, as deletes (feature compatibility
    /// version 5.0).
    pub logs_trims: bool,
    /// As `WriteForms::clustered_hint`.
    pub clustered_hint: bool,
    /// The server parameter that says for how many seconds history is kept: 300 by default
    /// on 5.0 and 6.0, 5 before.
    pub history_parameter: &'static str,
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
    /// An update of the old form appends new fields whose names are numbers in the order of
    /// these numbers (5.0+), and not of their text as 4.x do.
    pub numbers_in_order: bool,
    /// Updates take field names that begin with `$` (5.0+; else codes 52 and 55, at any
    /// depth). Inserts take them below the top level on every release.
    pub dollar_names: bool,
    /// `createIndexes` takes `commitQuorum` (4.4+ with that feature compatibility; else code 2).
    pub commit_quorum: bool,
    /// The expiry, in seconds, that an index has until the cutover where `collMod` cannot
    /// make an expiring index of a plain one (before 6.0: code 72). `createIndexes` refuses
    /// it, `collMod` takes it (4.2.6, 4.4.2, 5.0.4).
    ///
    /// With that of 4.x nothing expires. 5.0 takes no more than 2147483647, with which dates
    /// before 1958 do.
    pub expiry_never: Option<i64>,
    /// The longest expiry, in seconds, that `collMod` gives an index: of a longer one it makes
    /// this (5.0+).
    pub expiry_max: i64,
    /// Capped collections take deletes (6.0; else code 20).
    pub capped_deletes: bool,
    /// They take another size by `collMod`, and documents of another length by an update
    /// (feature compatibility version 6.0; below it codes 72 and 10003).
    pub capped_sizes: bool,
    /// What a capped collection of the source let go comes as deletes, and the target's may
    /// hold all else meanwhile (`for_source`).
    pub trims_come: bool,
    /// `hint` may name the `_id` index of a clustered collection, in reads too (6.0; on 5.0,
    /// where only buckets of time series are clustered, code 2).
    pub clustered_hint: bool,
    /// Updates are logged as diffs (`$v: 2`; 5.0+), of which none may move fields as it is
    /// replayed.
    pub logs_diffs: bool,
}

impl WriteForms {
    /// Where what is written comes from a source that logs as this.
    pub fn for_source(self, source: ReadForms) -> Self {
        WriteForms {
            trims_come: self.capped_sizes && source.logs_trims,
            ..self
        }
    }

    /// For a target whose indexes were there before: an expiring one stays, with an expiry
    /// with which nothing expires.
    pub fn keeping_expiring_indexes(self) -> Self {
        let never = self.expiry_never.unwrap_or(EXPIRY_MAX);
        WriteForms {
            expiry_never: Some(never),
            ..self
        }
    }
}

/// In seconds: 68 years, so dates before 1958 expire. Since 5.0.
const EXPIRY_MAX: i64 = i32::MAX as i64;

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
            reads: ReadForms {
                seeks_by_flag: release < (4, 4),
                snapshots_in_transactions: release < (5, 0),
                logs_trims: (5, 0) <= release && "5.0" <= fcv,
                clustered_hint: (6, 0) <= release,
                history_parameter: if release < (5, 0) {
                    "maxTargetSnapshotHistoryWindowInSeconds"
                } else {
                    "minSnapshotHistoryWindowInSeconds"
                },
            },
            writes: WriteForms {
                binds_uuid: (6, 0) <= release && "6.0" <= fcv,
                delta_stage: (6, 0) <= release,
                numbers_in_order: (5, 0) <= release,
                dollar_names: (5, 0) <= release && "5.0" <= fcv,
                commit_quorum: (4, 4) <= release && "4.4" <= fcv,
                expiry_never: expiry_never(release),
                expiry_max: if release < (5, 0) {
                    i64::MAX
                } else {
                    EXPIRY_MAX
                },
                capped_deletes: (6, 0) <= release,
                capped_sizes: (6, 0) <= release && "6.0" <= fcv,
                trims_come: (6, 0) <= release && "6.0" <= fcv,
                clustered_hint: (6, 0) <= release,
                logs_diffs: (5, 0) <= release && "5.0" <= fcv,
            },
        }
    }

    /// Of the newest release that is known: what holds until a server was asked.
    pub fn newest() -> Self {
        let version = Version {
            major: LAST.0,
            minor: LAST.1,
            patch: 0,
        };
        Self::of(version, &version.series())
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
            notes_orphans: (4, 4) <= release && "4.4" <= fcv,
            strict_indexes: (5, 0) <= release,
            apply_ops_role: match release {
                (0..=4, _) => None,
                (5, _) => Some("dbAdminAnyDatabase"),
                _ => Some("restore"),
            },
            has_buckets: (5, 0) <= release,
            series_exclude: release < (6, 0),
        }
    }
}

fn expiry_never(release: (u32, u32)) -> Option<i64> {
    if (6, 0) <= release {
        None
    } else if (5, 0) <= release {
        Some(EXPIRY_MAX)
    } else {
        Some(9_000_000_000_000_000_000)
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
        assert!(!lowered.binds_uuid && lowered.delta_stage && lowered.expiry_never.is_none());
        assert_eq!(of(5, 0, "5.0").writes.expiry_never, Some(2_147_483_647));
        assert!(of(5, 0, "5.0").writes.dollar_names && !of(5, 0, "4.4").writes.dollar_names);
        assert!(!of(5, 0, "4.4").reads.snapshots_in_transactions);
        assert!(lowered.capped_deletes && !lowered.capped_sizes && !lowered.trims_come);
        let newest = of(6, 0, "6.0").writes;
        let rows = [
            (5, 0, "5.0", true),
            (5, 0, "4.4", false),
            (4, 4, "4.4", false),
        ];
        for (major, minor, fcv, logs) in rows {
            let source = of(major, minor, fcv).reads;
            assert_eq!(
                newest.for_source(source).trims_come,
                logs,
                "{major}.{minor} {fcv}"
            );
        }
        let notes = [(4, 2, "4.2"), (4, 4, "4.2"), (4, 4, "4.4"), (5, 0, "4.4")];
        let notes = notes.map(|(major, minor, fcv)| of(major, minor, fcv).catalog.notes_orphans);
        assert_eq!(notes, [false, false, true, true]);
        assert!(of(4, 2, "4.2").reads.seeks_by_flag && !of(4, 4, "4.2").reads.seeks_by_flag);
        assert!(of(4, 4, "4.4").writes.commit_quorum && !of(4, 4, "4.2").writes.commit_quorum);
    }
}
