//! What a second operator does: each kind with its name, and how often.
//!
//! Knows nothing about how it is done.

use std::str::FromStr;
use std::time::Duration;

/// One kind of work on a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// A chunk goes to another shard; or there, and back again.
    MoveSource,
    MoveSourceAndBack,
    MoveTarget,
    MoveTargetAndBack,
    /// On either side; it is stopped again after a while, or left on.
    StartBalancer,
    /// On any member of either side.
    KillOps,
    KillCursors,
    KillSessions,
    /// A database with `system.js`, and views or none, is dropped and made again.
    Database,
    DatabaseWithViews,
    /// A database is dropped, and made again in another spelling.
    Respell,
    /// A view is made and dropped.
    View,
    DbCheck,
    /// Inserts, deltas, replacements and deletes by `applyOps`; or the old `$set` form.
    ApplyOps,
    ApplyOpsSet,
    /// A collection, its index, and the end of both in one go.
    ShortLived,
    CappedClone,
    ConvertToCapped,
}

impl Deed {
    /// With name and weight in a plan.
    pub const ALL: [(Deed, &str, u64); 18] = [
        (Deed::MoveSource, "move_source", 3),
        (Deed::MoveSourceAndBack, "move_source_and_back", 3),
        (Deed::MoveTarget, "move_target", 3),
        (Deed::MoveTargetAndBack, "move_target_and_back", 3),
        (Deed::StartBalancer, "start_balancer", 4),
        (Deed::KillOps, "kill_ops", 8),
        (Deed::KillCursors, "kill_cursors", 6),
        (Deed::KillSessions, "kill_sessions", 3),
        (Deed::Database, "database", 7),
        (Deed::DatabaseWithViews, "database_with_views", 2),
        (Deed::Respell, "respell", 5),
        (Deed::View, "view", 2),
        (Deed::DbCheck, "db_check", 5),
        (Deed::ApplyOps, "apply_ops", 6),
        (Deed::ApplyOpsSet, "apply_ops_set", 1),
        (Deed::ShortLived, "short_lived", 7),
        (Deed::CappedClone, "capped_clone", 4),
        (Deed::ConvertToCapped, "convert_to_capped", 1),
    ];

    pub fn name(self) -> &'static str {
        Deed::ALL[self as usize].1
    }

    /// True if a release may refuse it: the run then has to start over.
    pub fn may_end_a_run(self) -> bool {
        self.moves_chunks() || matches!(self, Deed::ApplyOpsSet | Deed::ConvertToCapped)
    }

    /// How long it may take: a chunk is moved, and what it left deleted, within the longer
    /// one; a server that is frozen is not waited for.
    pub(super) fn timeout(self) -> Duration {
        match self {
            Deed::KillOps | Deed::KillCursors | Deed::KillSessions => Duration::from_secs(3),
            _ => Duration::from_secs(25),
        }
    }

    fn moves_chunks(self) -> bool {
        matches!(
            self,
            Deed::MoveSource | Deed::MoveSourceAndBack | Deed::MoveTarget | Deed::MoveTargetAndBack
        )
    }
}

impl FromStr for Deed {
    type Err = String;

    fn from_str(text: &str) -> Result<Deed, String> {
        let found = Deed::ALL.iter().find(|(_, name, _)| *name == text);
        let names = || Deed::ALL.map(|(_, name, _)| name).join(", ");
        found
            .map(|(deed, ..)| *deed)
            .ok_or_else(|| format!("no deed {text}; there are {}", names()))
    }
}

/// Each as often as it weighs, of the given kinds (all where empty); those that need
/// shards, or none, only where that is so.
pub(super) fn weighted(kinds: &[Deed], sharded: bool) -> Vec<Deed> {
    let fits = |deed: Deed| match deed {
        // A shard takes no collection that no router made.
        Deed::CappedClone => !sharded,
        _ => sharded || !(deed.moves_chunks() || deed == Deed::StartBalancer),
    };
    let wanted = |deed: Deed| kinds.is_empty() || kinds.contains(&deed);
    let all = Deed::ALL
        .iter()
        .filter(|(deed, ..)| fits(*deed) && wanted(*deed));
    all.flat_map(|(deed, _, weight)| std::iter::repeat_n(*deed, *weight as usize))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_numbered_as_listed() {
        assert!(
            Deed::ALL
                .iter()
                .enumerate()
                .all(|(i, (deed, ..))| *deed as usize == i)
        );
        let fits = |deed| weighted(&[], true).contains(deed) || weighted(&[], false).contains(deed);
        assert!(Deed::ALL.iter().all(|(deed, ..)| fits(deed)));
        assert!(
            !weighted(&[], false).contains(&Deed::MoveTarget)
                && weighted(&[], false).contains(&Deed::View)
        );
        assert_eq!(
            weighted(&[Deed::ApplyOpsSet], true),
            ["apply_ops_set".parse().unwrap()]
        );
    }
}
