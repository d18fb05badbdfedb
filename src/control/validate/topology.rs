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

    fn release(&self) -> (u32, u32) {
        (self.version.major, self.version.minor)
    }
}

pub(super) fn of_layout(source: &Side, target: &Side) -> Vec<Check> {
    vec![same_topology(source, target), shard_count(source, target)]
}

pub(super) fn of_release(source: &Side, target: &Side) -> Vec<Check> {
    vec![
        version(source, target),
        version_supported(source, target),
        fcv(source, target),
        definitions(source, target),
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

/// The same release, or upward, in one step however far.
fn version(source: &Side, target: &Side) -> Check {
    const NAME: &str = "same or newer release";
    let found = releases(source, target);
    if source.release() <= target.release() {
        return Check::pass(NAME, found);
    }
    let remedy = format!(
        "data is never moved to an older release: give a target that runs {} or newer",
        source.version.series()
    );
    Check::fail(NAME, found, remedy)
}

/// Nothing is followed back to an older release, nor from a feature compatibility version that
/// the old source does not know.
pub(super) fn same_release(target: &Side, source: &Side) -> Check {
    const NAME: &str = "way back: same release";
    let found = format!(
        "{}; {}",
        releases(source, target),
        compatibility(source, target)
    );
    if source.release() == target.release() && source.fcv == target.fcv {
        return Check::pass(NAME, found);
    }
    let remedy = "data is never moved to an older release: leave --reverse out, or give a target of the source's release \
                  and feature compatibility version";
    Check::fail(NAME, found, remedy)
}

fn version_supported(source: &Side, target: &Side) -> Check {
    const NAME: &str = "release supported";
    let found = releases(source, target);
    let unknown = [source, target]
        .into_iter()
        .find(|side| !Dialect::is_known(side.version));
    let Some(unknown) = unknown else {
        return Check::pass(NAME, found);
    };
    let why = if unknown.release() < Dialect::FIRST {
        "no server of an older one was there to prove a migration with: upgrade it first"
    } else {
        "later ones are not known to it"
    };
    Check::fail(
        NAME,
        found,
        format!("this release of shardlift moves MongoDB {SERIES_SUPPORTED}; {why}"),
    )
}

/// What is there is checked before the start (`indexes`, `definitions`), but not what is made
/// later.
fn definitions(source: &Side, target: &Side) -> Check {
    const NAME: &str = "what is made while it runs";
    if source.release() == target.release() {
        return Check::pass(NAME, "both sides take the same");
    }
    Check::warn(
        NAME,
        "the source takes indexes, validators and collections that the target's release refuses: one made until the cutover \
         stops the run",
        "make none, or drop it on the source (`collMod` another validator), and run the same command again",
    )
}

fn releases(source: &Side, target: &Side) -> String {
    format!(
        "source runs {}, target runs {}",
        source.version, target.version
    )
}

fn compatibility(source: &Side, target: &Side) -> String {
    format!("source has {}, target has {}", source.fcv, target.fcv)
}

/// Each side has its release's own, or both of one release have the same lower one.
fn fcv(source: &Side, target: &Side) -> Check {
    const NAME: &str = "feature compatibility version";
    let found = compatibility(source, target);
    let alike = source.release() == target.release() && source.fcv == target.fcv;
    let is_own = |side: &Side| side.fcv == side.version.series();
    let is_changing = |side: &Side| side.fcv.contains("changing");
    if is_own(source) && is_own(target) || alike && !is_changing(source) && !is_changing(target) {
        return Check::pass(NAME, found);
    }
    let raise = |name: &str, side: &Side| set_fcv(name, &side.version.series());
    let remedy = match (is_own(source), is_own(target)) {
        (true, _) => raise("target", target),
        (false, true) if source.release() == target.release() && !is_changing(source) => {
            format!(
                "{}; or {}",
                set_fcv("target", &source.fcv),
                raise("source", source)
            )
        }
        (false, true) => raise("source", source),
        (false, false) => format!(
            "{}; and {}",
            raise("source", source),
            raise("target", target)
        ),
    };
    Check::fail(NAME, found, remedy)
}

fn set_fcv(name: &str, fcv: &str) -> String {
    format!("on the {name} run db.adminCommand({{setFeatureCompatibilityVersion: \"{fcv}\"}})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::Verdict;

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

    /// Names of the checks that fail; each has a remedy.
    fn failed(source: &Side, target: &Side) -> Vec<&'static str> {
        let checks = [of_layout(source, target), of_release(source, target)].concat();
        assert!(
            checks
                .iter()
                .filter(|c| c.has_failed())
                .all(|c| c.remedy.is_some())
        );
        checks
            .iter()
            .filter(|c| c.has_failed())
            .map(|c| c.name)
            .collect()
    }

    #[test]
    fn a_path_upward_is_warned_of_what_may_stop_it() {
        let set = |release, fcv| side(Topology::ReplicaSet, 1, release, fcv);
        let warns = |target| {
            let checks = of_release(&set((4, 4), "4.4"), &target);
            checks.iter().any(|check| check.verdict == Verdict::Warning)
        };
        assert!(warns(set((5, 0), "5.0")) && !warns(set((4, 4), "4.4")));
    }

    #[test]
    fn two_sides_must_be_alike() {
        use Topology::{ReplicaSet, Sharded};
        let good = side(Sharded, 2, (6, 0), "6.0");
        let set = side(ReplicaSet, 1, (6, 0), "6.0");
        let rows: [(&Side, &[&str]); 3] = [
            (&good, &[]),
            (&set, &["same topology", "same number of shards"]),
            (&side(Sharded, 3, (6, 0), "6.0"), &["same number of shards"]),
        ];
        for (target, expect) in rows {
            assert_eq!(failed(&good, target), expect, "{target:?}");
        }
        assert_eq!(failed(&set, &set), [""; 0]);
    }

    /// Every path between these releases, by what is refused of it.
    #[test]
    fn a_path_leads_to_the_same_release_or_upward() {
        const RELEASES: [(u32, u32); 7] = [(3, 6), (4, 0), (4, 2), (4, 4), (5, 0), (6, 0), (7, 0)];
        for from in RELEASES {
            for to in RELEASES {
                let own = |release: (u32, u32)| {
                    let fcv = format!("{}.{}", release.0, release.1);
                    side(Topology::ReplicaSet, 1, release, &fcv)
                };
                let mut expect = Vec::new();
                if to < from {
                    expect.push("same or newer release");
                }
                let known = (4, 2)..=(6, 0);
                if !known.contains(&from) || !known.contains(&to) {
                    expect.push("release supported");
                }
                assert_eq!(failed(&own(from), &own(to)), expect, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_feature_compatibility_version_is_the_release_s_own_or_the_same_on_both_sides() {
        let of = |release, fcv: &str| side(Topology::ReplicaSet, 1, release, fcv);
        let set = |version: &str| format!("setFeatureCompatibilityVersion: \"{version}\"");
        let changing = "5.0 (changing to 6.0)";
        let rows: [(Side, Side, &[String]); 8] = [
            (of((4, 2), "4.2"), of((6, 0), "6.0"), &[]),
            (of((6, 0), "5.0"), of((6, 0), "5.0"), &[]),
            (
                of((6, 0), "5.0"),
                of((6, 0), "6.0"),
                &[
                    format!("target run db.adminCommand({{{}", set("5.0")),
                    set("6.0"),
                ],
            ),
            (
                of((6, 0), "6.0"),
                of((6, 0), "5.0"),
                &[format!("target run db.adminCommand({{{}", set("6.0"))],
            ),
            (of((5, 0), "4.4"), of((6, 0), "6.0"), &[set("5.0")]),
            (of((5, 0), "5.0"), of((6, 0), "5.0"), &[set("6.0")]),
            (
                of((4, 4), "4.2"),
                of((5, 0), "4.4"),
                &[set("4.4"), set("5.0")],
            ),
            (of((6, 0), changing), of((6, 0), changing), &[set("6.0")]),
        ];
        for (source, target, remedies) in rows {
            let check = fcv(&source, &target);
            assert_eq!(!check.has_failed(), remedies.is_empty(), "{check:?}");
            let remedy = check.remedy.clone().unwrap_or_default();
            assert!(
                remedies.iter().all(|part| remedy.contains(part)),
                "{check:?}"
            );
        }
    }

    #[test]
    fn an_older_release_is_refused_with_the_reason() {
        let of = |release, fcv: &str| side(Topology::ReplicaSet, 1, release, fcv);
        for (release, text) in [
            ((4, 0), "to prove a migration"),
            ((7, 0), "not known to it"),
        ] {
            let side = of(release, "4.0");
            let check = version_supported(&side, &side);
            assert!(check.remedy.is_some_and(|remedy| remedy.contains(text)));
        }
    }
}
