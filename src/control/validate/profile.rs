//! Checks of a profile: what another way to move the same data refuses, so that a migration
//! which passes could take that way, too.
//!
//! `atlas` is the documented pull of a sharded cluster into Atlas: sharded clusters only, 4.0
//! to 5.0, exactly one release and feature compatibility version, logins by SCRAM, every node
//! of the source reached. What it refuses besides (another number of shards, config servers that are no replica set,
//! missing roles, chunks that move) is refused without a profile as well.

use mongodb::options::AuthMechanism;

use crate::cluster::deployment::{Deployment, Topology};
use crate::config::Profile;
use crate::control::validate::{Check, Verdict, reach};

const NAME: &str = "profile atlas";
/// Releases it lists, each to itself.
const RELEASES: [&str; 4] = ["4.0", "4.2", "4.4", "5.0"];

/// One side, as far as it matters.
struct Side {
    topology: Topology,
    release: String,
    fcv: String,
    mechanism: Option<AuthMechanism>,
}

impl Side {
    fn of(deployment: &Deployment) -> Side {
        let credential = deployment
            .shards
            .first()
            .and_then(|shard| shard.options.credential.as_ref());
        Side {
            topology: deployment.topology,
            release: deployment.version.series(),
            fcv: deployment.fcv.clone(),
            mechanism: credential.and_then(|credential| credential.mechanism.clone()),
        }
    }
}

/// No check without a profile.
pub(super) fn checks(profile: Profile, source: &Deployment, target: &Deployment) -> Vec<Check> {
    match profile {
        Profile::None => Vec::new(),
        Profile::Atlas => vec![atlas(&Side::of(source), &Side::of(target))],
    }
}

/// What is a warning without the profile, and refused by it.
pub(super) fn judged(profile: Profile, checks: Vec<Check>) -> Vec<Check> {
    let judged = |check: Check| match (profile, check.verdict) {
        (Profile::Atlas, Verdict::Warning) if check.name == reach::SOURCE => Check {
            verdict: Verdict::Failed,
            ..check
        },
        _ => check,
    };
    checks.into_iter().map(judged).collect()
}

fn atlas(source: &Side, target: &Side) -> Check {
    let mut wrong = Vec::new();
    if source.topology != Topology::Sharded {
        wrong.push(format!("the source is a {}", source.topology));
    }
    if source.release != target.release {
        wrong.push(format!(
            "the source runs {}, the target {}",
            source.release, target.release
        ));
    }
    for (name, side) in [("source", source), ("target", target)] {
        if !RELEASES.contains(&side.release.as_str()) {
            wrong.push(format!("the {name} runs {}", side.release));
        }
    }
    if source.fcv != target.fcv {
        wrong.push(format!(
            "the source has the feature compatibility version {}, the target {}",
            source.fcv, target.fcv
        ));
    }
    let by_scram = |mechanism: &AuthMechanism| {
        matches!(
            mechanism,
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256
        )
    };
    if let Some(other) = source.mechanism.as_ref().filter(|m| !by_scram(m)) {
        wrong.push(format!("the source's login is {}", other.as_str()));
    }
    Check::none_of(
        NAME,
        &wrong,
        "it would take this path",
        format!(
            "it moves sharded clusters of {}, each to the same release and feature compatibility version, with logins by SCRAM: leave the profile out",
            RELEASES.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_of_the_source_must_be_reached() {
        let rows = [
            (Profile::None, reach::SOURCE, Verdict::Warning),
            (Profile::Atlas, reach::SOURCE, Verdict::Failed),
            (Profile::Atlas, "target members reached", Verdict::Warning),
        ];
        for (profile, name, verdict) in rows {
            let checks = vec![Check::warn(name, "found", "remedy"), Check::pass(name, "")];
            let verdicts: Vec<_> = judged(profile, checks)
                .iter()
                .map(|check| check.verdict)
                .collect();
            assert_eq!(verdicts, [verdict, Verdict::Ok], "{profile:?} {name}");
        }
    }

    #[test]
    fn only_the_documented_paths_pass() {
        let side = |topology, release: &str, fcv: &str| Side {
            topology,
            release: release.to_owned(),
            fcv: fcv.to_owned(),
            mechanism: None,
        };
        let sharded = |release: &str| side(Topology::Sharded, release, release);
        for release in ["4.0", "4.2", "4.4", "5.0"] {
            assert!(
                !atlas(&sharded(release), &sharded(release)).has_failed(),
                "{release}"
            );
        }
        let x509 = Side {
            mechanism: Some(AuthMechanism::MongoDbX509),
            ..sharded("5.0")
        };
        let rows = [
            (sharded("6.0"), sharded("6.0"), "the source runs 6.0"),
            (sharded("4.4"), sharded("5.0"), "the target 5.0"),
            (
                side(Topology::ReplicaSet, "5.0", "5.0"),
                side(Topology::ReplicaSet, "5.0", "5.0"),
                "replica set",
            ),
            (
                side(Topology::Sharded, "5.0", "4.4"),
                sharded("5.0"),
                "version 4.4",
            ),
            (x509, sharded("5.0"), "MONGODB-X509"),
        ];
        for (source, target, text) in rows {
            let check = atlas(&source, &target);
            assert!(
                check.has_failed() && check.found.contains(text),
                "{check:?}"
            );
        }
    }
}
